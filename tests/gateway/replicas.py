"""Services that exist only as announcements."""

from typing import Any

from bus.frames import PROTOCOL_VERSION
from gateway.core.events import Role
from gateway.registry import ROLES
from proto.v1 import speech_pb2 as pb

ROLE_NUMBERS = {role: number for number, role in ROLES.items()}


def announcement(role: Role, name: str = "", /, **said: Any) -> pb.Announcement:
    """Return what a ready service with room for four says; *name* tells it from others of its role."""
    name = name or role.value
    facts: dict[str, Any] = {
        "role": ROLE_NUMBERS[role],
        "instance_id": name,
        "inbox": f"ipc:///nowhere/{name}",
        "engine": "scripted",
        "protocol_version": PROTOCOL_VERSION,
        "capacity": 4,
        "state": pb.READY,
    }
    return pb.Announcement(**(facts | said))
