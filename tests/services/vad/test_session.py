"""A session without bus and engine: frames in, frames out. A window of 512 samples is speech if its first is not 0."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from bus.errors import InvalidRequestError, JobError, OverloadedError
from bus.frames import Frame, Header
from bus.jobs import Job
from proto.v1 import speech_pb2 as pb
from services.vad.intake import MOST_MARKS
from services.vad.session import Session

W = 512
SECOND = 16_000
Fields = dict[str, Any]


class Wire:
    """A session and all that it sent, to whom. The engine is what this file's first line says."""

    def __init__(
        self, *, at_sample: int = 0, first_turn_id: int = 1, in_turn: bool = False, **endpointing: Any
    ) -> None:
        self.questions: list[tuple[int, bytes]] = []  # to the end-of-turn model
        self.sent: list[tuple[str, Frame]] = []
        header = Header(session_id="s1", reply_to="gateway", next="asr", generation=1)
        self.job = Job(("s1", ""), header, 0.0, send=lambda *sent: self.sent.append(sent), ended=lambda *_: None)
        opened = pb.SessionOpen(
            endpointing=asked(**endpointing),
            recognition=pb.Recognition(language="en"),
            at_sample=at_sample,
            first_turn_id=first_turn_id,
            in_turn=in_turn,
        )
        ask = self._ask if opened.endpointing.end_of_turn_threshold else None
        self.session = Session(self.job, Frame(header=header, session_open=opened), W, ask)
        self.position = at_sample

    def give(self, header: Fields | None = None, /, **body: Any) -> None:
        """Give one frame and let the session use what it can."""
        fields: Fields = {"session_id": "s1", "generation": 1} | (header or {})
        frame = Frame(header=Header(**fields), **body)
        self.session.take(frame.WhichOneof("body") or "", frame)
        self.run()

    def hear(self, pcm: bytes, header: Fields | None = None) -> None:
        """Give audio that goes on where the last ended."""
        self.give(header, audio=pb.Audio(pcm=pcm, at_sample=self.position))
        self.position += len(pcm) // 2

    def _ask(self, at: int, pcm: bytes) -> None:
        self.questions.append((at, pcm))

    def advise(self, probability: float | None) -> None:
        """Answer the newest question."""
        self.session.advise(self.questions[-1][0], probability)
        self.run()

    def run(self) -> None:
        while self.session.settle():
            intake = self.session._intake
            first = intake.tape.cut(intake.consumed, intake.consumed + 1)
            self.session.hear(0.8 if first != b"\0\0" else 0.1)

    def of(self, *bodies: str) -> list[Frame]:
        return [frame for _, frame in self.sent if frame.WhichOneof("body") in bodies]

    def turns(self) -> dict[int, bytes]:
        """Return the audio of each turn, checked to be gapless and ended at most once, at its end."""
        audio: dict[int, bytes] = {}
        begins: dict[int, int] = {}
        ended: set[int] = set()
        for to, frame in self.sent:
            if frame.WhichOneof("body") != "speech":
                continue
            assert to == "asr"
            assert frame.header.reply_to == "gateway"
            turn, speech = frame.header.turn_id, frame.speech
            assert turn not in ended
            assert speech.HasField("recognition") is (turn not in audio)
            begins.setdefault(turn, speech.at_sample)
            assert speech.at_sample == begins[turn] + len(audio.get(turn, b"")) // 2
            audio[turn] = audio.get(turn, b"") + speech.pcm
            if speech.last:
                ended.add(turn)
        return audio

    def events(self) -> list[tuple[int, str]]:
        """Return everything told about turns, with the turn's number, audio and acknowledgements aside."""
        told = []
        for frame in self.of("speech_started", "speech_paused", "speech_resumed", "speech_stopped"):
            body = frame.WhichOneof("body")
            assert body is not None
            told.append((frame.header.turn_id, f"{body}: {getattr(frame, body)}"))
        return told

    def acked(self) -> list[int]:
        return [frame.audio_ack.consumed_sample for frame in self.of("audio_ack")]


def asked(**fields: Any) -> pb.Endpointing:
    return pb.Endpointing(**({"prefix_padding_ms": 32, "silence_duration_ms": 64} | fields))


