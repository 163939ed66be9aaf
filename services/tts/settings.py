"""What the TTS service can be told."""

from pydantic import BaseModel, Field

from bus.settings import ServiceSettings


class Speaking(BaseModel):
    """How responses are spoken, whatever the engine."""

    chunk_ms: int = Field(40, ge=5, le=1000, description="audio in a piece; a frame is one, or several that are ready")
    joined_ms: int = Field(400, ge=0, le=1000, description="pieces that are ready leave in frames of up to so much")
    ahead_s: float = Field(10.0, gt=0, description="a clause is begun while less audio than this waits for its grant")
    threads: int = Field(0, ge=0, description="clauses made at a time; 0: what suits the engine")
    sentence_pause_ms: int = Field(250, ge=0, le=5000, description="silence after a sentence or a line")
    clause_pause_ms: int = Field(100, ge=0, le=5000, description="silence after a comma, colon, semicolon or dash")


class TtsSettings(ServiceSettings, Speaking):
    """Settings of `python -m services.tts`."""

    engine: str = Field("flite", description="the engine to run")
    bind: str = Field("tcp://127.0.0.1:7704", description="address of the inbox, tcp://HOST:PORT or ipc://PATH")
    health_port: int = Field(9104, ge=0, le=65535, description="port for health and metrics; 0: any free one")
