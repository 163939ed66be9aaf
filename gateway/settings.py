"""The gateway's settings: flags without a prefix, or variables with `GATEWAY_` before them."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from bus.settings import GATEWAY_INBOX, ProcessSettings

Mode = Literal["socket", "websocket", "realtime"]
MODES: Final[tuple[Mode, ...]] = ("socket", "websocket", "realtime")


class SocketReceiverArguments(BaseModel):
    """Where raw audio comes in (`--mode socket`)."""

    recv_host: str = Field("localhost", description="address the receiver binds to; 0.0.0.0: any interface")
    recv_port: int = Field(12345, ge=0, le=65535, description="TCP port the receiver listens on")
    chunk_size: int = Field(1024, ge=2, le=1 << 20, description="bytes read from the socket per receive call")


class SocketSenderArguments(BaseModel):
    """Where synthesized audio goes out (`--mode socket`)."""

    send_host: str = Field("localhost", description="address the answer is sent from (or to, see --send_mode)")
    send_port: int = Field(12346, ge=0, le=65535, description="TCP port of the answer's connection")
    send_mode: Literal["auto", "listen", "connect"] = Field(
        "auto",
        description="listen: clients connect to send_host:send_port; connect: we connect to the client there; auto: "
        "listen if the address is this machine's and free, else connect",
    )


class WebSocketStreamerArguments(BaseModel):
    """Where WebSocket clients come in (`--mode websocket`, `--mode realtime`)."""

    ws_host: str = Field("0.0.0.0", description="address the WebSocket server binds to")
    ws_port: int = Field(8765, ge=0, le=65535, description="TCP port of the WebSocket server")


class AdmissionSettings(BaseModel):
    """Who may come in at `ws_port`, and for how long."""

    api_keys: Annotated[list[str], NoDecode] = Field(
        [], description="keys that WebSocket and HTTP clients must show one of, comma-separated; none: anybody may come"
    )
    api_keys_file: str = Field("", description="file of more keys, one a line; # begins a comment")
    allowed_origins: Annotated[list[str], NoDecode] = Field(
        [], description="web pages whose scripts may connect (https://HOST), comma-separated; none: all may"
    )
    ssl_certfile: str = Field("", description="certificate chain (PEM); ws_port then speaks TLS only")
    ssl_keyfile: str = Field("", description="private key of the certificate, if it is not in the same file")
    session_minutes: float = Field(60.0, gt=0, description="longest life of a Realtime session")
    beta_session_minutes: float = Field(30.0, gt=0, description="the same for clients of the beta dialect")
    max_events_per_s: int = Field(1000, ge=10, description="a Realtime client's events are read no faster than this")

    @field_validator("api_keys", "allowed_origins", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        if isinstance(value, list):
            value = ",".join(value)
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class TurnSettings(BaseModel):
    """How raw clients (socket, websocket) take turns."""

    threshold: float = Field(0.5, gt=0, lt=1, description="speech probability that opens a turn")
    prefix_padding_ms: int = Field(300, ge=0, le=2000, description="audio before the onset that belongs to the turn")
    silence_duration_ms: int = Field(500, ge=100, le=10_000, description="silence that ends the turn")
    min_speech_ms: int = Field(
        64, ge=0, le=2000, description="speech shorter than this opens no turn, as far as the detector tells"
    )
    reopen_ms: int = Field(
        1000, ge=0, le=10_000, description="a speaker who goes on within this after the end of a turn continues it"
    )
    starvation_ms: int = Field(
        400, ge=50, le=60_000, description="a client that sends nothing for so long in mid-speech has fallen silent"
    )
    half_duplex: bool = Field(False, description="do not listen while the answer is being played")
    lead_ms: int = Field(200, ge=20, le=10_000, description="how far audio to raw clients may run ahead of real time")
    language: str = Field("", description="language of the speakers (BCP 47); empty: the engine's own choice")
    voice: str = Field("", description="voice of the answers; empty: the engine's own")
    instructions: str = Field(
        "You are a helpful voice assistant. Answer in one or two short sentences that are easy to speak aloud.",
        description="what the language model is told to be",
    )


class GatewaySettings(
    ProcessSettings,
    TurnSettings,
    AdmissionSettings,
    WebSocketStreamerArguments,
    SocketSenderArguments,
    SocketReceiverArguments,
):
    """Everything the gateway can be told."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    mode: Annotated[list[Mode], NoDecode] = Field(
        list(MODES), description="one or several of socket, websocket, realtime; comma-separated or repeated"
    )
    bind: str = Field(GATEWAY_INBOX, description="address of the inbox, tcp://HOST:PORT or ipc://PATH")
    health_port: int = Field(9100, ge=0, le=65535, description="port for health and metrics; 0: any free one")
    max_sessions: int = Field(256, ge=1, description="clients served at a time; more are refused")
    asr_timeout_s: float = Field(15.0, gt=0, description="a transcript that takes longer is given up")
    llm_timeout_s: float = Field(30.0, gt=0, description="an answer whose next piece takes longer is given up")
    tts_timeout_s: float = Field(15.0, gt=0, description="speech whose next piece takes longer is given up")
    round_ms: float = Field(
        5.0,
        ge=0,
        le=50,
        description="with many clients the network is looked at so often, not at every frame; 0: at once",
    )
    drain_timeout_s: float = Field(10.0, ge=0, description="how long SIGTERM waits for answers to end")
    max_message_bytes: int = Field(32 * 1024 * 1024, ge=1024, description="largest WebSocket message taken")

    @field_validator("mode", mode="before")
    @classmethod
    def _modes(cls, value: Any) -> Any:
        if isinstance(value, list):
            value = ",".join(value)
        if not isinstance(value, str):
            return value
        modes = list(dict.fromkeys(part for part in value.replace(",", " ").split() if part))
        if not modes:
            raise ValueError(f"name one or several of {', '.join(MODES)}")
        return modes


def join_modes(args: list[str]) -> list[str]:
    """Return *args* with `--mode socket websocket` written as `--mode socket,websocket`."""
    joined: list[str] = []
    for arg in args:
        if arg in MODES and len(joined) > 1 and joined[-2] == "--mode":
            joined[-1] += f",{arg}"
        else:
            joined.append(arg)
    return joined
