"""A listener's loudspeaker."""

from launcher.load.findings import Findings
from launcher.load.playout import Playout


def test_audio_ahead_of_its_time_is_heard_without_a_hole() -> None:
    findings = Findings()
    playout = Playout(findings)
    for now_ms in (100, 105, 110, 190):
        playout.take(40, now_ms)
    assert findings.counts == {"chunks": 4}
    assert playout.playing(250)
    assert not playout.playing(260)


def test_a_late_piece_is_a_stutter_and_all_after_it_is_later() -> None:
    findings = Findings()
    playout = Playout(findings)
    playout.take(40, 0)
    playout.take(40, 70)
    playout.take(40, 110)
    assert findings.counts == {"chunks": 3, "late_chunks": 1}
    assert findings.times["stutter"] == [30]
    assert playout.dry_ms == 150
