"""What the ASR service can be told, whatever its engine."""

from pydantic import Field

from bus.settings import ServiceSettings


class AsrSettings(ServiceSettings):
    """Settings of the ASR service."""

    engine: str = Field("pocketsphinx", description="the engine to run")
    bind: str = Field("tcp://127.0.0.1:7702", description="address of the inbox, tcp://HOST:PORT or ipc://PATH")
    health_port: int = Field(9102, ge=0, le=65535, description="port for health and metrics; 0: any free one")
