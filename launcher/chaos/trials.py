"""The four trials. Each returns whether everything was as it must be, and shows its figures."""

import asyncio
import random
import signal
from collections.abc import Callable
from typing import Final

from launcher.chaos.figures import count, recoveries, turns_of
from launcher.chaos.harm import Harming
from launcher.chaos.ledger import Outcome, Turn
from launcher.chaos.speakers import Door
from launcher.chaos.stage import Stage
from launcher.chaos.trial import PROTOCOLS, Crowd, Options, Verdict, account, crowd, measured_answer
from launcher.errors import ClosedError, ConnectionFailedError, RefusedError
from launcher.parts import GATEWAY

Show = Callable[[str], None]

# Turns in peace first: what is usual here.
CALM_S: Final = 10.0
# A single service is answered for again so soon after it is ready.
SINGLE_S: Final = 2.0
# A service that was asked to drain is gone so soon: the longest answer lasts some seconds.
DRAINED_S: Final = 30.0
# Who is refused is told so soon.
REFUSED_S: Final = 1.0
REFUSED_PATIENCE_S: Final = 5.0
KNOCK_S: Final = 1.0
# Admitted sessions keep their silence (p95) under overload: to this factor, or to so many s on a machine that is busy.
KEPT: Final = 1.5
KEPT_S: Final = 0.25
COUNTERS: Final = {
    "speech_turns_again_total": "turns recognised again",
    "speech_answers_again_total": "answers asked for again",
    "speech_vads_again_total": "sessions moved to another vad",
}


async def chaos(stage: Stage, options: Options, show: Show) -> bool:
    """Kill a random service every few seconds, pause one now and then."""
    verdict = Verdict(show)
    loop = asyncio.get_running_loop()
    harming = Harming(stage, random.Random(options.seed), show)
    async with crowd(stage, options, verdict) as people:
        await people.gather(options.sessions)
        calm_s = loop.time()
        await asyncio.sleep(min(CALM_S, options.seconds / 4))
        begun_s = loop.time()
        await harming.run(options.every_s, options.seconds)
        over_s = loop.time()
        show("no more harm: everybody must be answered once more")
        stuck = await people.answered_once_more(over_s, options.deadline_s)
        verdict.must(not stuck, f"stuck: {', '.join(stuck)}")
        again = await _again(stage)
    harmed = people.counted(begun_s, over_s)
    show(f"before: {people.counted(calm_s, begun_s).line()}")
    show(f"harmed: {harmed.line()}")
    show(f"after:  {people.counted(over_s).line()}")
    show(f"done again: {again}; drafts taken back: {sum(ledger.drafts for ledger in people.ledgers)}")
    for line in recoveries(harming.harms, turns_of(people.ledgers)):
        show(line)
    verdict.must(harmed.turns, "nobody spoke while harm was done")
    verdict.must(harmed.share >= options.answered, f"answered {harmed.share:.1%}, less than {options.answered:.0%}")
    return _told(verdict, show)


async def single(stage: Stage, options: Options, show: Show) -> bool:
    """Kill each role's only process once."""
    verdict = Verdict(show)
    loop = asyncio.get_running_loop()
    harming = Harming(stage, random.Random(options.seed), show)
    async with crowd(stage, options, verdict) as people:
        await people.gather(options.sessions)
        await asyncio.sleep(CALM_S)
        for name in stage.names:
            harm = await harming.kill(name)
            ready_s = harm.over_s or loop.time()
            await people.answered_once_more(ready_s, options.deadline_s)
            met = [turn for turn in turns_of(people.ledgers, until_s=ready_s) if (turn.ended_s or ready_s) > harm.at_s]
            late_s = max((_late_s(turn, ready_s, loop.time()) for turn in met), default=0.0)
            told = count(met)
            show(
                f"{name}: ready again after {ready_s - harm.at_s:.1f} s; of {told.turns} turns that it met "
                f"{told.answered} were answered, {told.failed} failed; the last answer began {late_s:.1f} s after that"
            )
            verdict.must(late_s <= SINGLE_S, f"{name}: answers only {late_s:.1f} s after it was ready again")
        again = await _again(stage)
    show(people.counted().line())
    show(f"done again: {again}")
    return _told(verdict, show)


async def replace(stage: Stage, options: Options, show: Show) -> bool:
    """Start a second process of every role and drain the first; in the end, stop the gateway. Everybody goes on."""
    verdict = Verdict(show)
    loop = asyncio.get_running_loop()
    async with crowd(stage, options, verdict) as people:
        await people.gather(options.sessions)
        await asyncio.sleep(CALM_S)
        for name in stage.names:
            asked_s = loop.time()
            successor = stage.start_beside(name)
            ready_s = await stage.ready_since(successor, asked_s)
            stage.signal(name, signal.SIGTERM)
            verdict.must(await stage.gone(name, DRAINED_S), f"{name} did not drain within {DRAINED_S:.0f} s")
            show(
                f"{successor} was ready after {ready_s - asked_s:.1f} s, {name} drained and gone "
                f"{loop.time() - ready_s:.1f} s later"
            )
        stuck = await people.answered_once_more(loop.time(), options.deadline_s)
        verdict.must(not stuck, f"stuck: {', '.join(stuck)}")
        again = await _again(stage)
    told = people.counted()
    show(told.line())
    show(f"done again: {again}")
    verdict.must(told.answered == told.turns, f"{told.turns - told.answered} of {told.turns} turns failed")
    await _stop_gateway(stage, options, verdict)
    return _told(verdict, show)


