"""What an operator can ask a running gateway, over HTTP at its health port: who is there, and who shall go.

GET  /services              the replicas of every service, as JSON
POST /services/ID/drain     have one finish what it has, and end
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

from bus.frames import Frame
from gateway.bus_link import BusLink
from gateway.registry import Replica
from proto.v1 import speech_pb2 as pb

T = TypeVar("T")

PATH: Final = "/services"
# The event loop answers within milliseconds, or something is badly wrong.
PATIENCE_S: Final = 5.0


class Operating:
    """Answers an operator's requests. Called on other threads than that of the loop, where it was made."""

    def __init__(self, link: BusLink) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()

    def __call__(self, method: str, path: str) -> tuple[str, bytes] | None:
        """Return status line and JSON, None if there is no such path."""
        if path != PATH and not path.startswith(f"{PATH}/"):
            return None
        parts = path.removeprefix(PATH).strip("/").split("/")
        if (method, parts) == ("GET", [""]):
            return "200 OK", _json({"services": self._on_loop(self._services)})
        if method == "POST" and len(parts) == len(["ID", "drain"]) and parts[1] == "drain":
            found = self._on_loop(lambda: self._drain(parts[0]))
            if found is None:
                return "404 Not Found", _json({"error": f"no service {parts[0]!r}; GET {PATH} lists them"})
            return "202 Accepted", _json(found)
        return None

    def _services(self) -> list[dict[str, Any]]:
        return [describe(replica) for replica in self._link.registry.all()]

    def _drain(self, instance_id: str) -> dict[str, Any] | None:
        replica = next((r for r in self._link.registry.all() if r.said.instance_id == instance_id), None)
        if replica is None:
            return None
        self._link.send(replica.inbox, Frame(drain=pb.Drain()))
        return describe(replica)

    def _on_loop(self, work: Callable[[], T]) -> T:
        async def run() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE_S)


def describe(replica: Replica) -> dict[str, Any]:
    """Return what is known of a replica, for people and their scripts."""
    said = replica.said
    return {
        "id": said.instance_id,
        "role": replica.role.value,
        "engine": said.engine,
        "model": said.model,
        "state": pb.State.Name(said.state).lower(),
        "leases": said.leases,
        "capacity": said.capacity,
        "places": len(replica.places),
        "queue_age_ms": said.queue_age_ms,
        "languages": list(said.capabilities.languages),
        "voices": list(said.capabilities.voices),
        "inbox": said.inbox,
        "health_url": said.health_url,
    }


def _json(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
