"""What an llm owes: text in numbered pieces, to the gateway and to the tts alike, and one end that counts them."""

from typing import Final

from launcher.check.peer import Received
from launcher.check.rule import LLM, BrokenRuleError, Rule, rule
from launcher.check.subject import Subject
from launcher.check.work import request
from proto.v1 import speech_pb2 as pb

# Nothing follows generation_done for so long.
WATCHED_S: Final = 0.3
MOST_TOKENS: Final = 48


@rule(LLM, says="text_delta.seq counts from 0; one generation_done ends it, whose `deltas` is their number.")
async def counts_its_deltas(subject: Subject) -> str:
    """Have a question answered, without a tts."""
    async with subject.session() as session:
        session.send(subject.work.header(session), generation_request=request("What can you do?", most_tokens=48))
        await session.next("generation_done")
        await subject.quiet(WATCHED_S)
        count = _expect_counted(session.of("text_delta", "tool_call", "generation_done"))
        if any(received.passed_on for received in session.frames):
            raise BrokenRuleError("frames were passed on, and `next` was empty")
    return f"{count} deltas, then generation_done"


@rule(LLM, says="Every text_delta and the generation_done go to the gateway and to `next`, the same to both.")
async def tells_both_the_same(subject: Subject) -> str:
    """Have a question answered, with a tts."""
    async with subject.session() as session:
        header = subject.work.header(session)
        header.next = subject.peer.next_address
        session.send(header, generation_request=request("What can you do?", most_tokens=MOST_TOKENS))
        await session.next("generation_done")
        await subject.quiet(WATCHED_S)
        here = session.of("text_delta")
        passed_on = await session.passed_on(
            "text_delta", "generation_done", up_to=lambda frame: frame.HasField("generation_done")
        )
        _expect_counted(passed_on)
        there = [one for one in passed_on if one.body == "text_delta"]
        if [one.frame.text_delta for one in here] != [one.frame.text_delta for one in there]:
            raise BrokenRuleError(f"{len(here)} deltas went to the gateway, {len(there)} others to `next`")
    return f"{len(here)} deltas to each"


@rule(LLM, says="The whole conversation is a request's: tools, outputs, temperature and limits are taken or refused.")
async def takes_a_full_request(subject: Subject) -> str:
    """Ask with everything that a request can hold."""
    asked = request("What is the weather in Paris?", most_tokens=MOST_TOKENS)
    author = pb.Message.Author.Value
    call = pb.ToolCall(call_id="call-1", name="weather", arguments_json='{"place": "Paris"}', complete=True)
    asked.messages.append(pb.Message(author=author("ASSISTANT"), tool_calls=[call]))
    asked.messages.append(pb.Message(author=author("TOOL"), call_id="call-1", parts=[pb.Part(text='{"sky": "clear"}')]))
    schema = '{"type": "object", "properties": {"place": {"type": "string"}}}'
    asked.tools.append(pb.Tool(name="weather", description="Tell the weather.", parameters_json=schema))
    asked.tool_choice.mode = pb.ToolChoice.AUTO
    asked.temperature = 0.5
    async with subject.session() as session:
        session.send(subject.work.header(session), generation_request=asked)
        received = await session.next("generation_done", "error")
        if received.body == "error":
            if received.frame.error.code != pb.Error.INVALID_REQUEST:
                raise BrokenRuleError(f"error {pb.Error.Code.Name(received.frame.error.code)}, not INVALID_REQUEST")
            return f"refused: {received.frame.error.message[:80]}"
        calls = session.of("tool_call")
        complete = [one.frame.tool_call.call_id for one in calls if one.frame.tool_call.complete]
        if {one.frame.tool_call.call_id for one in calls} != set(complete) or len(complete) != len(set(complete)):
            raise BrokenRuleError("a tool call was not completed, or twice")
    return f"{len(session.of('text_delta'))} deltas, {len(complete)} tool calls"


def _expect_counted(frames: list[Received]) -> int:
    """Raise unless *frames* are deltas by number and one end; return how many deltas."""
    if not frames or frames[-1].body != "generation_done":
        raise BrokenRuleError(f"{frames[-1].body if frames else 'nothing'} is the last, not generation_done")
    if sum(received.body == "generation_done" for received in frames) > 1:
        raise BrokenRuleError("generation_done came more than once")
    numbers = [received.frame.text_delta.seq for received in frames if received.body == "text_delta"]
    if numbers != list(range(len(numbers))):
        raise BrokenRuleError(f"seq goes {numbers[:8]}, not 0, 1, 2, …")
    if frames[-1].frame.generation_done.deltas != len(numbers):
        raise BrokenRuleError(f"deltas is {frames[-1].frame.generation_done.deltas}, and {len(numbers)} came")
    return len(numbers)


RULES: Final[tuple[Rule, ...]] = (counts_its_deltas, tells_both_the_same, takes_a_full_request)