def audio(windows: str) -> bytes:
    """Return a window of audio for each letter: `#` speech, `.` silence. Every sample of speech is another."""
    samples = bytearray()
    for number, letter in enumerate(windows):
        for sample in range(W):
            value = (number * W + sample) % 30_000 + 1 if letter == "#" else 0
            samples += value.to_bytes(2, "little")
    return bytes(samples)


SPOKEN = audio("...####.##....##########.#..###")


def test_an_open_session_is_told_at_once_where_it_stands() -> None:
    assert Wire(at_sample=777).acked() == [777]


def test_a_turn_is_told_and_streamed_with_what_came_before_it() -> None:
    wire = Wire(at_sample=1_000, first_turn_id=5)
    wire.hear(audio("...###.."))
    (started,), (stopped,) = wire.of("speech_started"), wire.of("speech_stopped")
    assert (started.header.turn_id, stopped.header.turn_id) == (5, 5)
    assert (started.speech_started.at_sample, started.speech_started.decided_at_sample) == (
        1_000 + 2 * W,
        1_000 + 5 * W,
    )
    assert (stopped.speech_stopped.at_sample, stopped.speech_stopped.decided_at_sample) == (1_000 + 8 * W,) * 2
    assert wire.turns() == {5: audio("...###..")[2 * 2 * W :]}
    assert wire.of("speech")[0].speech.recognition.language == "en"
    assert [frame.speech.last for frame in wire.of("speech")].count(True) == 1
    assert wire.of("speech")[-1].speech.last


def test_a_turn_that_another_vad_began_is_ended_here_and_its_audio_goes_nowhere() -> None:
    wire = Wire(at_sample=16_000, first_turn_id=3, in_turn=True)
    wire.hear(audio("###..###.."))
    stops = [frame.header.turn_id for frame in wire.of("speech_stopped")]
    starts = [frame.header.turn_id for frame in wire.of("speech_started")]
    assert (stops, starts) == ([3, 4], [4])
    assert wire.of("speech_stopped")[0].speech_stopped.at_sample == 16_000 + 5 * W
    assert list(wire.turns()) == [4]


def test_a_manual_turn_that_another_vad_began_ends_with_its_commit() -> None:
    wire = Wire(at_sample=16_000, first_turn_id=3, in_turn=True, mode=pb.Endpointing.MANUAL)
    wire.hear(audio("#...#"))
    wire.give(input_commit=pb.InputCommit())
    assert [(f.header.turn_id, f.speech_stopped.at_sample) for f in wire.of("speech_stopped")] == [(3, 16_000 + 5 * W)]
    assert not wire.of("speech_started", "speech")
    wire.hear(audio("#"))
    assert [frame.header.turn_id for frame in wire.of("speech_started")] == [4]


