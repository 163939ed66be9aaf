"""The session of a Realtime client: its events in, notices out, several responses at a time."""

import asyncio
import json
import uuid
from typing import Any, Final

from bus.frames import Frame, Header
from gateway.bus_link import BusLink
from gateway.core import events as ev
from gateway.core.input import BLOCK_BYTES
from gateway.core.realtime import commands as do
from gateway.core.realtime import notices
from gateway.core.realtime.client_events import AppendAudio, ClientEvent
from gateway.core.realtime.config import AudioFormat, ResponseConfig, SessionConfig, ToolChoice
from gateway.core.realtime.context import Image, ModelMessage, Text
from gateway.core.realtime.endpointing import endpointing_of
from gateway.core.realtime.events import GenerationDone, SpeechReceived, ToolCallDelta
from gateway.core.realtime.session import RealtimeSession
from gateway.core.realtime.settings import RealtimeSettings
from gateway.core.response import Status
from gateway.driver import Commands, Connection, Driver, Frames
from gateway.metrics import RESPONSES, TURNS_FAILED
from gateway.places import Avoided
from gateway.protocols.realtime.audio import to_wire
from gateway.registry import ANY, Wish
from gateway.settings import GatewaySettings
from proto.v1 import speech_pb2 as pb

# How long an answer's text may take in all.
ANSWER_TIMEOUT_MS: Final = 120_000

AUTHORS: Final = {
    "system": pb.Message.SYSTEM,
    "user": pb.Message.USER,
    "assistant": pb.Message.ASSISTANT,
    "tool": pb.Message.TOOL,
}
CHOICES: Final = {
    "auto": pb.ToolChoice.AUTO,
    "none": pb.ToolChoice.NONE,
    "required": pb.ToolChoice.REQUIRED,
    "function": pb.ToolChoice.NAMED,
}
REASONS: Final[dict[pb.GenerationDone.Reason.ValueType, Any]] = {
    pb.GenerationDone.TOOL_CALLS: "tool_calls",
    pb.GenerationDone.MAX_OUTPUT_TOKENS: "max_output_tokens",
    pb.GenerationDone.CONTENT_FILTER: "content_filter",
}


def new_id(kind: str) -> str:
    """Return a new id of a Realtime object: *kind*, an underscore and 20 characters."""
    return f"{kind}_{uuid.uuid4().hex[:20]}"


