"""The items and what is kept of them."""

from gateway.core.realtime.conversation import Conversation, Entry
from gateway.core.realtime.items import Item, Part
from gateway.core.realtime.settings import RealtimeSettings


def heard(item_id: str, size: int = 0) -> Entry:
    item = Item(item_id, "message", "user", parts=[Part("input_audio", audio_ms=size)])
    return Entry(item, audio=bytearray(size))


def test_audio_of_the_oldest_items_is_forgotten_first_and_its_length_is_not() -> None:
    conversation = Conversation(RealtimeSettings(kept_audio_bytes=250))
    for name in "abc":
        conversation.add(heard(name, 100))
    assert [len(entry.audio) for entry in conversation.entries] == [0, 100, 100]
    assert conversation.entries[0].view(audio=True).parts[0].audio_ms == 100


def test_the_oldest_items_are_forgotten_when_there_are_too_many() -> None:
    conversation = Conversation(RealtimeSettings(max_items=2))
    entries = [heard(name, 10) for name in "abc"]
    assert [conversation.add(entry) for entry in entries] == [None, "a", "b"]
    assert [entry.item.id for entry in conversation.entries] == ["b", "c"]
    assert entries[0].deleted
    assert conversation.before(entries[1]) is None


def test_what_is_shown_of_an_item_does_not_change_with_it() -> None:
    entry = heard("a", 10)
    shown = entry.view()
    entry.item.status = "incomplete"
    entry.item.parts[0].text = "hello"
    assert (shown.status, shown.parts[0].text, shown.parts[0].audio) == ("completed", None, b"")


def test_what_was_heard_is_estimated_by_time_where_the_tts_does_not_say() -> None:
    part = Part("output_audio", "one two three", audio_ms=1300)
    entry = Entry(Item("a", "message", "assistant", parts=[part]), heard="one two three", produced_ms=1300)
    entry.cut(750)
    assert (entry.heard, part.text, part.audio_ms) == ("one two", None, 750)


def test_audio_of_items_that_are_removed_makes_room() -> None:
    conversation = Conversation(RealtimeSettings(kept_audio_bytes=250))
    first, second = heard("a", 100), heard("b", 100)
    conversation.add(first)
    conversation.add(second)
    conversation.remove(first)
    conversation.add(heard("c", 150))
    assert [len(entry.audio) for entry in conversation.entries] == [100, 150]
