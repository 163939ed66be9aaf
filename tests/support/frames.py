"""Frames that anybody might send: sensible ones, impossible ones, and bytes that are hardly frames."""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st

from bus.errors import MalformedFrameError
from bus.frames import BODIES, Frame, decode

WORDS = st.sampled_from(["", "a", "hello there", "tone 440", "é\0\U0001f600", "x" * 3000, "{}", "en", "auto", "%s"])
SESSIONS = st.sampled_from(["", "s1", "s2", "s3", "s" * 200])
# Half a sample, a few, a tenth of a second of noise, of silence, of what sounds like speech.
PCM = st.sampled_from([b"", b"\x01", b"\x01\x02", bytes(3200), b"\x00\x40\x00\xc0" * 800, b"\xff\x7f" * 512])
INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_ENUM: (0, 99),
}
FLOATS = {FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE}


def messages(kind: Descriptor, addresses: st.SearchStrategy[str], depth: int = 4) -> st.SearchStrategy[dict[str, Any]]:
    """Return fields for messages of *kind*, each there or not, as keywords."""
    return st.fixed_dictionaries(
        {},
        optional={
            field.name: _values(field, addresses, depth) for field in kind.fields if depth or field.message_type is None
        },
    )


def frames(addresses: st.SearchStrategy[str], *bodies: str) -> st.SearchStrategy[Frame]:
    """Return frames with one of *bodies* (any but a drain, which ends a service, if none is named)."""
    told = bodies or tuple(body for body in BODIES if body != "drain")
    kinds = ((body, Frame.DESCRIPTOR.fields_by_name[body].message_type) for body in told)
    made = st.one_of(*(st.tuples(st.just(body), messages(kind, addresses)) for body, kind in kinds if kind is not None))
    header = st.fixed_dictionaries(
        {"session_id": SESSIONS, "reply_to": addresses},
        optional={
            "turn_id": st.integers(0, 3),
            "response_id": st.sampled_from(["", "r1", "r2"]),
            "generation": st.sampled_from([0, 0, 1, 2, 2**32 - 1]),
            "deadline_ms": st.sampled_from([0, 1, 50, 2**32 - 1]),
            "next": addresses,
            "traceparent": WORDS,
            "stamps": st.lists(
                st.fixed_dictionaries({"stage": st.integers(0, 99), "unix_us": st.integers(0, 2**64 - 1)}), max_size=3
            ),
        },
    )
    return st.builds(lambda told, body: Frame(header=told, **{body[0]: body[1]}), header, made)


@st.composite
def hostile_bytes(draw: st.DrawFn, addresses: st.SearchStrategy[str]) -> bytes:
    """Return random bytes, or those of a good frame altered, cut short, repeated or with something behind them."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    encoded = bytearray(draw(frames(addresses)).SerializeToString())
    match draw(st.sampled_from(["alter", "cut", "repeat", "add"])):
        case "alter":
            for _ in range(draw(st.integers(1, 6)) if encoded else 0):
                encoded[draw(st.integers(0, len(encoded) - 1))] = draw(st.integers(0, 255))
        case "cut":
            encoded = encoded[: draw(st.integers(0, len(encoded)))]
        case "repeat":
            encoded *= draw(st.integers(2, 40))
        case "add":
            encoded += draw(st.binary(max_size=40))
    return bytes(encoded)


def ends_a_service(data: bytes) -> bool:
    """Tell whether *data* happens to be an order to drain."""
    try:
        return decode(data)[0] == "drain"
    except MalformedFrameError:
        return False


def _values(field: FieldDescriptor, addresses: st.SearchStrategy[str], depth: int) -> st.SearchStrategy[Any]:
    kind = field.type
    one: st.SearchStrategy[Any]
    if field.message_type is not None:
        one = messages(field.message_type, addresses, depth - 1)
    elif kind in INTEGERS:
        lowest, highest = INTEGERS[kind]
        one = st.sampled_from([0, 1, 2, 3, 500, 16_000]) | st.sampled_from([lowest, highest])
        one = one.filter(lambda value: value >= lowest and value <= highest)
    elif kind in FLOATS:
        one = st.sampled_from([0.0, 0.5, 1.0, -1.0, 1e30, float("inf"), float("nan")])
    elif kind == FieldDescriptor.TYPE_BOOL:
        one = st.booleans()
    elif kind == FieldDescriptor.TYPE_BYTES:
        one = PCM
    else:
        one = addresses if field.name == "inbox" else SESSIONS if field.name == "session_ids" else WORDS
    return st.lists(one, max_size=3) if field.is_repeated else one
