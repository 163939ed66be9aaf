"""Frames to bytes and back; how an answer is addressed."""

import time
from typing import Any, Final

from google.protobuf.message import DecodeError

from bus.errors import MalformedFrameError
from proto.v1 import speech_pb2 as pb

Frame = pb.Frame
Header = pb.Header

# For the hot path. A message asked for its method looks among its fields first, which costs a sixth of the call.
body_of: Final = Frame.WhichOneof
encode: Final = Frame.SerializeToString
_parse: Final = Frame.FromString

PROTOCOL_VERSION: Final = 1

# Largest frame anybody may send: a minute of 16 kHz pcm is 1.9 MB; a long conversation with images is the largest
# thing that travels.
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024

# Ids, two addresses, a trace and the stamps of eight stages take a third of this.
MAX_HEADER_BYTES: Final = 2 * 1024
# Largest frame that is about a process: a thousand session ids in a renewal, every voice and language of an engine.
MAX_SESSIONLESS_BYTES: Final = 256 * 1024

# How a Frame begins that has its header first: field 1, with a length.
_HEADER_TAG: Final = Frame.HEADER_FIELD_NUMBER << 3 | 2

# The names of all bodies.
BODIES: Final = tuple(body.name for body in Frame.DESCRIPTOR.oneofs_by_name["body"].fields)

# Bodies that make up the volume. Everything else is control: it goes ahead of what waits of these.
MEDIA: Final = frozenset({"audio", "speech", "speech_out"})

# Control that means something by its place among the media of its sender: it does not go ahead of them. A
# synthesis_done that overtook its speech_out would cut the answer short.
IN_ORDER: Final = frozenset({"input_commit", "input_clear", "synthesis_done"})

# Bodies that may concern a process, not a session. An error without a session is about an announcement.
SESSIONLESS: Final = frozenset({"announcement", "lease_renewal", "drain", "error"})


def decode(data: bytes) -> tuple[str, Frame]:
    """Parse *data*; return the name of its body and the frame.

    Raises:
        MalformedFrameError: *data* is no Frame, is or has a header that is too big, has no body that this version
            knows, or no session where its body needs one. Carries the header where an answer can be made from it.
    """
    size = len(data)
    if size > MAX_FRAME_BYTES:  # not parsed: it would take many times its size
        raise MalformedFrameError(f"frame of {size} bytes, at most {MAX_FRAME_BYTES} are allowed", _header_of(data))
    try:
        frame = _parse(data)
    except DecodeError as error:
        raise MalformedFrameError("not a Frame") from error
    if size > MAX_HEADER_BYTES and frame.header.ByteSize() > MAX_HEADER_BYTES:
        raise MalformedFrameError(f"header of more than {MAX_HEADER_BYTES} bytes")
    body = body_of(frame, "body")
    if body is None:
        raise MalformedFrameError("no body known here", frame.header)
    if not frame.header.session_id and body not in SESSIONLESS:
        raise MalformedFrameError(f"{body} without session_id", frame.header)
    if size > MAX_SESSIONLESS_BYTES and body in SESSIONLESS:
        raise MalformedFrameError(f"{body} of {size} bytes, at most {MAX_SESSIONLESS_BYTES} are allowed")
    return body, frame


def _header_of(data: bytes) -> Header | None:
    """Return the header of a frame that is not to be parsed, if it is small and comes first, as encoders write it."""
    if data[0] != _HEADER_TAG:
        return None
    size, begin = data[1], 2
    if size & 0x80:  # a varint of two bytes; one of more is beyond the limit, and so is its value here
        size, begin = size & 0x7F | data[2] << 7, 3
    if size > MAX_HEADER_BYTES:
        return None
    try:
        return Header.FromString(data[begin : begin + size])
    except DecodeError:
        return None


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