class RealtimeDriver(Driver):
    """One Realtime session. Make it, `open` it, give it the client's events by `receive`, `close` it."""

    def __init__(self, link: BusLink, connection: Connection, config: SessionConfig, settings: GatewaySettings) -> None:
        core_settings = RealtimeSettings(
            starvation_ms=max(settings.starvation_ms, RealtimeSettings().starvation_ms),
            transcript_timeout_ms=int(settings.asr_timeout_s * 1000),
            text_timeout_ms=int(settings.llm_timeout_s * 1000),
            speech_timeout_ms=int(settings.tts_timeout_s * 1000),
        )
        self._session = RealtimeSession(config, core_settings, new_id, asyncio.get_running_loop().time() * 1000)
        self._min_speech_ms = settings.min_speech_ms
        self._formats: dict[str, AudioFormat] = {}
        self._waterfall_of = ""
        super().__init__(link, connection, self._session)

    @property
    def config(self) -> SessionConfig:
        """The session's settings as they are now."""
        return self._session.config

    def hear(self, event: AppendAudio) -> None:
        """Take audio of the client, `BLOCK_BYTES` at most, while it is wanted."""
        self._take_audio(event)

    async def receive(self, event: ClientEvent) -> None:
        """Take an event of the client; one with audio waits while the vad is too far behind."""
        if not isinstance(event, AppendAudio):
            self._receive(event)
            return
        if len(event.pcm) <= BLOCK_BYTES:
            await self.wait_for_room()
            self.hear(event)
            return
        # Minutes in one event are heard like 20 ms appends: a block at a time, the client's own bytes in proportion.
        cuts = range(0, len(event.pcm), BLOCK_BYTES)
        width = self.config.input_format.bytes_per_sample
        for number, start in enumerate(cuts):
            await self.wait_for_room()
            begin, end = (len(event.raw) * cut // len(cuts) // width * width for cut in (number, number + 1))
            self.hear(AppendAudio(event.pcm[start : start + BLOCK_BYTES], event.raw[begin:end], event.event_id))

    def _commands(self) -> Commands:
        return {
            do.UpdateInput: self._update_input,
            do.CommitAudio: self._commit_audio,
            do.ClearAudio: self._clear_audio,
            do.Respond: self._respond,
            do.AskAgain: self._ask_again,
            notices.AudioDelta: self._audio_delta,
            notices.ResponseDone: self._response_done,
            notices.TranscriptionFailed: self._transcription_failed,
        }

    def _frames(self) -> Frames:
        return {
            "partial_transcript": self._on_stable_partial,
            "tool_call": self._of_request(self._on_tool_call),
            "generation_done": self._of_request(self._on_generation_done),
            "speech_out": self._of_request(self._on_speech),
        }

    def _endpointing(self) -> pb.Endpointing:
        asked = endpointing_of(self.config)
        return pb.Endpointing(
            mode=pb.Endpointing.MANUAL if asked.manual else pb.Endpointing.SERVER_VAD,
            threshold=asked.threshold,
            prefix_padding_ms=asked.prefix_padding_ms,
            silence_duration_ms=asked.silence_duration_ms,
            min_speech_ms=self._min_speech_ms,
            pause_ms=asked.pause_ms,
            end_of_turn_threshold=asked.end_of_turn_threshold,
            unfinished_silence_ms=asked.unfinished_silence_ms,
        )

    def _recognition(self) -> pb.Recognition:
        asked = self.config.transcription
        self._places.wish(ev.Role.ASR, Wish(asked.model, asked.language) if asked is not None else ANY)
        if asked is None:
            return pb.Recognition()
        return pb.Recognition(language=asked.language, prompt=asked.prompt, partials=True)

    # -- frames -------------------------------------------------------------------------------------------------------

    def _on_stable_partial(self, frame: Frame) -> None:
        self._receive(ev.PartialTranscript(frame.header.turn_id, frame.partial_transcript.stable))

    def _on_tool_call(self, frame: Frame) -> None:
        self._waterfall.add(frame.header)
        call = frame.tool_call
        self._receive(
            ToolCallDelta(
                frame.header.response_id, call.call_id, call.name, call.arguments_json, call.index, call.complete
            )
        )

    def _on_generation_done(self, frame: Frame) -> None:
        done = frame.generation_done
        if not self._asking.has_all_text(frame.header, done.deltas):
            return
        self._receive(
            GenerationDone(
                frame.header.response_id,
                REASONS.get(done.reason, "stop"),
                done.usage.input_tokens,
                done.usage.output_tokens,
                done.usage.cached_tokens,
            )
        )

    def _on_speech(self, frame: Frame) -> None:
        self._waterfall.add(frame.header)
        response_id = frame.header.response_id
        form = self._formats.get(response_id)
        out = frame.speech_out
        if form is not None and self._asking.has_all_speech(frame.header, out):
            self._receive(SpeechReceived(response_id, to_wire(out.pcm, form), out.text))

    # -- commands -----------------------------------------------------------------------------------------------------

    def _update_input(self, _command: do.UpdateInput) -> None:
        update = pb.SessionUpdate(endpointing=self._endpointing(), recognition=self._recognition())
        self._to_vad(session_update=update)

    def _commit_audio(self, command: do.CommitAudio) -> None:
        self._to_vad(input_commit=pb.InputCommit(at_sample=command.at_sample))

    def _clear_audio(self, command: do.ClearAudio) -> None:
        self._to_vad(input_clear=pb.InputClear(at_sample=command.at_sample))

    def _respond(self, command: do.Respond, avoided: Avoided | None = None) -> None:
        config = command.config
        header = Header(
            session_id=self.session_id,
            turn_id=command.turn_id,
            response_id=command.response_id,
            generation=command.generation,
            reply_to=self._link.address,
        )
        synthesis = None
        self._places.wish(ev.Role.LLM, Wish(self.config.model))
        self._places.wish(ev.Role.TTS, Wish(voice=config.voice))
        if command.wants_speech:
            self._formats[command.response_id] = config.output_format
            synthesis = pb.SynthesisRequest(
                # OpenAI's names are aliases of the service's own voice.
                voice=config.voice if config.voice in self._link.voices() else "",
                speed=config.speed,
                sample_rate=config.output_format.rate,
                granted_ms=command.granted_ms,
            )
        self._ask(header, generation_request(config, command.messages), synthesis, ANSWER_TIMEOUT_MS, avoided)

    def _end_response(self, command: do.EndResponse) -> None:
        self._formats.pop(command.response_id, None)
        super()._end_response(command)

    def _cancel_response(self, command: do.CancelResponse) -> None:
        self._formats.pop(command.response_id, None)
        super()._cancel_response(command)

    # -- notices ------------------------------------------------------------------------------------------------------

    def _audio_delta(self, notice: notices.AudioDelta) -> None:
        self._connection.notify(notice)
        if self._waterfall_of != notice.response_id:
            self._waterfall_of = notice.response_id
            self._waterfall.finish()

    def _response_done(self, notice: notices.ResponseDone) -> None:
        response = notice.response
        RESPONSES.labels(response.status.value).inc()
        if response.status is Status.FAILED:
            self._log.warning("response failed", response=response.id, why=response.error_message)
        self._connection.notify(notice)

    def _transcription_failed(self, notice: notices.TranscriptionFailed) -> None:
        TURNS_FAILED.inc()
        self._log.warning("transcription failed", item=notice.item_id, why=notice.message)
        self._connection.notify(notice)


def generation_request(config: ResponseConfig, messages: tuple[ModelMessage, ...]) -> pb.GenerationRequest:
    """Return what the llm is asked for."""
    return pb.GenerationRequest(
        instructions=config.instructions,
        messages=[_message(message) for message in messages],
        tools=[
            pb.Tool(name=tool.name, description=tool.description, parameters_json=json.dumps(tool.parameters))
            for tool in config.tools
        ],
        tool_choice=_choice(config.tool_choice),
        temperature=config.temperature,
        max_output_tokens=config.max_output_tokens or 0,
    )


def _choice(choice: ToolChoice) -> pb.ToolChoice:
    return pb.ToolChoice(mode=CHOICES[choice.mode], name=choice.name)


def _message(message: ModelMessage) -> pb.Message:
    return pb.Message(
        author=AUTHORS[message.author],
        parts=[_part(part) for part in message.parts],
        tool_calls=[
            pb.ToolCall(call_id=call.call_id, name=call.name, arguments_json=call.arguments, complete=True)
            for call in message.tool_calls
        ],
        call_id=message.call_id,
    )


def _part(part: Text | Image) -> pb.Part:
    return pb.Part(text=part.text) if isinstance(part, Text) else pb.Part(image_url=part.url)
