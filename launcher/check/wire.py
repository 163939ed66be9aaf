"""Bytes that a well-behaved library does not make: frames with fields, and bodies, that nobody knows."""

from typing import Final

from bus.frames import Frame

# Numbers and fields that the protocol will not have soon.
UNKNOWN_FIELD: Final = 9_001
UNKNOWN_BODY: Final = 9_002
_HEADER: Final = 1
_LENGTH_DELIMITED: Final = 2


def with_unknown_fields(frame: Frame) -> bytes:
    """Return *frame* with a field that nobody knows in the frame, in its header and in its body."""
    name = frame.WhichOneof("body")
    body = Frame.DESCRIPTOR.fields_by_name[str(name)]
    header = frame.header.SerializeToString() + _unknown()
    content = getattr(frame, str(name)).SerializeToString() + _unknown()
    return _field(_HEADER, header) + _field(body.number, content) + _unknown()


def with_unknown_body(frame: Frame) -> bytes:
    """Return *frame*, which has a header only, with a body that nobody knows."""
    return frame.SerializeToString() + _field(UNKNOWN_BODY, b"\x08\x01")


def padded(frame: Frame, size: int) -> bytes:
    """Return *frame* made longer by *size* bytes, in a field that nobody knows."""
    return frame.SerializeToString() + _field(UNKNOWN_FIELD, bytes(size))


def _unknown() -> bytes:
    return _field(UNKNOWN_FIELD, b"from a newer version")


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
