"""A service that breaks the contract: one of ours, scripted, whose frames are changed on their way in or out.

Each fault is a switch that one rule of the kit has to notice.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry, make_wsgi_app

from bus.frames import MAX_FRAME_BYTES, Frame, answer
from bus.serve import Service
from launcher.check.rules import vad
from proto.v1 import speech_pb2 as pb

Tamper = Callable[[Service], None]
Outgoing = Callable[[Frame], Iterable[Frame]]
Incoming = Callable[[bytes, Frame], Iterable[bytes]]

FLAGS: Final = {
    "vad": ("--engine", "energy"),
    "asr": ("--engine", "scripted", "--text", "a b c d e f g h"),
    "llm": ("--engine", "scripted", "--words", "80", "--token_latency", "0.02"),
    "tts": ("--engine", "scripted", "--ms_per_character", "20"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a service of *role*, and the *rule* that has to notice."""

    name: str
    role: str
    rule: str
    tamper: Tamper


# -- on the way out ---------------------------------------------------------------------------------------------------


def outgoing(change: Callable[[str, Frame], Iterable[tuple[str, Frame]]]) -> Tamper:
    """Send what *change* makes of an address and a frame, instead of it."""

    def tamper(service: Service) -> None:
        send = service._node.send

        def changed(address: str, frame: Frame) -> None:
            copy = Frame.FromString(frame.SerializeToString())
            for where, what in change(address, copy):
                send(where, what)

        service._node.send = changed  # type: ignore[method-assign]

    return tamper


def changing(body: str, change: Callable[[Frame], object]) -> Tamper:
    """Change every frame that goes out with this *body*; one for which *change* returns False does not go out."""

    def each(address: str, frame: Frame) -> Iterable[tuple[str, Frame]]:
        if frame.WhichOneof("body") != body or change(frame) is not False:
            yield address, frame

    return outgoing(each)


def withheld(body: str, number: int = 0) -> Tamper:
    """Withhold the frames with this *body*; only the one with this *number* of each session, if one is said."""
    counted: dict[str, int] = {}

    def change(frame: Frame) -> bool:
        session_id = frame.header.session_id
        counted[session_id] = counted.get(session_id, 0) + 1
        return bool(number) and counted[session_id] != number

    return changing(body, change)


def error_withheld(code: pb.Error.Code.ValueType) -> Tamper:
    """Withhold errors with this *code*."""
    return changing("error", lambda frame: frame.error.code != code)


def set_to(body: str, **fields: Any) -> Tamper:
    """Set *fields* of every frame that goes out with this *body*."""

    def change(frame: Frame) -> None:
        for name, value in fields.items():
            setattr(getattr(frame, body), name, value)

    return changing(body, change)


def doubled(body: str, **header: Any) -> Tamper:
    """Send frames with this *body* twice, the second time with another *header*."""

    def each(address: str, frame: Frame) -> Iterable[tuple[str, Frame]]:
        yield address, frame
        if frame.WhichOneof("body") == body:
            again = Frame.FromString(frame.SerializeToString())
            for name, value in header.items():
                setattr(again.header, name, value)
            yield address, again

    return outgoing(each)


def swapped_sessions(body: str) -> Tamper:
    """Send each session the frames with this *body* of the one before it, too."""
    seen: list[str] = []

    def each(address: str, frame: Frame) -> Iterable[tuple[str, Frame]]:
        if frame.header.session_id and frame.header.session_id not in seen:
            seen.append(frame.header.session_id)
        if frame.WhichOneof("body") == body and len(seen) > 1:
            for session_id in seen[-2:]:
                frame.header.session_id = session_id
                yield address, Frame.FromString(frame.SerializeToString())
        else:
            yield address, frame

    return outgoing(each)


def only_to_gateway(address: str, frame: Frame) -> Iterable[tuple[str, Frame]]:
    """Keep the second delta from the next service."""
    if not (frame.header.reply_to and frame.text_delta.seq == 1):
        yield address, frame


# -- on the way in ----------------------------------------------------------------------------------------------------


def incoming(change: Callable[[Service, bytes], Iterable[bytes]]) -> Tamper:
    """Receive what *change* makes of a message, instead of it."""

    def tamper(service: Service) -> None:
        inbox = service._node._inbox
        receive = inbox._receive
        inbox._receive = lambda batch: receive([made for data in batch for made in change(service, data)])

    return tamper


