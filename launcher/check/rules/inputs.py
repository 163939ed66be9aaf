"""Input that is empty, huge, in any script, or of several sessions at once."""

import asyncio
from typing import Final

from bus.frames import Header
from launcher.check.peer import Session, in_words
from launcher.check.rule import ALL, BrokenRuleError, Rule, rule
from launcher.check.sound import BYTES_PER_MS, RATE, silence, voice
from launcher.check.subject import Subject
from launcher.check.work import WHOLE_MS, chunks, endpointing, request
from proto.v1 import speech_pb2 as pb

# Cyrillic, a surrogate pair, right to left, a combining accent, a joined emoji, quotes.
UNICODE: Final = "Привет 🦊 שלום e\u0301 👩‍🚀 «čau» 日本"
# A conversation of some hours; more than a model may take, which it then says.
LONG_CHARACTERS: Final = 200_000
LONG_AUDIO: Final = 15  # times two seconds
TURN_MS: Final = (500, 800)


@rule(*ALL, says="Ids and text may be in any script: UTF-8 throughout, and ids are copied as they are.")
async def takes_unicode(subject: Subject) -> str:
    """Have work done with such ids and text."""
    async with subject.session(f"сессия-🦊-{id(subject)}") as session:
        header = subject.work.header(session)
        match subject.role:
            case "vad":
                recognition = pb.Recognition(prompt=UNICODE, language="ru")
                opened = pb.SessionOpen(endpointing=endpointing(manual=True), recognition=recognition)
                header.next = subject.peer.next_address
                session.send(header, session_open=opened)
                for audio in chunks(silence(0.6)):
                    session.send(header, audio=audio)
                speech = (await session.next("speech", passed_on=True)).frame.speech
                if speech.recognition.prompt != UNICODE:
                    raise BrokenRuleError(f"the asr got the prompt {speech.recognition.prompt!r}")
            case "asr":
                recognition = pb.Recognition(prompt=UNICODE)
                session.send(header, speech=pb.Speech(pcm=voice(0.5), recognition=recognition, last=True))
                await session.next("transcript")
            case "llm":
                header.response_id = "réponse-🦊"
                session.send(header, generation_request=request(f"Repeat after me: {UNICODE}", most_tokens=32))
                await session.next("generation_done")
            case _:
                header.response_id = "réponse-🦊"
                asked = pb.SynthesisRequest(sample_rate=RATE, granted_ms=WHOLE_MS, text=UNICODE)
                session.send(header, synthesis_request=asked)
                await session.next("synthesis_done")
                _expect_text(session, UNICODE)
        wrong = [one.body for one in session.frames if one.frame.header.response_id != header.response_id]
        if wrong:
            raise BrokenRuleError(f"{wrong[0]} has another response_id than {header.response_id!r}")
    return f"{len(UNICODE)} characters: Cyrillic, Hebrew, Latin, Japanese, emoji"


@rule(*ALL, says="Nothing is also input: audio, turns, messages and texts that are empty end as others do.")
async def takes_nothing(subject: Subject) -> str:
    """Have nothing worked on."""
    async with subject.session() as session:
        header = subject.work.header(session)
        match subject.role:
            case "vad":
                session.send(header, session_open=pb.SessionOpen())
                session.send(header, audio=pb.Audio(pcm=b"", at_sample=0))
                session.send(header, input_commit=pb.InputCommit())
                subject.work.finish(session, header)
                await session.next("audio_ack")
                await session.next("audio_ack")
                return "silence was acknowledged after empty audio"
            case "asr":
                session.send(header, speech=pb.Speech(recognition=pb.Recognition(), last=True))
                text = (await session.next("transcript")).frame.transcript.text
                if text:
                    raise BrokenRuleError(f"a turn without audio has a transcript of {len(text)} characters")
                return "an empty transcript"
            case "llm":
                session.send(header, generation_request=pb.GenerationRequest(max_output_tokens=16))
                return await _done_or_impossible(session, "generation_done")
            case _:
                session.send(header, synthesis_request=pb.SynthesisRequest(sample_rate=RATE, granted_ms=WHOLE_MS))
                session.send(header, generation_done=pb.GenerationDone(deltas=0))
                audio_ms = (await session.next("synthesis_done")).frame.synthesis_done.audio_ms
                return f"synthesis_done, {audio_ms} ms of audio"


