"""Frames of a newer version."""

from bus.frames import Frame, decode
from launcher.check.wire import padded, with_unknown_body, with_unknown_fields
from proto.v1 import speech_pb2 as pb

FRAME = Frame(header=pb.Header(session_id="s1"), text_delta=pb.TextDelta(text="a", seq=1))


def test_unknown_fields_change_nothing_that_is_known() -> None:
    data = with_unknown_fields(FRAME)
    body, frame = decode(data)
    assert body == "text_delta"
    assert data != FRAME.SerializeToString()
    frame.DiscardUnknownFields()
    assert frame == FRAME


def test_an_unknown_body_is_no_body_to_us() -> None:
    frame = Frame.FromString(with_unknown_body(Frame(header=FRAME.header)))
    assert frame.WhichOneof("body") is None
    assert frame.header == FRAME.header


def test_padding_makes_a_frame_longer_and_nothing_else() -> None:
    data = padded(FRAME, 1000)
    assert len(data) > 1000
    frame = Frame.FromString(data)
    frame.DiscardUnknownFields()
    assert frame == FRAME
