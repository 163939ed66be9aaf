"""Who gets the next place at the engine."""

import asyncio

from services.tts.places import Places


async def take(places: Places, lead_s: float, name: str, order: list[str]) -> None:
    async with places.taken(lead_s):
        order.append(name)
        await asyncio.sleep(0)


async def test_the_response_with_the_least_audio_goes_first() -> None:
    places, order = Places(1), list[str]()
    async with places.taken(0.0), asyncio.TaskGroup() as tasks:
        for lead_s, name in [(5.0, "rich"), (0.0, "first"), (0.0, "second"), (1.0, "poor")]:
            tasks.create_task(take(places, lead_s, name, order))
        await asyncio.sleep(0)
        assert order == []
        places._give()
    assert order == ["first", "second", "poor", "rich"]


async def test_a_cancelled_wait_gives_its_place_on() -> None:
    places, order = Places(1), list[str]()
    await places._take(0.0)
    waiting = [asyncio.create_task(take(places, 0.0, name, order)) for name in ("a", "b", "c")]
    await asyncio.sleep(0)
    waiting[1].cancel()  # while it waits
    places._give()  # a has it now, and has not yet run
    waiting[0].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert order == ["c"]
    assert places._free == 1