@rule(*ALL, says="Very long input is served or answered with a typed error, and other sessions do not wait for it.")
async def takes_very_long_input(subject: Subject) -> str:
    """Send a great deal, and have another session's work done meanwhile."""
    async with subject.session() as session:
        header = subject.work.header(session)
        match subject.role:
            case "vad":
                subject.work.begin(session, header, "")
                session.send(header, audio=pb.Audio(pcm=silence(3.5)))
                sent, wanted = "3.5 s of audio in a frame", "audio_ack"
            case "asr":
                for number, audio in enumerate(chunks(voice(2.0) * LONG_AUDIO)):
                    recognition = pb.Recognition() if number == 0 else None
                    speech = pb.Speech(pcm=audio.pcm, at_sample=audio.at_sample, recognition=recognition)
                    session.send(header, speech=speech)
                sent, wanted = f"{2 * LONG_AUDIO} s of speech", ""
            case "llm":
                text = "word " * (LONG_CHARACTERS // 5)
                session.send(header, generation_request=request(text, most_tokens=16))
                sent, wanted = f"{LONG_CHARACTERS} characters", "generation_done"
            case _:
                text = "Words that go on and on, " * (LONG_CHARACTERS // 25)
                session.send(header, synthesis_request=pb.SynthesisRequest(sample_rate=RATE, granted_ms=500, text=text))
                sent, wanted = f"{LONG_CHARACTERS} characters", "speech_out"
        begun_s = asyncio.get_running_loop().time()
        await subject.works()
        waited_ms = (asyncio.get_running_loop().time() - begun_s) * 1000
        told = await _done_or_impossible(session, wanted) if wanted else "taken"
    return f"{sent}: {told}; another session was served meanwhile, in {waited_ms:.0f} ms"


@rule(*ALL, says="What one session says, is set to, or hears never shows in another.")
async def keeps_sessions_apart(subject: Subject) -> str:
    """Do the work of two sessions, frame by frame in turn; each has to get its own."""
    async with subject.session() as first, subject.session() as second:
        both = (first, second)
        headers = [subject.work.header(session) for session in both]
        match subject.role:
            case "vad":
                return await _vad_apart(subject, first, second)
            case "asr":
                _send_turns(both, headers)
                for session, wanted_ms in zip(both, TURN_MS, strict=True):
                    audio_ms = (await session.next("transcript")).frame.transcript.audio_ms
                    if abs(audio_ms - wanted_ms) > 1:
                        raise BrokenRuleError(f"a turn of {wanted_ms} ms has a transcript of {audio_ms} ms of audio")
                await _expect_one_each(subject, both)
                return f"turns of {TURN_MS[0]} and {TURN_MS[1]} ms, each with its own transcript"
            case "llm":
                return await _llm_apart(subject, both, headers)
            case _:
                return await _tts_apart(both, headers)


async def _vad_apart(subject: Subject, speaking: Session, silent: Session) -> str:
    for session in (speaking, silent):
        header = subject.work.header(session)
        header.next = subject.peer.next_address
        session.send(header, session_open=pb.SessionOpen(endpointing=endpointing(manual=session is speaking)))
    for mine, theirs in zip(chunks(voice(1.0)), chunks(silence(1.0)), strict=True):
        for session, audio in ((speaking, mine), (silent, theirs)):
            header = subject.work.header(session)
            header.next = subject.peer.next_address
            session.send(header, audio=audio)
    await speaking.next("speech_started")
    await subject.fence()
    strange = [received.body for received in silent.frames if received.body != "audio_ack"]
    if strange:
        raise BrokenRuleError(f"{strange[0]} in a session of silence, while another spoke")
    return "one began a turn, the other, silent, did not"


async def _llm_apart(subject: Subject, both: tuple[Session, Session], headers: list[Header]) -> str:
    words = ("marmalade", "telescope")
    for session, header, word in zip(both, headers, words, strict=True):
        header.next = subject.peer.next_address
        session.send(header, generation_request=request(f"Repeat after me: {word}.", most_tokens=32))
    for session, word in zip(both, reversed(words), strict=True):
        await session.next("generation_done")
        if word in "".join(one.frame.text_delta.text for one in session.of("text_delta")).lower():
            raise BrokenRuleError("an answer has the other session's word in it")
    await _expect_one_each(subject, both)
    return "two answers, neither with the other's word"


async def _tts_apart(both: tuple[Session, Session], headers: list[Header]) -> str:
    texts = (["One, ", "two, ", "three."], ["Alpha, ", "beta, ", "gamma."])
    for session, header in zip(both, headers, strict=True):
        session.send(header, synthesis_request=pb.SynthesisRequest(sample_rate=RATE, granted_ms=WHOLE_MS))
    for seq in range(3):
        for session, header, text in zip(both, headers, texts, strict=True):
            session.send(header, text_delta=pb.TextDelta(seq=seq, text=text[seq]))
    for session, header in zip(both, headers, strict=True):
        session.send(header, generation_done=pb.GenerationDone(deltas=3))
    for session, text in zip(both, texts, strict=True):
        await session.next("synthesis_done")
        _expect_text(session, "".join(text))
    return "two texts, each spoken in its own session"


async def _expect_one_each(subject: Subject, both: tuple[Session, Session]) -> None:
    await subject.fence()
    for session in both:
        if len(session.of(subject.work.ending)) != 1:
            raise BrokenRuleError(f"{len(session.of(subject.work.ending))} {subject.work.ending} came in one session")


def _send_turns(both: tuple[Session, Session], headers: list[Header]) -> None:
    """Send two turns of different lengths, a piece of each in turn."""
    turns = [voice(ms / 1000)[: ms * BYTES_PER_MS] for ms in TURN_MS]
    pieces = [list(chunks(pcm)) for pcm in turns]
    for number in range(max(map(len, pieces))):
        for session, header, mine in zip(both, headers, pieces, strict=True):
            if number < len(mine):
                audio, last = mine[number], number == len(mine) - 1
                recognition = pb.Recognition() if number == 0 else None
                speech = pb.Speech(pcm=audio.pcm, at_sample=audio.at_sample, last=last, recognition=recognition)
                session.send(header, speech=speech)


async def _done_or_impossible(session: Session, ending: str) -> str:
    received = await session.next(ending, "error")
    if received.body == "error" and received.frame.error.code not in {
        pb.Error.INVALID_REQUEST,
        pb.Error.OVERLOADED,
        pb.Error.ENGINE_FAILED,
    }:
        raise BrokenRuleError(f"{in_words(received.frame)}")
    return in_words(received.frame)


def _expect_text(session: Session, text: str) -> None:
    said = "".join(one.frame.speech_out.text for one in session.of("speech_out"))
    if said != text:
        raise BrokenRuleError(f"the texts joined are {said!r}, and {text!r} was to be spoken")


RULES: Final[tuple[Rule, ...]] = (takes_unicode, takes_nothing, takes_very_long_input, keeps_sessions_apart)
