"""Services that announce themselves and cannot be used: each is told about once, and none is kept for long."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from bus.frames import PROTOCOL_VERSION
from gateway.core.events import Role
from gateway.registry import GONE_AFTER_S, ROLES
from proto.v1 import speech_pb2 as pb

# Instances remembered; the longest unheard is forgotten first, and told about again should it come back.
KEPT: Final = 256
# Characters of an instance's id, which is a key here and there.
INSTANCE_CHARACTERS: Final = 128


@dataclass(slots=True)
class _Seen:
    role: Role | None
    version: int
    heard_at_s: float


def flaw(announcement: pb.Announcement) -> str:
    """Return why the service that says *announcement* cannot be used, and what would help; "" if it can."""
    if announcement.protocol_version != PROTOCOL_VERSION:
        return (
            f"the service speaks version {announcement.protocol_version} of the protocol, this gateway "
            f"{PROTOCOL_VERSION}: replace the older of the two"
        )
    if announcement.role not in ROLES:
        return f"there is no role {announcement.role}"
    if not 0 < len(announcement.instance_id) <= INSTANCE_CHARACTERS:
        return f"instance_id must have 1 to {INSTANCE_CHARACTERS} characters"
    if not announcement.inbox:
        return "inbox is empty: the service must say where it is reached"
    return ""


class Unfit:
    """Remembers up to `KEPT` instances that cannot be used."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], _Seen] = OrderedDict()

    def is_news(self, announcement: pb.Announcement, now_s: float) -> bool:
        """Remember the service that says *announcement*; tell whether it was not known yet."""
        key = announcement.instance_id[:INSTANCE_CHARACTERS], announcement.inbox[:INSTANCE_CHARACTERS]
        news = key not in self._seen
        self._seen[key] = _Seen(ROLES.get(announcement.role), announcement.protocol_version, now_s)
        self._seen.move_to_end(key)
        if len(self._seen) > KEPT:
            self._seen.popitem(last=False)
        return news

    def remark(self, role: Role, now_s: float) -> str:
        """Return what is to be said of *role* if nobody can do it: " (speaks protocol 2, not 1)" or ""."""
        for seen in reversed(self._seen.values()):
            if now_s - seen.heard_at_s > GONE_AFTER_S:
                break
            if seen.role is role and seen.version != PROTOCOL_VERSION:
                return f" (speaks protocol {seen.version}, not {PROTOCOL_VERSION})"
        return ""
