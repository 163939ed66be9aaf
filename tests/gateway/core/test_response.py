"""A response ends once."""

from itertools import product

import pytest

from gateway.core.commands import Respond
from gateway.core.errors import IllegalTransitionError
from gateway.core.playout import PlayOut
from gateway.core.response import ENDS, TRANSITIONS, Response, Status

REQUEST = Respond("r1", turn_id=1, revision=0, generation=0, instructions="", messages=(), granted_ms=5000)


def response_in(status: Status) -> Response:
    """Return a response with *status*."""
    response = Response("r1", 1, PlayOut(16_000, 200), due_ms=1000, request=REQUEST)
    if status is not Status.IN_PROGRESS:
        response.end(status)
    return response


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)), ids=lambda status: status.value)
def test_the_table_is_the_law(before: Status, after: Status) -> None:
    response = response_in(before)
    if after in TRANSITIONS[before]:
        response.end(after)
        assert response.status is after
    else:
        with pytest.raises(IllegalTransitionError):
            response.end(after)
        assert response.status is before


def test_an_end_is_final() -> None:
    assert set(TRANSITIONS) == set(Status)
    assert all(not TRANSITIONS[end] for end in ENDS)


def test_all_is_received_when_both_the_text_and_the_speech_are() -> None:
    response = response_in(Status.IN_PROGRESS)
    assert not response.all_received
    response.text_complete = True
    assert not response.all_received
    response.playout.complete = True
    assert response.all_received
    response.text_complete = False
    assert not response.all_received
