"""Frames to bytes and back; how an answer is addressed."""

import time
from typing import Any, Final

from google.protobuf.message import DecodeError

from bus.errors import MalformedFrameError
from proto.v1 import speech_pb2 as pb

Frame = pb.Frame
Header = pb.Header

PROTOCOL_VERSION: Final = 1

# Largest frame anybody may send: a minute of 16 kHz pcm is 1.9 MB; a long conversation with images is the largest
# thing that travels.
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024

# The names of all bodies.
BODIES: Final = tuple(body.name for body in Frame.DESCRIPTOR.oneofs_by_name["body"].fields)

# Bodies that make up the volume. Everything else is control: it goes ahead of what waits of these.
MEDIA: Final = frozenset({"audio", "speech", "speech_out"})

# Control that means something by its place among the media of its sender: it does not go ahead of them. A
# synthesis_done that overtook its speech_out would cut the answer short.
IN_ORDER: Final = frozenset({"input_commit", "input_clear", "synthesis_done"})

# Bodies that concern a process, not a session.
SESSIONLESS: Final = frozenset({"announcement", "lease_renewal", "drain"})


def decode(data: bytes) -> tuple[str, Frame]:
    """Parse *data*; return the name of its body and the frame.

    Raises:
        MalformedFrameError: *data* is no Frame, is too big, has no body that this version knows, or no session where
            its body needs one. Carries the header where there is one.
    """
    try:
        frame = Frame.FromString(data)
    except DecodeError as error:
        raise MalformedFrameError("not a Frame") from error
    body = frame.WhichOneof("body")
    if len(data) > MAX_FRAME_BYTES:
        raise MalformedFrameError(f"frame of {len(data)} bytes, at most {MAX_FRAME_BYTES} are allowed", frame.header)
    if body is None:
        raise MalformedFrameError("no body known here", frame.header)
    if not frame.header.session_id and body not in SESSIONLESS:
        raise MalformedFrameError(f"{body} without session_id", frame.header)
    return body, frame


def stamp(stage: pb.Stamp.Stage.ValueType) -> pb.Stamp:
    """Return a stamp of *stage* with the present wall time."""
    return pb.Stamp(stage=stage, unix_us=time.time_ns() // 1000)


def answer(header: Header, *, reply_to: str = "", **body: Any) -> Frame:
    """Return a frame that belongs to the same work as *header*, with one body given by keyword."""
    return Frame(
        header=Header(
            session_id=header.session_id,
            turn_id=header.turn_id,
            revision=header.revision,
            response_id=header.response_id,
            generation=header.generation,
            traceparent=header.traceparent,
            reply_to=reply_to,
        ),
        **body,
    )