@given(cuts=st.lists(st.integers(0, len(SPOKEN) // 2), max_size=30), manual=st.booleans())
@example(cuts=list(range(1_000, 2_000)), manual=False)
@settings(deadline=None, max_examples=50)
def test_the_cutting_of_the_audio_into_frames_changes_nothing(cuts: list[int], manual: bool) -> None:
    mode = pb.Endpointing.MANUAL if manual else pb.Endpointing.SERVER_VAD
    whole, pieces = Wire(mode=mode, pause_ms=32), Wire(mode=mode, pause_ms=32)
    whole.hear(SPOKEN)
    edges = [0, *sorted(cuts), len(SPOKEN) // 2]
    for start, end in pairwise(edges):
        pieces.hear(SPOKEN[2 * start : 2 * end])
    for wire in (whole, pieces):
        wire.give(input_commit=pb.InputCommit(at_sample=wire.position))
    assert pieces.events() == whole.events()
    assert pieces.turns() == whole.turns()
    assert len(whole.turns()) == (1 if manual else 3)


def test_speech_is_sent_in_stretches_of_96_ms() -> None:
    wire = Wire(max_speech_ms=3_000)
    for _ in range(60):
        wire.hear(audio("#"))
    middle = wire.of("speech")[1:-1]
    assert middle
    assert {len(frame.speech.pcm) for frame in middle} == {3 * 2 * W}


def test_a_false_start_is_not_sent() -> None:
    wire = Wire()
    wire.hear(audio("..#..#..#.."))
    assert wire.of("speech", "speech_started") == []


def test_a_commit_takes_all_that_came_before_it() -> None:
    wire = Wire()
    wire.hear(audio("##") + b"\7\7" * 100)
    wire.give(input_commit=pb.InputCommit(at_sample=wire.position))
    assert wire.of("speech_stopped")[0].speech_stopped.at_sample == 2 * W + 100
    assert wire.turns() == {1: audio("##") + b"\7\7" * 100}
    wire.hear(audio("##"))
    assert wire.of("speech_started")[1].speech_started.at_sample == 2 * W + 100


@pytest.mark.parametrize("at_sample", [0, 2**40])
def test_a_commit_without_a_usable_time_means_now(at_sample: int) -> None:
    wire = Wire(mode=pb.Endpointing.MANUAL)
    wire.hear(b"\1\0" * 100)
    wire.give(input_commit=pb.InputCommit(at_sample=at_sample))
    assert wire.turns() == {1: b"\1\0" * 100}
    assert len(wire.of("speech_stopped")) == 1


def test_a_commit_with_nothing_open_is_ignored() -> None:
    wire = Wire()
    wire.hear(audio("..."))
    wire.give(input_commit=pb.InputCommit(at_sample=wire.position))
    assert wire.of("speech_stopped", "speech") == []


def test_a_cleared_turn_is_never_told_to_have_stopped() -> None:
    wire = Wire()
    wire.hear(audio("###"))
    wire.give(input_clear=pb.InputClear(at_sample=wire.position))
    wire.hear(audio("...##.."))
    assert [frame.header.turn_id for frame in wire.of("speech_stopped")] == [2]
    assert not any(frame.speech.last for frame in wire.of("speech") if frame.header.turn_id == 1)


def test_control_waits_for_the_audio_before_it() -> None:
    wire = Wire(silence_duration_ms=3_000)
    pcm = audio("####")
    for frame in (
        Frame(header=Header(session_id="s1"), audio=pb.Audio(pcm=pcm)),
        Frame(header=Header(session_id="s1"), input_commit=pb.InputCommit(at_sample=2 * W)),
    ):
        wire.session.take(frame.WhichOneof("body") or "", frame)
    wire.run()
    assert [f.speech_stopped.at_sample for f in wire.of("speech_stopped")] == [2 * W]
    assert [f.speech_started.at_sample for f in wire.of("speech_started")] == [0, 2 * W]


def test_an_update_counts_from_the_next_window_on_and_keeps_what_it_does_not_name() -> None:
    wire = Wire(silence_duration_ms=3_000)
    wire.hear(audio("##...."))
    wire.give(session_update=pb.SessionUpdate(endpointing=asked()))
    wire.hear(audio("."))
    assert wire.of("speech_stopped")[0].speech_stopped.at_sample == 7 * W
    wire.give(session_update=pb.SessionUpdate(recognition=pb.Recognition(language="de")))
    wire.hear(audio("##.."))
    assert len(wire.of("speech_stopped")) == 2
    languages = [f.speech.recognition.language for f in wire.of("speech") if f.speech.HasField("recognition")]
    assert languages == ["en", "de"]


def test_a_repeated_open_is_an_update_and_is_answered() -> None:
    wire = Wire()
    wire.hear(audio(".."))
    wire.give(session_open=pb.SessionOpen(endpointing=asked(), at_sample=0, first_turn_id=1))
    assert wire.acked() == [0, 2 * W]
    wire.hear(audio("##"))
    assert wire.of("speech_started")[0].speech_started.at_sample == W


def test_audio_that_comes_again_is_used_once() -> None:
    wire = Wire()
    pcm = audio("###..")
    wire.give(audio=pb.Audio(pcm=pcm[: 2 * 2 * W], at_sample=0))
    wire.give(audio=pb.Audio(pcm=pcm[: 2 * 2 * W], at_sample=0))
    wire.give(audio=pb.Audio(pcm=pcm[2 * W :], at_sample=W))
    assert wire.turns() == {1: pcm}


def test_a_short_gap_is_filled_with_silence() -> None:
    wire = Wire()
    wire.give(audio=pb.Audio(pcm=audio("##"), at_sample=0))
    wire.give(audio=pb.Audio(pcm=audio("#.."), at_sample=3 * W))
    assert wire.turns() == {1: audio("##.") + audio("#..")}
    assert wire.of("speech_stopped")[0].speech_stopped.at_sample == 6 * W


def test_a_long_gap_ends_the_turn_and_moves_the_clock() -> None:
    wire = Wire()
    wire.give(audio=pb.Audio(pcm=audio("##") + b"\1\0" * 10, at_sample=0))
    later = 100 * SECOND
    wire.give(audio=pb.Audio(pcm=audio("##.."), at_sample=later))
    assert [f.speech_stopped.at_sample for f in wire.of("speech_stopped")] == [2 * W + 10, later + 4 * W]
    assert [f.speech_started.at_sample for f in wire.of("speech_started")] == [0, later]
    assert wire.turns() == {1: audio("##") + b"\1\0" * 10, 2: audio("##..")}
    assert later in wire.acked()


def test_consumed_audio_is_acknowledged_every_half_second() -> None:
    wire = Wire()
    for _ in range(100):
        wire.hear(audio("."))
    acked = wire.acked()
    assert all(later - earlier <= SECOND // 2 for earlier, later in pairwise(acked))
    assert 100 * W - acked[-1] <= SECOND // 2
    assert len(acked) <= 8


def test_who_was_behind_is_told_when_all_is_used() -> None:
    wire = Wire()
    wire.hear(audio("." * 50))
    assert wire.acked()[-1] == 50 * W


def test_idle_audio_is_not_kept() -> None:
    wire = Wire(prefix_padding_ms=300)
    wire.hear(audio("." * 200))
    tape = wire.session._intake.tape
    assert tape.end - tape.start == 300 * 16


def test_stamps_trace_and_generation_are_those_of_the_audio_that_decided() -> None:
    wire = Wire()
    for number, letter in enumerate("##.."):
        stamps = [pb.Stamp(stage=pb.Stamp.GATEWAY_RECEIVED, unix_us=number)]
        wire.hear(audio(letter), {"stamps": stamps, "traceparent": f"trace{number}", "generation": number})
    (started,), (stopped,), last = wire.of("speech_started"), wire.of("speech_stopped"), wire.of("speech")[-1]
    for frame, number in ((started, 1), (stopped, 3), (last, 3)):
        assert [stamp.stage for stamp in frame.header.stamps] == [pb.Stamp.GATEWAY_RECEIVED, pb.Stamp.VAD_DECIDED]
        assert frame.header.stamps[0].unix_us == number
        assert (frame.header.traceparent, frame.header.generation) == (f"trace{number}", number)


def test_a_turn_stays_with_the_recogniser_it_began_with() -> None:
    wire = Wire()
    wire.hear(audio("##"), {"next": "asr-2"})
    wire.hear(audio("##.."), {"next": "asr-3"})
    wire.hear(audio("##.."))
    to = [(frame.header.turn_id, to) for to, frame in wire.sent if frame.WhichOneof("body") == "speech"]
    assert set(to) == {(1, "asr-2"), (2, "asr")}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"audio": pb.Audio(pcm=b"123")}, id="odd bytes"),
        pytest.param({"audio": pb.Audio(pcm=b"1")}, id="a lone byte"),
        pytest.param({"audio": pb.Audio(pcm=b"12", at_sample=2**64 - 1)}, id="the end of time"),
        pytest.param({"session_update": pb.SessionUpdate(endpointing=asked(threshold=1.5))}, id="threshold"),
        pytest.param({"session_update": pb.SessionUpdate(endpointing=asked(threshold=float("nan")))}, id="nan"),
    ],
)
def test_what_cannot_be_used_is_refused(body: Fields) -> None:
    with pytest.raises(InvalidRequestError):
        Wire().give(**body)


def test_an_empty_frame_is_nothing() -> None:
    wire = Wire()
    wire.give(audio=pb.Audio(at_sample=5))
    wire.hear(audio("##"))
    assert wire.of("speech_started")[0].speech_started.at_sample == 0


def test_what_waits_is_bounded() -> None:
    wire = Wire()
    second = Frame(header=Header(session_id="s1"), audio=pb.Audio(pcm=bytes(2 * SECOND)))
    overload: JobError | None = None
    for number in range(9):
        second.audio.at_sample = number * SECOND
        try:
            wire.session.take("audio", second)
        except OverloadedError as error:
            overload = error
            assert number == 8
    assert overload is not None
    commit = Frame(header=Header(session_id="s1"), input_commit=pb.InputCommit())
    for _ in range(MOST_MARKS):
        wire.session.take("input_commit", commit)
    with pytest.raises(OverloadedError):
        wire.session.take("input_commit", commit)


def test_lone_samples_do_not_pile_up_headers() -> None:
    wire = Wire()
    for number in range(SECOND // 4):
        frame = Frame(header=Header(session_id="s1"), audio=pb.Audio(pcm=b"\0\0", at_sample=number))
        wire.session.take("audio", frame)
    assert len(wire.session._intake._arrivals) <= 25  # one in 10 ms


# A pause is told after two silent windows, the turn ends after six, or twelve if the model expects more.
ADVISED: Fields = {
    "silence_duration_ms": 192,
    "pause_ms": 64,
    "end_of_turn_threshold": 0.5,
    "unfinished_silence_ms": 384,
}


def outcomes() -> dict[str, float]:
    """Return how often the end-of-turn model was how useful."""
    words = ("finished", "unfinished", "resumed", "late", "failed")
    return {word: REGISTRY.get_sample_value("speech_vad_end_of_turn_total", {"outcome": word}) or 0.0 for word in words}


def counted(before: dict[str, float]) -> dict[str, float]:
    """Return what was counted since *before*."""
    return {word: number - before[word] for word, number in outcomes().items() if number != before[word]}


def test_the_model_is_asked_about_the_turn_up_to_the_pause() -> None:
    wire = Wire(at_sample=1_000, **ADVISED)
    wire.hear(audio("...#####.."))
    assert wire.questions == [(10 * W, audio("...#####..")[2 * 2 * W :])]


def test_the_model_gets_the_last_8_s_of_a_long_turn() -> None:
    wire = Wire(**ADVISED)
    spoken = audio("#" * 400 + "..")
    for start in range(0, len(spoken), 2 * SECOND):
        wire.hear(spoken[start : start + 2 * SECOND])
    assert wire.questions == [(402 * W, spoken[-2 * 8 * SECOND :])]


def test_advice_ends_the_turn_where_it_was_asked_and_no_speech_goes_beyond() -> None:
    before = outcomes()
    wire = Wire(at_sample=1_000, **ADVISED)
    wire.hear(audio("...#####.."), {"stamps": [pb.Stamp(stage=pb.Stamp.GATEWAY_RECEIVED, unix_us=7)]})
    wire.hear(audio("..."), {"stamps": [pb.Stamp(stage=pb.Stamp.GATEWAY_RECEIVED, unix_us=8)]})
    wire.advise(0.9)
    (stopped,) = wire.of("speech_stopped")
    assert stopped.speech_stopped.at_sample == 1_000 + 10 * W
    assert stopped.speech_stopped.decided_at_sample == 1_000 + 13 * W
    # The stamps are those of the audio that was judged: what the model takes counts as our own time.
    assert stopped.header.stamps[0].unix_us == 7
    assert wire.turns() == {1: audio("...#####..")[2 * 2 * W :]}
    assert wire.of("speech")[-1].speech.last
    assert counted(before) == {"finished": 1}


def test_the_next_turn_may_begin_in_what_came_after_the_advised_end() -> None:
    wire = Wire(**ADVISED)
    wire.hear(audio("...#####..."))
    wire.advise(0.9)
    later = audio("...#####...###")
    wire.hear(later[2 * 11 * W :])
    assert [frame.speech_started.at_sample for frame in wire.of("speech_started")] == [2 * W, 10 * W]
    assert wire.turns()[2] == later[2 * 10 * W : 2 * 13 * W]


def test_advice_against_the_end_lets_the_speech_go_on_and_the_silence_be_longer() -> None:
    before = outcomes()
    wire = Wire(**ADVISED)
    spoken = audio("#####" + "." * 12)
    wire.hear(spoken[: 2 * 10 * W])
    wire.advise(0.2)
    assert not wire.of("speech_stopped")
    wire.hear(spoken[2 * 10 * W :])
    (stopped,) = wire.of("speech_stopped")
    assert stopped.speech_stopped.at_sample == 17 * W
    assert wire.turns() == {1: spoken}
    assert counted(before) == {"unfinished": 1}


@pytest.mark.parametrize(("windows", "outcome"), [("....", "late"), ("#...", "resumed")])
def test_an_answer_that_comes_too_late_changes_nothing(windows: str, outcome: str) -> None:
    before = outcomes()
    wire = Wire(**ADVISED)
    spoken = audio("#####.." + windows)
    wire.hear(spoken[: 2 * 7 * W])
    first = wire.questions[0][0]
    wire.hear(spoken[2 * 7 * W :])
    told = wire.events()
    wire.session.advise(first, 0.9)
    wire.run()
    assert wire.events() == told
    assert counted(before) == {outcome: 1}


def test_who_resumed_is_judged_again_at_the_next_pause() -> None:
    wire = Wire(**ADVISED)
    spoken = audio("#####..##..")
    wire.hear(spoken[: 2 * 7 * W])
    wire.hear(spoken[2 * 7 * W :])
    assert [at for at, _ in wire.questions] == [7 * W, 11 * W]
    wire.advise(0.9)
    assert wire.turns() == {1: spoken}
    assert [frame.speech_stopped.at_sample for frame in wire.of("speech_stopped")] == [11 * W]


def test_a_model_that_fails_leaves_it_to_the_silence() -> None:
    before = outcomes()
    wire = Wire(**ADVISED)
    wire.hear(audio("#####...."))
    wire.advise(None)
    wire.hear(audio(".."))
    assert [frame.speech_stopped.at_sample for frame in wire.of("speech_stopped")] == [11 * W]
    assert counted(before) == {"failed": 1}


def test_a_cleared_turn_takes_no_advice() -> None:
    wire = Wire(**ADVISED)
    wire.hear(audio("#####.."))
    wire.give(input_clear=pb.InputClear())
    wire.advise(0.9)
    assert not wire.of("speech_stopped")


def test_a_commit_does_not_wait_for_advice() -> None:
    wire = Wire(**ADVISED)
    wire.hear(audio("#####..."))
    wire.give(input_commit=pb.InputCommit())
    wire.advise(0.9)
    assert [frame.speech_stopped.at_sample for frame in wire.of("speech_stopped")] == [8 * W]
    assert wire.turns() == {1: audio("#####...")}


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_an_end_of_turn_threshold_is_a_probability(threshold: float) -> None:
    wire = Wire()
    with pytest.raises(InvalidRequestError, match="end_of_turn_threshold"):
        wire.give(session_update=pb.SessionUpdate(endpointing=asked(end_of_turn_threshold=threshold)))


@given(cuts=st.lists(st.integers(0, len(SPOKEN) // 2), max_size=30), script=st.lists(st.floats(0, 1), min_size=9))
@settings(deadline=None, max_examples=50)
def test_advice_that_comes_at_once_does_not_depend_on_how_the_audio_is_cut(
    cuts: list[int], script: list[float]
) -> None:
    wires = []
    for edges in ([0, len(SPOKEN) // 2], [0, *sorted(cuts), len(SPOKEN) // 2]):
        wire = Wire(**ADVISED)
        answers = iter(script)

        def ask(at: int, _: bytes, wire: Wire = wire, answers: Iterator[float] = answers) -> None:
            wire.session.advise(at, next(answers))

        wire.session._ask_model = ask
        for start, end in pairwise(edges):
            wire.hear(SPOKEN[2 * start : 2 * end])
        wires.append(wire)
    assert wires[0].events() == wires[1].events()
    assert wires[0].turns() == wires[1].turns()
