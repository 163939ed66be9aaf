"""Server-sent events out of bytes that are cut anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import EngineError
from services.llm.completions.chunks import LINE_BYTES, Counted, Events
from services.llm.engine import Usage

STREAM = b': ping\r\n\r\ndata: {"a": 1}\r\n\r\nevent: x\nid: 7\ndata:two\n\ndata:\ndata: [DONE]\n\ndata: unfinished'


@given(st.lists(st.integers(0, len(STREAM))))
def test_it_does_not_matter_where_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    events = Events()
    pieces = [STREAM[begin:end] for begin, end in pairwise(edges)]
    assert [event for piece in pieces for event in events.push(piece)] == [b'{"a": 1}', b"two", b"[DONE]"]


def test_a_line_without_end_is_not_kept() -> None:
    events = Events()
    assert not list(events.push(b"x" * LINE_BYTES))
    with pytest.raises(EngineError, match="without end"):
        list(events.push(b"x"))


def test_usage_may_leave_anything_out() -> None:
    assert Counted().usage == Usage()
    assert Counted.model_validate_json('{"prompt_tokens": 5, "completion_tokens": null}').usage == Usage(5, 0, 0)
