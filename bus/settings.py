"""Settings: one pydantic model gives the environment variables and the command-line flags of a process."""

import os
import re
import sys
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, CliApp, NoDecode, SettingsConfigDict, SettingsError

from bus.logs import LogFormat

# Where a gateway listens for services, and where services look for one, when nothing else is said.
GATEWAY_INBOX = "tcp://127.0.0.1:7700"

ADDRESS = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+\]|[^/:\s]+):\d{1,5}|ipc://\S+")

# What is given to a setting with such a name is not shown.
SECRET = ("key", "token", "secret", "password")


class ProcessSettings(BaseSettings):
    """What every process of the suite can be told."""

    model_config = SettingsConfigDict(
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        extra="ignore",
        nested_model_default_partial_update=True,
    )

    bind: str = Field("", description="address of the inbox, tcp://HOST:PORT or ipc://PATH")
    advertise: str = Field("", description="address that others reach the inbox at, where it differs from --bind")
    bus_keys: str = Field(
        default_factory=lambda: os.environ.get("BUS_KEYS", ""),
        description="folder of this member's keys: tcp:// inboxes are encrypted and open to members only (or BUS_KEYS)",
    )
    health_host: str = Field("127.0.0.1", description="interface for /health/live, /health/ready and /metrics")
    health_port: int = Field(0, ge=0, le=65535, description="port for health and metrics; 0: any free one")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")
    log_format: LogFormat = Field("auto", description="json, console, or auto: console on a terminal")
    log_content: bool = Field(False, description="let transcripts and answers into the log (private speech!)")


class ServiceSettings(ProcessSettings):
    """What every service can be told."""

    engine: str = Field(description="the engine to run")
    gateways: Annotated[list[str], NoDecode] = Field(
        [GATEWAY_INBOX], description="inboxes of the gateways, comma-separated; a DNS name may stand for several"
    )
    capacity: int = Field(64, ge=1, description="leases held at most at a time; more are refused")
    lease_ttl_s: float = Field(10.0, gt=0, description="a lease that nothing renews ends after this")
    drain_timeout_s: float = Field(30.0, ge=0, description="how long SIGTERM waits for leases to end")

    @field_validator("gateways", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        if isinstance(value, list):
            value = ",".join(value)
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("gateways")
    @classmethod
    def _are_addresses(cls, value: list[str]) -> list[str]:
        for address in value:
            if not ADDRESS.fullmatch(address):
                raise ValueError(f"{address!r} is no address; write tcp://HOST:PORT or ipc://PATH")
        return value


S = TypeVar("S", bound=BaseSettings)


def parse(model: type[S], args: list[str], prog: str) -> S:
    """Return *model* filled from the flags *args*, then the environment, then its defaults.

    Bad values end the process with status 2 and one line for each, naming the flag.
    """
    named = {"model_config": SettingsConfigDict(cli_prog_name=prog), "__doc__": model.__doc__}
    cli: type[S] = type(model.__name__, (model,), named)
    try:
        return CliApp.run(cli, cli_args=args)
    except ValidationError as error:
        for problem in error.errors():
            flag = "".join(f"--{part}: " for part in problem["loc"][:1])
            hidden = problem["type"] == "missing" or not flag or any(word in flag for word in SECRET)
            given = "" if hidden else f" (got {problem['input']!r})"
            sys.stderr.write(f"{prog}: {flag}{problem['msg']}{given}\n")
    except SettingsError as error:
        sys.stderr.write(f"{prog}: {error}\n")
    sys.exit(2)
