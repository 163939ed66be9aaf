"""What a suite consists of: the processes to run, as the flags describe them."""

from dataclasses import dataclass, replace
from typing import Final, Self

from gateway.settings import GatewaySettings

ROLES: Final = ("vad", "asr", "llm", "tts")
GATEWAY: Final = "gateway"


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the suite.

    *name* tells replicas apart (`asr`, `asr-2`); *args* are its flags, without those of addresses. *health_port* is
    the port it usually has, *bind* the inbox it was told to have ("": the launcher chooses one at each start).
    """

    name: str
    role: str
    engine: str
    args: tuple[str, ...]
    health_host: str
    health_port: int
    bind: str = ""

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return self.role if self.role == GATEWAY else f"services.{self.role}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All processes, what the gateway was told, and what the person at the terminal should know before the start."""

    services: tuple[Part, ...]
    gateway: Part
    settings: GatewaySettings
    start_timeout_s: float
    remarks: tuple[str, ...] = ()

    def moved(self, ports: dict[str, int]) -> Self:
        """Return the same with other ports for clients, by the names of their flags."""
        kept = tuple(arg for arg in self.gateway.args if arg.partition("=")[0].removeprefix("--") not in ports)
        args = (*kept, *(f"--{name}={port}" for name, port in ports.items()))
        settings = self.settings.model_copy(update=ports)
        return replace(self, gateway=replace(self.gateway, args=args), settings=settings)
