"""Frames: how answers are addressed, and what becomes of frames that cannot be used."""

from typing import Any, Final

from bus.frames import MAX_FRAME_BYTES, Frame, Header
from launcher.check.peer import Received, in_words
from launcher.check.rule import ALL, ASR, LLM, TTS, VAD, BrokenRuleError, Rule, rule
from launcher.check.subject import Subject, no_answer_but
from launcher.check.wire import padded, with_unknown_body, with_unknown_fields
from launcher.check.work import endpointing
from proto.v1 import speech_pb2 as pb

# Nobody takes these: they are what services send.
FOREIGN: Final[dict[str, dict[str, Any]]] = {
    VAD: {"transcript": pb.Transcript()},
    ASR: {"text_delta": pb.TextDelta()},
    LLM: {"audio": pb.Audio()},
    TTS: {"speech": pb.Speech()},
}
IDS: Final = ("session_id", "turn_id", "revision", "response_id", "generation", "traceparent")
# Bytes that are no frame: a length that runs past the end, a wire type that there is not, text, nothing but ones.
GARBAGE: Final = (b"\x0a\x7f\x01", b"\x0f", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000, b"\x00")


@rule(*ALL, says="An answer copies the ids and the traceparent, and leaves reply_to, next and deadline_ms empty.")
async def answers_carry_the_ids(subject: Subject) -> str:
    """Have work done under ids that are not zero, and look at every answer."""
    async with subject.session() as session:
        header = subject.work.header(session, turn=7, generation=3)
        if subject.role != VAD:
            header.revision = 2
        subject.work.begin(session, header, "")
        subject.work.finish(session, header)
        await session.next(subject.work.ending or "audio_ack")
        for received in session.frames:
            _expect_ids(received, header)
        return f"{len(session.frames)} frames"


@rule(LLM, says="What is passed on to `next` has the same ids, and the gateway's inbox in reply_to.")
async def passes_on_for_the_gateway(subject: Subject) -> str:
    """Look at what came to the next service's inbox."""
    async with subject.session() as session:
        await subject.do(session)
        passed_on = await session.passed_on(up_to=lambda frame: frame.HasField("generation_done"))
        if not passed_on:
            raise BrokenRuleError("nothing came to `next`")
        for received in passed_on:
            _expect_ids(received, subject.work.header(session), reply_to=subject.peer.address)
        return f"{len(passed_on)} frames"


@rule(*ALL, says="Fields that a receiver does not know are ignored: old and new services must be able to meet.")
async def ignores_unknown_fields(subject: Subject) -> str:
    """Have work done that is asked for by a newer gateway."""
    async with subject.session() as session:
        header = subject.work.header(session)
        opening = _opening(subject, header)
        session.send_bytes(with_unknown_fields(opening))
        subject.work.finish(session, header)
        await session.next(subject.work.ending or "audio_ack")
    return f"{subject.work.opening} with unknown fields in frame, header and body was served"


@rule(*ALL, says="A body that a receiver does not know, or that its role does not take, is answered with BAD_FRAME.")
async def answers_an_unknown_body(subject: Subject) -> str:
    """Send one of a newer version, and one for another role."""
    ((name, body),) = FOREIGN[subject.role].items()
    async with subject.session() as session:
        session.send_bytes(with_unknown_body(Frame(header=session.header())))
        _expect_error(await session.next("error"), pb.Error.BAD_FRAME, "a body of a newer version")
        session.send(**{name: body})
        _expect_error(await session.next("error"), pb.Error.BAD_FRAME, name)
    return f"BAD_FRAME for a body of a newer version and for {name}"


@rule(*ALL, says="A frame without a session is answered with BAD_FRAME.")
async def answers_a_frame_without_session(subject: Subject) -> str:
    """Send the opening frame without the id."""
    nameless = subject.peer.nameless
    nameless.clear()
    subject.peer.send(subject.address, _opening(subject, Header(reply_to=subject.peer.address)).SerializeToString())
    await subject.fence()
    if not nameless:
        raise BrokenRuleError(f"no answer to a {subject.work.opening} without session_id")
    _expect_error(nameless[0], pb.Error.BAD_FRAME, "a frame without session_id")
    return "BAD_FRAME"


@rule(*ALL, says="Bytes that do not parse are dropped without an answer, and the process goes on.")
async def survives_garbage(subject: Subject) -> str:
    """Send some, then have work done."""
    for garbage in GARBAGE:
        subject.peer.send(subject.address, garbage)
    await subject.works()
    return f"{len(GARBAGE)} messages of garbage, then work as ever"


@rule(*ALL, says="A frame of more than 8 388 608 bytes is dropped and answered with BAD_FRAME.")
async def survives_a_frame_too_big(subject: Subject) -> str:
    """Send one, then have work done."""
    async with subject.session() as session:
        data = padded(_opening(subject, subject.work.header(session)), MAX_FRAME_BYTES)
        session.send_bytes(data)
        _expect_error(
            await session.next("error", "refusal", *filter(None, [subject.work.ending])),
            pb.Error.BAD_FRAME,
            "such a frame",
        )
    await subject.works()
    return f"BAD_FRAME for {len(data)} bytes, then work as ever"


@rule(*ALL, says="An error is never answered with an error.")
async def never_answers_an_error(subject: Subject) -> str:
    """Send errors that have a reply_to, which they must not."""
    async with subject.session() as session:
        session.send(error=pb.Error(code=pb.Error.BAD_FRAME, message="from the kit"))
        nameless = pb.Error(code=pb.Error.INVALID_REQUEST, message="from the kit, about an announcement")
        session.send(session.header(session_id=""), error=nameless)
        subject.peer.nameless.clear()
        session.send(error=pb.Error(code=pb.Error.UNKNOWN_SESSION, message="from the kit"))
        await subject.quiet(0.05)
        no_answer_but(session)
        if subject.peer.nameless:
            raise BrokenRuleError("an error without a session, which is about an announcement, was answered")
    return "silence"


def _opening(subject: Subject, header: Header) -> Frame:
    match subject.role:
        case "vad":
            return Frame(header=header, session_open=pb.SessionOpen(endpointing=endpointing()))
        case "asr":
            return Frame(header=header, speech=pb.Speech(pcm=bytes(16_000), recognition=pb.Recognition()))
        case "llm":
            said = pb.Message(author=pb.Message.USER, parts=[pb.Part(text="Say hello.")])
            return Frame(header=header, generation_request=pb.GenerationRequest(messages=[said], max_output_tokens=16))
        case _:
            return Frame(header=header, synthesis_request=pb.SynthesisRequest(sample_rate=16_000, text="Hello."))


def _expect_error(received: Received, code: pb.Error.Code.ValueType, sent: str) -> None:
    error = received.frame.error
    if error.code != code:
        raise BrokenRuleError(f"{in_words(received.frame)} in answer to {sent}, not {pb.Error.Code.Name(code)}")


def _expect_ids(received: Received, header: Header, reply_to: str = "") -> None:
    answered = received.frame.header
    wanted = {name: getattr(header, name) for name in IDS}
    wanted |= {"reply_to": reply_to, "next": "", "deadline_ms": 0}
    for name, value in wanted.items():
        got = getattr(answered, name)
        if got != value:
            raise BrokenRuleError(f"{received.body} has {name} {got!r}, not {value!r}")


RULES: Final[tuple[Rule, ...]] = (
    answers_carry_the_ids,
    passes_on_for_the_gateway,
    ignores_unknown_fields,
    answers_an_unknown_body,
    answers_a_frame_without_session,
    survives_garbage,
    survives_a_frame_too_big,
    never_answers_an_error,
)