async def _stop_gateway(stage: Stage, options: Options, verdict: Verdict) -> None:
    loop = asyncio.get_running_loop()
    people = Crowd(stage, options, await measured_answer(stage, options))
    await people.gather(options.sessions)
    await asyncio.sleep(CALM_S)
    asked_s = loop.time()
    stage.signal(GATEWAY, signal.SIGTERM)
    left = await people.dismissed(DRAINED_S)
    verdict.must(not left, f"the gateway stops, but did not hang up on {', '.join(left)}")
    verdict.must(await stage.gone(GATEWAY, DRAINED_S), "the gateway did not end")
    verdict.show(f"SIGTERM to the gateway: gone after {loop.time() - asked_s:.1f} s")
    await people.leave()
    account(people, verdict)
    told = people.counted()
    verdict.show(told.line())
    verdict.must(told.answered == told.turns, f"{told.turns - told.answered} of {told.turns} turns ended by the stop")


async def overload(stage: Stage, options: Options, show: Show) -> bool:
    """Let as many people as there are places in, and as many again knock all the time."""
    verdict = Verdict(show)
    loop = asyncio.get_running_loop()
    waits_s: list[float] = []
    async with crowd(stage, options, verdict, tones_for=2 * options.sessions) as people:
        await people.gather(options.sessions)
        begun_s = loop.time()
        await asyncio.sleep(options.seconds / 3)
        full_s = loop.time()
        show(f"{options.sessions} sessions are in; {options.sessions} more knock")
        knocking = [
            asyncio.create_task(_knock(people.door, place, waits_s, verdict)) for place in range(options.sessions)
        ]
        await asyncio.sleep(options.seconds / 3)
        for task in knocking:
            task.cancel()
        await asyncio.gather(*knocking, return_exceptions=True)
        over_s = loop.time()
        await asyncio.sleep(options.seconds / 3)
        end_s = loop.time()
    before, during = people.counted(begun_s, full_s), people.counted(full_s, over_s)
    after = people.counted(over_s, end_s)
    show(f"before: {before.line()}")
    show(f"full:   {during.line()}")
    show(f"after:  {after.line()}")
    show(f"refused: {len(waits_s)} times, after {max(waits_s, default=0):.2f} s at most")
    verdict.must(waits_s, "nobody was refused")
    verdict.must(max(waits_s, default=0) <= REFUSED_S, f"a refusal took {max(waits_s, default=0):.2f} s")
    usual_s = before.silence_s(0.95)
    kept_s = max(KEPT * usual_s, usual_s + KEPT_S)
    for phase, told in (("full", during), ("after", after)):
        verdict.must(told.answered == told.turns, f"{phase}: {told.turns - told.answered} turns failed")
        verdict.must(told.silence_s(0.95) <= kept_s, f"{phase}: silence of {told.silence_s(0.95):.2f} s (p95)")
    return _told(verdict, show)


TRIALS: Final = {"chaos": chaos, "single": single, "replace": replace, "overload": overload}


async def _knock(door: Door, place: int, waits_s: list[float], verdict: Verdict) -> None:
    """Try to get in, again and again; nobody should be let in."""
    loop = asyncio.get_running_loop()
    protocol = PROTOCOLS[place % len(PROTOCOLS)]
    while True:
        begun_s = loop.time()
        try:
            async with asyncio.timeout(REFUSED_PATIENCE_S):
                speaker = await door.enter(protocol)
                try:
                    await anext(speaker.items())  # a pair of sockets is told by its end
                finally:
                    await speaker.close()
        except (RefusedError, ClosedError) as refused:
            waits_s.append(loop.time() - begun_s)
            verdict.must(protocol == "socket" or isinstance(refused, RefusedError), f"no refusal: {refused}")
        except (ConnectionFailedError, TimeoutError) as error:
            verdict.must(False, f"not refused in words ({protocol}): {error or 'let in, or kept waiting'}")
        await asyncio.sleep(KNOCK_S)


def _late_s(turn: Turn, ready_s: float, now_s: float) -> float:
    """Return how long after *ready_s*, or after its own last word, a turn had its first sound; 0 if it failed."""
    if turn.outcome is Outcome.FAILED or turn.spoken_s is None:
        return 0.0
    heard_s = turn.first_sound_s if turn.first_sound_s is not None else now_s
    return heard_s - max(ready_s, turn.spoken_s)


async def _again(stage: Stage) -> str:
    counted = await stage.counted()
    told = []
    for counter, what in COUNTERS.items():
        times = sum(value for name, value in counted.items() if name.startswith(f"{counter}{{"))
        told.append(f"{times:.0f} {what}")
    return ", ".join(told)


def _told(verdict: Verdict, show: Show) -> bool:
    for failure in verdict.failures:
        show(f"FAILED: {failure}")
    show("passed" if not verdict.failures else "not passed")
    return not verdict.failures
