"""What the client does to the conversation itself: items created, retrieved, truncated, deleted."""

from typing import Final

from gateway.core.realtime import client_events as client
from gateway.core.realtime import notices as tell
from gateway.core.realtime.answers import Answers
from gateway.core.realtime.conversation import ROOT, Conversation, Entry
from gateway.core.realtime.hearing import Hearing
from gateway.core.realtime.scene import Scene

# Clients measure what was played with jitter; so much too long is taken for all of it.
OVERSHOOT_MS: Final = 100


class Editing:
    """Carries out the client's events about items, or refuses them."""

    def __init__(self, scene: Scene, conversation: Conversation, hearing: Hearing, answers: Answers) -> None:
        self._scene = scene
        self._conversation = conversation
        self._hearing = hearing
        self._answers = answers

    def create(self, event: client.CreateItem) -> None:
        """Add an item."""
        scene, item = self._scene, event.item
        after = event.previous_item_id or None
        refusal = self._refusal(event, after)
        if refusal is not None:
            code, message, param = refusal
            scene.reject(code, message, event.event_id, param)
            return
        item.id = item.id or scene.new_id("item")
        item.status = "completed"
        if item.type == "function_call":
            item.call_id = item.call_id or scene.new_id("call")
        audio = bytearray(b"".join(part.audio for part in item.parts))
        for part in item.parts:
            part.audio_ms = part.audio_ms or scene.config.input_format.ms(len(part.audio))
            part.audio = b""
        entry = Entry(item, audio=audio, format=scene.config.input_format)
        previous = self._conversation.add(entry, after)
        scene.say(tell.ItemAdded(entry.view(), previous), tell.ItemDone(entry.view(), previous))

    def _refusal(self, event: client.CreateItem, after: str | None) -> tuple[str, str, str | None] | None:
        item = event.item
        if after not in (None, ROOT) and self._conversation.get(after or "") is None:
            message = f"Error adding item: the previous item with id '{after}' does not exist."
            return "item_create_invalid_previous_item_id", message, "previous_item_id"
        if item.id and (self._conversation.get(item.id) is not None or self._hearing.reserves(item.id)):
            message = f"Error adding item: an item with id '{item.id}' already exists."
            return "item_create_duplicate_item_id", message, "item.id"
        known = self._scene.settings.lenient_calls or self._conversation.has_call(item.call_id)
        if item.type == "function_call_output" and not known:
            message = f"Error adding item: there is no function call with call_id '{item.call_id}'."
            return "item_create_invalid_call_id", message, "item.call_id"
        most = self._scene.settings.max_content_bytes
        if self._conversation.content_bytes + Entry(item).size > most:
            return "conversation_full", f"Error adding item: the conversation would exceed {most} bytes.", "item"
        return None

    def retrieve(self, event: client.RetrieveItem) -> None:
        """Return an item."""
        entry = self._conversation.get(event.item_id)
        if entry is None:
            message = f"Error retrieving item: the item with id '{event.item_id}' does not exist."
            self._scene.reject("item_retrieve_invalid_item_id", message, event.event_id)
            return
        self._scene.say(tell.ItemRetrieved(entry.view(audio=True)))

    def truncate(self, event: client.TruncateItem) -> None:
        """Forget what the user has not heard of an answer."""
        scene = self._scene
        entry = self._conversation.get(event.item_id)
        if entry is None:
            message = f"Error truncating item: the item with id '{event.item_id}' does not exist."
            scene.reject("item_truncate_invalid_item_id", message, event.event_id)
            return
        if not entry.produced_ms:
            message = "Only model output audio messages can be truncated"
            scene.reject("unsupported_content_type", message, event.event_id)
            return
        if event.content_index != 0:
            message = f"Invalid content_index {event.content_index}: the item has one part, 0."
            scene.reject("invalid_value", message, event.event_id, "content_index")
            return
        audio_ms = entry.item.parts[0].audio_ms
        if event.audio_end_ms > audio_ms + OVERSHOOT_MS:
            message = f"Audio content of {int(audio_ms)}ms is already shorter than {event.audio_end_ms}ms"
            scene.reject("invalid_value", message, event.event_id, "audio_end_ms")
            return
        self._conversation.cut(entry, event.audio_end_ms)
        scene.say(tell.ItemTruncated(event.item_id, event.content_index, event.audio_end_ms))

    def delete(self, event: client.DeleteItem) -> None:
        """Forget an item. One that is being made is not made any further."""
        entry = self._conversation.get(event.item_id)
        if entry is None:
            message = f"Error deleting item: the item with id '{event.item_id}' does not exist."
            self._scene.reject("item_delete_invalid_item_id", message, event.event_id)
            return
        self._answers.cancel_making(entry)
        if self._conversation.get(event.item_id) is entry:
            self._conversation.remove(entry)
        self._scene.say(tell.ItemDeleted(event.item_id))
