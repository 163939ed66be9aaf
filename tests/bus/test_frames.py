"""Bytes to frames: what is no frame is told apart, whatever it is."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import MalformedFrameError
from bus.frames import BODIES, IN_ORDER, MAX_FRAME_BYTES, MEDIA, SESSIONLESS, Frame, Header, answer, decode, stamp
from proto.v1 import speech_pb2 as pb


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_malformed(data: bytes) -> None:
    try:
        body, frame = decode(data)
    except MalformedFrameError:
        return
    assert body in BODIES
    assert frame.header.session_id or body in SESSIONLESS


@given(st.data())
def test_a_frame_cut_short_or_altered_never_raises_anything_else(data: st.DataObject) -> None:
    frame = Frame(
        header=Header(session_id="s1", reply_to="tcp://1.2.3.4:5"), text_delta=pb.TextDelta(text="hello", seq=3)
    )
    encoded = bytearray(frame.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedFrameError):
        decode(bytes(encoded[: data.draw(st.integers(0, len(encoded)))]))


@pytest.mark.parametrize("body", BODIES)
def test_every_body_goes_there_and_back(body: str) -> None:
    frame = Frame(header=Header(session_id="s1"))
    getattr(frame, body).SetInParent()
    assert decode(frame.SerializeToString()) == (body, frame)


@pytest.mark.parametrize("body", BODIES)
def test_only_what_concerns_a_process_may_lack_a_session(body: str) -> None:
    frame = Frame(header=Header(reply_to="tcp://1.2.3.4:5"))
    getattr(frame, body).SetInParent()
    if body in SESSIONLESS:
        decode(frame.SerializeToString())
        return
    with pytest.raises(MalformedFrameError, match="without session_id") as error:
        decode(frame.SerializeToString())
    assert error.value.header is not None
    assert error.value.header.reply_to == "tcp://1.2.3.4:5"


def test_a_frame_beyond_the_limit_is_malformed_and_one_at_the_limit_is_not() -> None:
    frame = Frame(header=Header(session_id="s1"), audio=pb.Audio(pcm=bytes(MAX_FRAME_BYTES - 100)))
    room = MAX_FRAME_BYTES - frame.ByteSize()
    frame.audio.pcm += bytes(room)
    assert decode(frame.SerializeToString())[0] == "audio"
    frame.audio.pcm += b"x"
    with pytest.raises(MalformedFrameError, match="at most"):
        decode(frame.SerializeToString())


def test_unknown_fields_are_ignored_and_an_unknown_body_is_malformed() -> None:
    newer = bytes.fromhex("fa 3f 03 61 62 63")  # field 1023, three bytes
    frame = Frame(header=Header(session_id="s1"), cancel=pb.Cancel())
    assert decode(frame.SerializeToString() + newer)[0] == "cancel"
    with pytest.raises(MalformedFrameError, match="no body known here"):
        decode(Frame(header=Header(session_id="s1")).SerializeToString() + newer)


def test_an_answer_has_the_ids_and_not_the_route() -> None:
    header = Header(
        session_id="s1",
        turn_id=2,
        revision=3,
        response_id="r4",
        generation=5,
        deadline_ms=6,
        traceparent="00-7",
        reply_to="tcp://gateway:1",
        next="tcp://tts:1",
        stamps=[stamp(pb.Stamp.ASR_FINAL)],
    )
    expected = Header(session_id="s1", turn_id=2, revision=3, response_id="r4", generation=5, traceparent="00-7")
    assert answer(header, cancel=pb.Cancel()).header == expected
    assert answer(header, reply_to="ipc://x", cancel=pb.Cancel()).header.reply_to == "ipc://x"


def test_lanes_name_bodies_that_exist() -> None:
    assert set(BODIES) >= MEDIA | IN_ORDER | SESSIONLESS
    assert not MEDIA & IN_ORDER
