"""Bytes to frames: what is no frame is told apart, whatever it is."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import MalformedFrameError
from bus.frames import (
    BODIES,
    IN_ORDER,
    MAX_FRAME_BYTES,
    MAX_HEADER_BYTES,
    MAX_SESSIONLESS_BYTES,
    MEDIA,
    SESSIONLESS,
    Frame,
    Header,
    answer,
    decode,
    stamp,
)
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


@pytest.mark.parametrize("session_id", ["s1", "s" * 500])
def test_a_frame_that_is_too_big_is_answered_from_its_header_alone(session_id: str) -> None:
    """It is not parsed: a list of empty messages takes twenty times its size in memory."""
    header = Header(session_id=session_id, reply_to="tcp://1.2.3.4:5")
    frame = Frame(header=header, audio=pb.Audio(pcm=bytes(MAX_FRAME_BYTES)))
    with pytest.raises(MalformedFrameError, match="at most") as error:
        decode(frame.SerializeToString())
    assert error.value.header == header


@pytest.mark.parametrize(
    "begin",
    [
        b"\x12\x00",  # another field first
        b"\x0a\xff\xff\xff\xff\x0f",  # a header of 4 GiB
        b"\x0a\x81\x10",  # one byte beyond the limit
        b"\x0a\x05\xff\xff\xff\xff\xff",  # no header
        b"\x0a\x80",
    ],
)
def test_a_frame_that_is_too_big_and_has_no_good_header_is_not_answered(begin: bytes) -> None:
    with pytest.raises(MalformedFrameError, match="at most") as error:
        decode(begin + bytes([0xFF]) * MAX_FRAME_BYTES)
    assert error.value.header is None


@pytest.mark.parametrize(
    "header",
    [
        Header(session_id="s" * MAX_HEADER_BYTES),
        Header(session_id="s1", reply_to="tcp://" + "x" * MAX_HEADER_BYTES),
        Header(session_id="s1", stamps=[pb.Stamp()] * MAX_HEADER_BYTES),
    ],
    ids=["session id", "address", "stamps"],
)
def test_a_header_beyond_the_limit_is_malformed_and_not_answered(header: Header) -> None:
    with pytest.raises(MalformedFrameError, match="header of more than") as error:
        decode(Frame(header=header, cancel=pb.Cancel()).SerializeToString())
    assert error.value.header is None


def test_what_any_service_sends_in_a_header_fits() -> None:
    stamps = [pb.Stamp(stage=stage, unix_us=2**63) for stage in pb.Stamp.Stage.values()]
    address = "tcp://" + "x" * 253 + ":65535"
    ids = Header(session_id="s" * 64, response_id="r" * 64, traceparent="0" * 55, turn_id=2**31)
    header = Header(reply_to=address, next=address, stamps=stamps)
    header.MergeFrom(ids)
    assert header.ByteSize() < MAX_HEADER_BYTES / 2


def test_a_frame_about_a_process_has_a_limit_of_its_own() -> None:
    renewal = pb.LeaseRenewal(session_ids=["s" * 64] * 1000)
    assert decode(Frame(lease_renewal=renewal).SerializeToString())[0] == "lease_renewal"
    renewal.session_ids.extend([""] * MAX_SESSIONLESS_BYTES)
    for session_id in ("", "s1"):
        frame = Frame(header=Header(session_id=session_id), lease_renewal=renewal)
        with pytest.raises(MalformedFrameError, match="lease_renewal of"):
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