def receiving(body: str, change: Callable[[Frame], object]) -> Tamper:
    """Change every frame that comes in with this *body*; one for which *change* returns False does not come in."""

    def each(_: Service, data: bytes) -> Iterable[bytes]:
        frame = parsed(data)
        if frame is None or frame.WhichOneof("body") != body:
            yield data
        elif change(frame) is not False:
            yield frame.SerializeToString()

    return incoming(each)


def deaf_to(body: str) -> Tamper:
    """Never receive frames with this *body*."""
    return receiving(body, lambda _: False)


def dies_of(is_deadly: Callable[[bytes], bool]) -> Tamper:
    """End the service when a message is deadly."""

    def each(service: Service, data: bytes) -> Iterable[bytes]:
        if is_deadly(data):
            service._drained.set()
        else:
            yield data

    return incoming(each)


def not_receiving(is_lost: Callable[[bytes], bool]) -> Tamper:
    """Never receive messages that are lost."""
    return incoming(lambda _, data: [] if is_lost(data) else [data])


def answering(body: str, reply: Callable[[Frame], pb.Error | None]) -> Tamper:
    """Answer frames with this *body* with an error, where *reply* makes one, and do not receive them."""

    def each(service: Service, data: bytes) -> Iterable[bytes]:
        frame = parsed(data)
        error = reply(frame) if frame is not None and frame.WhichOneof("body") == body else None
        if frame is not None and error is not None:
            service._node.send(frame.header.reply_to, answer(frame.header, error=error))
        else:
            yield data

    return incoming(each)


def parsed(data: bytes) -> Frame | None:
    """Return the frame that *data* is, if any."""
    try:
        return Frame.FromString(data)
    except DecodeError:
        return None


def cancels_everything(frame: Frame) -> None:
    """Forget what the cancel names."""
    frame.header.turn_id, frame.header.response_id = 0, ""


def has_no_deadline(frame: Frame) -> None:
    """Forget the deadline."""
    frame.header.deadline_ms = 0


def commits_instead(_: Service, data: bytes) -> Iterable[bytes]:
    """Take a clear for a commit."""
    frame = parsed(data)
    if frame is not None and frame.WhichOneof("body") == "input_clear":
        frame = Frame(header=frame.header, input_commit=pb.InputCommit(at_sample=frame.input_clear.at_sample))
        data = frame.SerializeToString()
    yield data


def uses_audio_twice() -> Tamper:
    """Believe that all audio is new."""
    heard: dict[str, int] = {}

    def change(frame: Frame) -> None:
        frame.audio.at_sample = heard.get(frame.header.session_id, 0)
        heard[frame.header.session_id] = frame.audio.at_sample + len(frame.audio.pcm) // 2

    return receiving("audio", change)


def loses_early_pieces() -> Tamper:
    """Drop audio that comes after what follows it."""
    furthest: dict[str, int] = {}

    def change(frame: Frame) -> bool:
        session_id, at_sample = frame.header.session_id, frame.speech.at_sample
        furthest[session_id] = max(at_sample, furthest.get(session_id, 0))
        return at_sample >= furthest[session_id]

    return receiving("speech", change)


def forgets_early_text() -> Tamper:
    """Drop text that comes before its request."""
    asked: set[str] = set()

    def each(_: Service, data: bytes) -> Iterable[bytes]:
        frame = parsed(data)
        body = frame.WhichOneof("body") if frame is not None else None
        if frame is not None and body == "synthesis_request":
            asked.add(frame.header.session_id)
        if frame is None or body not in {"text_delta", "generation_done"} or frame.header.session_id in asked:
            yield data

    return incoming(each)


def counts_text_itself() -> Tamper:
    """Number deltas as they come, so that none is missed."""
    counted: dict[str, int] = {}

    def each(_: Service, data: bytes) -> Iterable[bytes]:
        frame = parsed(data)
        if frame is not None:
            count = counted.get(frame.header.session_id, 0)
            if frame.WhichOneof("body") == "text_delta":
                frame.text_delta.seq, counted[frame.header.session_id] = count, count + 1
                data = frame.SerializeToString()
            elif frame.WhichOneof("body") == "generation_done":
                frame.generation_done.deltas = count
                data = frame.SerializeToString()
        yield data

    return incoming(each)


# -- elsewhere --------------------------------------------------------------------------------------------------------


def is_ill(service: Service) -> None:
    """Say that it should be restarted."""
    service._health.why_not_live = lambda: "broken"  # type: ignore[method-assign]


def has_no_metrics(service: Service) -> None:
    """Serve metrics of nothing."""
    load = service._load

    async def loaded() -> None:
        assert service._health_server is not None
        service._health_server._metrics = make_wsgi_app(CollectorRegistry())
        await load()

    service._load = loaded  # type: ignore[method-assign]


