"""Puts tool calls together from pieces that servers mark differently."""

from collections.abc import Iterator
from uuid import uuid4

from bus.errors import EngineError
from services.llm.completions.chunks import CallDelta
from services.llm.engine import Call

# Parallel calls of one answer; OpenAI allows 128 tools.
CALLS_AT_MOST = 128


class _Open:
    def __init__(self, index: int, place: int, call_id: str) -> None:
        self.index = index
        self.place = place  # the server's index
        self.call_id = call_id or f"call_{uuid4().hex[:24]}"
        self.named = bool(call_id)
        self.name = ""
        self.arguments = ""  # held until the name is known
        self.any = False


class Calls:
    """The calls of one answer.

    OpenAI marks pieces by index, with the id in the first only; Ollama and others send whole calls with ids of their
    own and all with index 0, or no index at all: a new id is a new call, and no id goes on with the last one.
    """

    def __init__(self) -> None:
        self._calls: list[_Open] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def push(self, delta: CallDelta) -> Iterator[Call]:
        """Take a piece; yield what of the call can be told.

        Raises:
            EngineError: more calls than anybody can want.
        """
        call = self._of(delta)
        call.name = call.name or delta.function.name or ""
        arguments = delta.function.arguments or ""
        call.arguments += arguments
        if call.name:
            held, call.arguments = call.arguments, ""
            call.any = call.any or bool(held.strip())
            yield Call(call.call_id, call.name, held, call.index, complete=False)

    def end(self) -> Iterator[Call]:
        """Yield the end of each call.

        Raises:
            EngineError: a call has no name.
        """
        for call in self._calls:
            if not call.name:
                raise EngineError("the upstream server sent a tool call without a name")
            yield Call(call.call_id, call.name, "" if call.any else "{}", call.index)

    def _of(self, delta: CallDelta) -> _Open:
        for call in reversed(self._calls):
            if delta.id and call.named:
                if call.call_id == delta.id:
                    return call
            elif delta.index is None or call.place == delta.index:
                return call
        if len(self._calls) == CALLS_AT_MOST:
            raise EngineError(f"the upstream server sent more than {CALLS_AT_MOST} tool calls")
        index = len(self._calls)
        self._calls.append(_Open(index, index if delta.index is None else delta.index, delta.id or ""))
        return self._calls[-1]
