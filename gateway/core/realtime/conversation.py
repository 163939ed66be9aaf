"""The items of a session in their order, and what is known of them beyond what clients see.

Bounds are in `RealtimeSettings`: items, and the audio kept for `retrieve`; the oldest go first in both.
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from gateway.core.realtime.config import AudioFormat
from gateway.core.realtime.items import Item
from gateway.core.realtime.settings import RealtimeSettings
from gateway.core.spoken import Spoken, whole_words

# Names the place before the first item.
ROOT: Final = "root"


@dataclass(slots=True, eq=False)
class Entry:
    """An item and its background."""

    item: Item
    heard: str | None = ""
    """Of audio: what was understood of the user's (None: not yet), what the user has heard of the assistant's."""
    failed: str = ""
    """Why the user's audio was not understood."""
    turn_id: int = 0
    audio: bytearray = field(default_factory=bytearray)
    format: AudioFormat = field(default_factory=AudioFormat)
    spoken: Spoken = field(default_factory=Spoken)
    produced_ms: float = 0.0
    """Audio of the assistant that was ever made, also if it was cut off since."""
    truncated: bool = False
    deleted: bool = False

    @property
    def pending(self) -> bool:
        """Whether its transcript is awaited."""
        return self.heard is None and not self.failed and not self.deleted

    @property
    def size(self) -> int:
        """Bytes of text and images, roughly."""
        item = self.item
        parts = sum(len(part.text or "") + len(part.image_url) for part in item.parts)
        return parts + len(item.arguments) + len(item.output)

    def view(self, *, audio: bool = False) -> Item:
        """Return the item as it is now; with its *audio* if that is asked for and still kept."""
        parts = [replace(part, audio=b"") for part in self.item.parts]
        if audio:
            for part in parts:
                if part.type in ("input_audio", "output_audio"):
                    part.audio, part.format = bytes(self.audio), self.format
                    break
        return replace(self.item, parts=parts)

    def cut(self, end_ms: int) -> None:
        """Forget what comes after *end_ms* of the assistant's audio: nobody has heard it."""
        part = self.item.parts[0]
        text = self.spoken.until(end_ms)
        if not text and self.heard and self.produced_ms:  # the tts did not say what it spoke when
            text = whole_words(self.heard, min(end_ms / self.produced_ms, 1.0)).rstrip()
        self.truncated = True
        self.heard = text
        part.text = None
        part.audio_ms = min(part.audio_ms, end_ms)
        bytes_per_sample = self.format.bytes_per_sample
        del self.audio[int(part.audio_ms * self.format.rate / 1000) * bytes_per_sample :]


class Conversation:
    """The default conversation of a session."""

    def __init__(self, settings: RealtimeSettings) -> None:
        self._settings = settings
        self._entries: list[Entry] = []
        self._by_id: dict[str, Entry] = {}
        self._kept_bytes = 0

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All items, in order."""
        return tuple(self._entries)

    @property
    def content_bytes(self) -> int:
        """Size of the text and images of all items."""
        return sum(entry.size for entry in self._entries)

    def get(self, item_id: str) -> Entry | None:
        """Return the item of this id, if there is one."""
        return self._by_id.get(item_id)

    def has_call(self, call_id: str) -> bool:
        """Tell whether an item is the function call *call_id*."""
        return any(entry.item.type == "function_call" and entry.item.call_id == call_id for entry in self._entries)

    def add(self, entry: Entry, after: str | None = None) -> str | None:
        """Insert after the item *after* (None: at the end, `ROOT`: at the beginning); return the id before it.

        Raises:
            KeyError: there is no such item.
        """
        match after:
            case None:
                place = len(self._entries)
            case "root":
                place = 0
            case _:
                place = self._entries.index(self._by_id[after]) + 1
        self._entries.insert(place, entry)
        self._by_id[entry.item.id] = entry
        self.keep(entry, len(entry.audio))
        if len(self._entries) > self._settings.max_items:
            oldest = next(other for other in self._entries if other is not entry)
            self.remove(oldest)
        return self.before(entry)

    def before(self, entry: Entry) -> str | None:
        """Return the id of the item before *entry*, None if it is the first."""
        return next((one.item.id for one, two in pairwise(self._entries) if two is entry), None)

    def remove(self, entry: Entry) -> None:
        """Forget an item."""
        self._entries.remove(entry)
        del self._by_id[entry.item.id]
        self._kept_bytes -= len(entry.audio)
        entry.audio.clear()
        entry.deleted = True

    def cut(self, entry: Entry, end_ms: int) -> None:
        """Cut an item's audio."""
        before = len(entry.audio)
        entry.cut(end_ms)
        self._kept_bytes -= before - len(entry.audio)

    def forget_audio(self) -> None:
        """Forget the audio of all items: the session is over."""
        for entry in self._entries:
            self._kept_bytes -= len(entry.audio)
            entry.audio.clear()

    def keep(self, entry: Entry, added: int) -> None:
        """Note that *added* bytes of audio were added to an item; forget that of the oldest if it is too much."""
        if self._by_id.get(entry.item.id) is not entry:
            return
        self._kept_bytes += added
        for oldest in self._entries:
            if self._kept_bytes <= self._settings.kept_audio_bytes:
                return
            self._kept_bytes -= len(oldest.audio)
            oldest.audio.clear()
