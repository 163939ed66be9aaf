"""What the process can be told, the engine's own settings aside."""

from pydantic import Field

from bus.settings import ServiceSettings


class VadSettings(ServiceSettings):
    """Finds turns in the audio of many sessions: speech in, turns out."""

    engine: str = Field("silero", description="the engine to run: silero or energy")
    bind: str = Field("tcp://127.0.0.1:7701", description="address of the inbox, tcp://HOST:PORT or ipc://PATH")
    health_port: int = Field(9101, ge=0, le=65535, description="port for health and metrics; 0: any free one")
    # A session costs some 3 ms of a core a second (README): 256 fill most of a core.
    capacity: int = Field(256, ge=1, description="sessions held at most at a time; more are refused")
