"""What the process can be told, the engine's own settings aside."""

from typing import Final

from pydantic import BaseModel, Field, field_validator

from bus import engines
from bus.latency import LatencyText
from bus.settings import ServiceSettings

# Where the end-of-turn models are found, and the name of having none.
END_OF_TURN: Final = "services.vad.end_of_turn.engines"
NONE: Final = "none"


class EndOfTurnSettings(BaseModel):
    """Whether a model hears that a speaker has finished. Sessions that ask for no such advice get none."""

    end_of_turn: str = Field(
        NONE, description="model that tells whether a pause ends a turn: none, smart-turn, scripted"
    )
    end_of_turn_model: str = Field(
        "pipecat-ai/smart-turn-v3",
        description="smart-turn: an ONNX file, or a name on the hub (OWNER/NAME or OWNER/NAME/FILE)",
    )
    end_of_turn_threads: int = Field(1, ge=1, description="smart-turn: threads of ONNX Runtime")
    end_of_turn_script: str = Field("0.9", description="scripted: probabilities in order, the last for ever; nan fails")
    end_of_turn_latency: LatencyText = Field("0", description="scripted: seconds to the answer, or a distribution")

    @field_validator("end_of_turn")
    @classmethod
    def _is_known(cls, value: str) -> str:
        known = [NONE, *engines.names(END_OF_TURN)]
        if value not in known:
            raise ValueError(f"unknown end-of-turn model; choose one of {', '.join(known)}")
        return value


class VadSettings(EndOfTurnSettings, ServiceSettings):
    """Finds turns in the audio of many sessions: speech in, turns out."""

    engine: str = Field("silero", description="the engine to run: silero, silero-onnx, silero-torch or energy")
    bind: str = Field("tcp://127.0.0.1:7701", description="address of the inbox, tcp://HOST:PORT or ipc://PATH")
    health_port: int = Field(9101, ge=0, le=65535, description="port for health and metrics; 0: any free one")
    # A session costs some 3 ms of a core a second (README): 256 fill most of a core.
    capacity: int = Field(256, ge=1, description="sessions held at most at a time; more are refused")
