"""Who has fallen silent."""

from gateway.core.watch import CHUNK_MS, Watch


def watch() -> Watch:
    return Watch(0, starvation_ms=400, vad_timeout_ms=5000)


def test_a_client_that_sends_in_real_time_has_stopped_soon_after_its_last_chunk() -> None:
    client = watch()
    for now_ms in range(20, 1020, 20):
        client.client_sent(now_ms, 20)
    assert client.starving_at_ms == 1000 + 20 + 400


def test_a_client_that_sends_half_a_second_at_a_time_has_not_stopped_in_between() -> None:
    client = watch()
    client.client_sent(500, 500)
    assert client.starving_at_ms > 1000


def test_a_file_is_not_waited_for_as_long_as_it_lasts() -> None:
    client = watch()
    client.client_sent(10, 60_000)
    assert client.starving_at_ms == 10 + CHUNK_MS + 400


def test_a_client_that_was_not_read_did_not_stop() -> None:
    client = watch()
    client.client_sent(10, 20)
    client.client_held_up(9000)
    assert client.starving_at_ms == 9400


def test_silence_is_given_again_and_the_vad_is_given_up_if_it_never_helps() -> None:
    client = watch()
    client.client_sent(10, 20)
    client.silence_sent(430)
    assert client.starving_at_ms == 830
    client.silence_sent(830)
    assert client.vad_due_ms == 430 + 5000
    client.turn_ended()
    assert client.vad_due_ms is None


def test_a_client_that_goes_on_starves_no_longer() -> None:
    client = watch()
    client.silence_sent(430)
    client.client_sent(500, 20)
    assert client.vad_due_ms is None


def test_the_vad_has_its_time_from_the_first_audio_that_it_owes() -> None:
    client = watch()
    assert client.vad_due_ms is None
    client.vad_owes(100)
    client.vad_owes(2000)
    assert client.vad_due_ms == 5100
    client.vad_owes_nothing()
    assert client.vad_due_ms is None
    client.vad_owes(3000)
    client.silence_sent(1000)
    assert client.vad_due_ms == 6000