def lies_about_its_rate() -> Tamper:
    """Speak at 16 kHz always, and say that it is what was asked for."""
    asked: dict[str, int] = {}

    def ask(frame: Frame) -> None:
        asked[frame.header.session_id] = frame.synthesis_request.sample_rate
        frame.synthesis_request.sample_rate = 16_000

    def lie(frame: Frame) -> None:
        frame.speech_out.sample_rate = asked[frame.header.session_id]

    def tamper(service: Service) -> None:
        receiving("synthesis_request", ask)(service)
        changing("speech_out", lie)(service)

    return tamper


def _the_first(most: int) -> Callable[[Frame], bool]:
    numbers = itertools.count(1)
    return lambda _: next(numbers) <= most


def _mumbles(frame: Frame) -> None:
    frame.speech_out.text = frame.speech_out.text.encode("ascii", "ignore").decode()


def _takes_back(frame: Frame) -> None:
    frame.partial_transcript.stable = frame.partial_transcript.stable[::-1]


def _another_delta(frame: Frame) -> None:
    frame.generation_done.deltas += 1


def _claims_another_rate(frame: Frame) -> None:
    frame.speech_out.sample_rate = 24_000


def _half_of_it(frame: Frame) -> None:
    frame.audio.pcm = frame.audio.pcm[: len(frame.audio.pcm) // 2 * 2]


def _rate_it_can(frame: Frame) -> None:
    frame.synthesis_request.sample_rate = max(frame.synthesis_request.sample_rate, 16_000)


def _grants_itself(frame: Frame) -> None:
    frame.synthesis_request.granted_ms = 600_000


def _failed(_: Frame) -> pb.Error:
    return pb.Error(code=pb.Error.ENGINE_FAILED, retryable=True)


def _fails_with_tools(frame: Frame) -> pb.Error | None:
    return _failed(frame) if frame.generation_request.tools else None


def _is_newer(data: bytes) -> bool:
    return b"from a newer version" in data


def _is_silent_on_nobody(frame: Frame) -> bool:
    return bool(frame.header.session_id)


def _loses_revision(frame: Frame) -> None:
    frame.header.revision = 0


def _loses_way_back(frame: Frame) -> None:
    frame.header.reply_to = ""


def _is_something(frame: Frame) -> bool:
    return frame.transcript.text != ""


def _never_drains(frame: Frame) -> None:
    if frame.announcement.state == pb.DRAINING:
        frame.announcement.state = pb.READY


def _one_turn(frame: Frame) -> None:
    frame.header.turn_id = vad.FIRST_TURN


FAULTS: Final = (
    Fault("it names no engine", "vad", "announces-itself", set_to("announcement", engine="")),
    Fault("it speaks another version", "llm", "speaks-this-version", set_to("announcement", protocol_version=2)),
    Fault(
        "it announces itself at first only", "asr", "announces-every-second", changing("announcement", _the_first(2))
    ),
    Fault("it announces too few leases", "tts", "counts-its-leases", set_to("announcement", leases=0)),
    Fault("its health is bad", "vad", "answers-health-checks", is_ill),
    Fault("it has no metrics", "llm", "has-the-metrics", has_no_metrics),
    Fault("it loses an id", "asr", "answers-carry-the-ids", changing("transcript", _loses_revision)),
    Fault("it keeps the way back", "llm", "passes-on-for-the-gateway", changing("text_delta", _loses_way_back)),
    Fault("it drops what is newer", "tts", "ignores-unknown-fields", not_receiving(_is_newer)),
    Fault("it is silent on the unknown", "vad", "answers-an-unknown-body", error_withheld(pb.Error.BAD_FRAME)),
    Fault(
        "it is silent on the nameless",
        "asr",
        "answers-a-frame-without-session",
        changing("error", _is_silent_on_nobody),
    ),
    Fault("it dies of garbage", "llm", "survives-garbage", dies_of(lambda data: parsed(data) is None)),
    Fault("it dies of size", "tts", "survives-a-frame-too-big", dies_of(lambda data: len(data) > MAX_FRAME_BYTES)),
    Fault("it answers errors", "vad", "never-answers-an-error", answering("error", _failed)),
    Fault("it is silent on strangers", "asr", "tells-of-unknown-leases", error_withheld(pb.Error.UNKNOWN_SESSION)),
    Fault("it never refuses", "tts", "refuses-when-full", set_to("announcement", capacity=2)),
    Fault("it keeps closed sessions", "asr", "gives-places-back", deaf_to("session_close")),
    Fault("it says nothing of expiry", "vad", "frees-what-nobody-renews", error_withheld(pb.Error.LEASE_EXPIRED)),
    Fault("it ignores renewals", "tts", "keeps-what-is-renewed", deaf_to("lease_renewal")),
    Fault("it talks on", "tts", "cancel-is-quick", deaf_to("cancel")),
    Fault("it writes on", "llm", "cancel-is-quick", deaf_to("cancel")),
    Fault("it recognises on", "asr", "cancel-is-final", deaf_to("cancel")),
    Fault("it cancels too much", "tts", "cancel-spares-others", receiving("cancel", cancels_everything)),
    Fault("it answers cancels", "llm", "cancel-of-nothing-is-nothing", answering("cancel", _failed)),
    Fault("it takes its time", "asr", "keeps-the-deadline", receiving("speech", has_no_deadline)),
    Fault("it knows ASCII only", "tts", "takes-unicode", changing("speech_out", _mumbles)),
    Fault("it has nothing to say to nothing", "asr", "takes-nothing", changing("transcript", _is_something)),
    Fault("it loses long texts", "tts", "takes-very-long-input", not_receiving(lambda data: len(data) > 100_000)),
    Fault("it mixes up turns", "asr", "keeps-sessions-apart", swapped_sessions("transcript")),
    Fault("it mixes up answers", "llm", "keeps-sessions-apart", swapped_sessions("generation_done")),
    Fault("it mixes up sessions", "vad", "keeps-sessions-apart", swapped_sessions("speech_started")),
    Fault("it mixes up texts", "tts", "keeps-sessions-apart", swapped_sessions("speech_out")),
    Fault("it talks of nobody", "asr", "sends-only-frames", doubled("error", session_id="nobody")),
    Fault("it drains in secret", "tts", "drains", changing("announcement", _never_drains)),
    Fault("it refuses in silence", "vad", "drains", withheld("refusal")),
    # vad
    Fault("it opens in silence", "vad", "acknowledges-the-opening", withheld("audio_ack", 1)),
    Fault("it acknowledges too little", "vad", "acknowledges-audio", withheld("audio_ack", 3)),
    Fault("it never stops", "vad", "starts-and-stops-pair", withheld("speech_stopped", 1)),
    Fault("it counts no turns", "vad", "starts-and-stops-pair", changing("speech_started", _one_turn)),
    Fault("it loses speech", "vad", "streams-turns-without-a-gap", withheld("speech", 2)),
    Fault("it never resumes", "vad", "tells-of-pauses", withheld("speech_resumed")),
    Fault("it ignores commits", "vad", "ends-turns-on-commit", deaf_to("input_commit")),
    Fault("it commits what is cleared", "vad", "forgets-turns-on-clear", incoming(commits_instead)),
    Fault("it hears twice", "vad", "uses-no-audio-twice", uses_audio_twice()),
    Fault("it takes half a sample", "vad", "refuses-half-a-sample", receiving("audio", _half_of_it)),
    # asr
    Fault("it says it twice", "asr", "answers-with-one-transcript", doubled("transcript")),
    Fault("it wants audio in order", "asr", "puts-audio-in-order", loses_early_pieces()),
    Fault("it takes words back", "asr", "partials-only-grow", changing("partial_transcript", _takes_back)),
    # llm
    Fault("it cannot count", "llm", "counts-its-deltas", changing("generation_done", _another_delta)),
    Fault("it tells the tts less", "llm", "tells-both-the-same", outgoing(only_to_gateway)),
    Fault("it fails with tools", "llm", "takes-a-full-request", answering("generation_request", _fails_with_tools)),
    # tts
    Fault("it needs no grant", "tts", "keeps-to-its-grants", receiving("synthesis_request", _grants_itself)),
    Fault("it leaves a gap", "tts", "leaves-no-gap", withheld("speech_out", 3)),
    Fault("it keeps the words", "tts", "tells-what-it-speaks", set_to("speech_out", text="")),
    Fault("it forgets early text", "tts", "keeps-early-text", forgets_early_text()),
    Fault("it jumps over holes", "tts", "fails-if-text-is-lost", counts_text_itself()),
    Fault("it has one rate", "tts", "speaks-at-the-rate-asked", changing("speech_out", _claims_another_rate)),
    Fault("it lies about its rate", "tts", "speaks-at-the-rate-asked", lies_about_its_rate()),
    Fault("it corrects requests", "tts", "refuses-the-impossible", receiving("synthesis_request", _rate_it_can)),
)
