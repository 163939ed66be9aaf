"""Tries to break a running suite as the world does: clients that vanish, services that die, hang, crawl, come and go.

A real gateway and scripted services, each a process, and clients that know what they may hear (`tests.e2e.canary`).
Whatever happened, once it is over every turn must come to its one end, everybody who is left must be answered, and when
all have gone nothing may be left of them.
"""

import asyncio
import os
import subprocess
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, suppress
from typing import Any, Final, TypeVar

import psutil
import pytest
import uvloop
from hypothesis import Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from launcher.bench.suite import Suite, free_port, running_suite
from launcher.load import scrape
from tests.e2e.canary import Canary
from tests.e2e.ledger import SCRIPT, Tones

ROLES: Final = ("vad", "asr", "llm", "tts")
CLIENTS: Final = 4
# Sums of time-outs: a place to listen, a text, an answer, its voice, each twice.
PATIENCE_S: Final = 60.0
TIMEOUTS: Final = ["--asr_timeout_s", "5", "--llm_timeout_s", "5", "--tts_timeout_s", "5"]
# Of the gateway, from the first example to any other. Sessions of some seconds leave nothing; the allocator wobbles.
GROWTH_BYTES: Final = 24 * 1024 * 1024
# A process that crawls works for this share of the time, of this period.
CRAWLS: Final = 0.1
PERIOD_S: Final = 0.1

WHO: Final = st.integers(0, CLIENTS - 1)
# A part is speech without the silence that ends it.
SAYS: Final = st.sampled_from(["a turn", "a part", "over the answer"])
# Who waits for the answer to so many tones says no more: of a longer text, a voice could make clauses that name none.
TALKATIVE: Final = 2
# A turn is with the asr for 0.15 s, then with the llm and the tts for 0.1 s each; its answer sounds for half a second.
AFTER_S: Final = st.sampled_from([0.05, 0.2, 0.32, 0.6, 0.0])
SLOWLY: Final = {"asr": ["--latency", "0.15"], "llm": ["--first_token_latency", "0.1"], "tts": ["--latency", "0.1"]}
BLOWS: Final = st.sampled_from(["killed", "paused", "crawls"])

T = TypeVar("T")


class World:
    """The suite that all examples share: each leaves it as it was, or it is made anew."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.tones = Tones()
        self._stack = ExitStack()
        self._suite: Suite | None = None
        self._metrics = ""
        self.tasks = self.sockets = self.memory = 0.0

    @property
    def suite(self) -> Suite:
        """The suite, started if there is none."""
        if self._suite is None:
            port = free_port()
            self._metrics = f"http://127.0.0.1:{port}"
            flags = {role: [*script, *SLOWLY[role]] for role, script in SCRIPT.items()}
            flags["gateway"] = ["--reopen_ms", "0", "--health_port", str(port), *TIMEOUTS]
            self._suite = self._stack.enter_context(running_suite(flags=flags))
            try:
                self.run(self._warm())
                self.tasks, self.sockets, self.memory = self.used()
            except BaseException:
                self.clear()
                raise
        return self._suite

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* on the loop of the clients."""
        return self.runner.run(work)

    def used(self) -> tuple[float, float, float]:
        """Return the gateway's tasks, descriptors and bytes of memory."""
        process = psutil.Process(self.suite.processes["gateway"].pid)
        sample = scrape.look(self._metrics)
        assert sample is not None
        return sample.values["speech_tasks"], process.num_fds(), process.memory_info().rss

    def clear(self) -> None:
        """Stop the suite; the next example gets another."""
        self._suite = None
        self._stack.close()

    async def _warm(self) -> None:
        """Hold a conversation, so that what is made once has been made."""
        canary = await Canary.arrive(self.suite.ws_port, self.tones)
        await canary.say()
        assert await canary.until(lambda ledger: ledger.counts["completed"], PATIENCE_S), canary.ended
        await canary.leave()
        await self.nobody_left()

    async def nobody_left(self) -> None:
        """Wait until no session, lease or place is left."""
        await asyncio.to_thread(
            self.suite.wait_for,
            lambda health: (
                health.get("status") == "ok"
                and not health["sessions"]
                and not any(one["leases"] or one["places"] for one in health["services"])
            ),
        )


class BadDay(RuleBasedStateMachine):
    """What may happen to a suite."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.suite = world.suite
        self.clients: list[Canary] = []
        self.gone: list[Canary] = []
        self.dead: set[str] = set()
        self.paused: set[str] = set()
        self.crawling: dict[str, asyncio.Task[None]] = {}
        self.leaving: list[subprocess.Popen[bytes]] = []
        self.finished = False

    @initialize(clients=st.integers(1, CLIENTS))
    def begin(self, clients: int) -> None:
        for _ in range(clients):
            self._run(self._arrive())

    # -- what happens -------------------------------------------------------------------------------------------------

    # Few rules that each do much: of many small ones, most examples would be the same thing done again and again.

    @precondition(lambda self: self.clients)
    @rule(who=WHO, says=SAYS, after_s=AFTER_S, role=st.sampled_from(ROLES), second=st.booleans(), blow=BLOWS)
    def a_turn_is_hit(self, who: int, says: str, after_s: float, role: str, *, second: bool, blow: str) -> None:
        """Have a service suffer while it has a turn or an answer, or before."""
        self._run(self._speak(who, says))
        self._run(asyncio.sleep(after_s))
        name = f"{role}-2" if second and f"{role}-2" in self.suite.processes else role
        if name in self.dead | self.paused or name in self.crawling:
            return
        match blow:
            case "killed":
                self.suite.kill(name)
                self.dead.add(name)
            case "paused":
                self.suite.pause(name)
                self.paused.add(name)
            case _:
                self.crawling[name] = self.world.runner.get_loop().create_task(self._crawl(name))

    @precondition(lambda self: self.clients)
    @rule(who=WHO, says=SAYS)
    def somebody_speaks(self, who: int, says: str) -> None:
        self._run(self._speak(who, says))

    @rule(role=st.sampled_from(ROLES), change=st.sampled_from(["joins", "drains", "all recover"]))
    def the_suite_changes(self, role: str, change: str) -> None:
        """Start a second replica, end it in good order, or have the dead start again and those that hang go on."""
        name = f"{role}-2"
        match change:
            case "joins" if name not in self.suite.processes:
                self.suite.start(role, name)
            case "drains" if name in self.suite.processes and name not in self.dead:
                self._run(self._release(name))
                self.leaving.append(self.suite.drain(name))
            case "all recover":
                self._run(self._release(*self.paused, *self.crawling))
                for dead in sorted(self.dead):
                    self.suite.start(dead.partition("-")[0], dead)
                self.dead.clear()

    @rule(who=WHO, how=st.sampled_from(["comes", "leaves", "vanishes", "vanishes"]))
    def somebody_comes_or_goes(self, who: int, how: str) -> None:
        if how == "comes" and len(self.clients) < CLIENTS:
            self._run(self._arrive())
        elif self.clients:
            client = self.clients.pop(who % len(self.clients))
            self.gone.append(client)
            self._run(client.leave() if how == "leaves" else client.vanish())

    @rule(seconds=st.sampled_from([0.2, 1.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def no_promise_is_broken(self) -> None:
        for client in (*self.clients, *self.gone):
            assert not client.ledger.broken, client.ledger.broken
            assert not client.ended or client.refused, client.ended

    def teardown(self) -> None:
        try:
            self._run(self._all_is_well_again())
            self.no_promise_is_broken()
            self.finished = True
        finally:
            if not self.finished:
                self._run(self._give_up())
                self.world.clear()

    async def _all_is_well_again(self) -> None:
        await self._release(*self.paused, *self.crawling)
        for name in sorted(self.dead):
            if name in ROLES:
                self.suite.start(name)
            else:
                del self.suite.processes[name]
        self.dead.clear()
        seconds = [name for name in self.suite.processes if name.endswith("-2")]
        await asyncio.to_thread(self.suite.wait_for, lambda health: self._are_ready(health, seconds))
        self.leaving += [self.suite.drain(name) for name in seconds]
        for process in self.leaving:
            assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0
        await asyncio.to_thread(self.suite.wait_for, lambda health: self._are_ready(health, []))
        await asyncio.gather(*(self._is_answered(client) for client in self.clients))
        await self.world.nobody_left()
        await asyncio.wait_for(self._is_as_before(), PATIENCE_S)

    async def _is_answered(self, client: Canary) -> None:
        """See that *client* gets what it is owed, and an answer to one more question."""
        if client.ended:
            return
        assert await client.until(lambda ledger: not ledger.owed, PATIENCE_S), client.ledger.owed
        hz = await client.say()
        answered = await client.until(lambda ledger: hz in ledger.last_answer and not ledger.owed, PATIENCE_S)
        assert answered, f"{hz} not answered: {client.ledger.counts}, owed: {client.ledger.owed or 'nothing'}"
        client.ledger.close()
        await client.leave()

    async def _is_as_before(self) -> None:
        """Wait until the gateway holds no more than before the first client came."""
        world = self.world
        while True:
            tasks, sockets, memory = await asyncio.to_thread(world.used)
            assert memory < world.memory + GROWTH_BYTES
            if tasks <= world.tasks and sockets <= world.sockets:
                return
            note(f"{tasks} tasks of {world.tasks}, {sockets} descriptors of {world.sockets}")
            await asyncio.sleep(0.2)

    # -- how ----------------------------------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.world.run(work)

    async def _speak(self, who: int, says: str) -> None:
        client = self.clients[who % len(self.clients)]
        if says == "over the answer":
            await client.until(lambda ledger: ledger.answering or not ledger.owed, 2.0)
        if client.ledger.waiting < TALKATIVE:
            await client.say(silent_after=says != "a part")

    async def _arrive(self) -> None:
        client = await Canary.arrive(self.suite.ws_port, self.world.tones)
        await client.until(lambda ledger: ledger.counts["session"], PATIENCE_S)
        (self.gone if client.ended else self.clients).append(client)

    async def _crawl(self, name: str) -> None:
        while True:
            self.suite.pause(name)
            await asyncio.sleep(PERIOD_S * (1 - CRAWLS))
            self.suite.resume(name)
            await asyncio.sleep(PERIOD_S * CRAWLS)

    async def _release(self, *names: str) -> None:
        for name in names:
            crawling = self.crawling.pop(name, None)
            if crawling is not None:
                crawling.cancel()
                with suppress(asyncio.CancelledError):
                    await crawling
            self.paused.discard(name)
            self.suite.resume(name)

    def _are_ready(self, health: dict[str, Any], seconds: list[str]) -> bool:
        """Tell whether all are there that should be, and nobody else."""
        ready = sorted(one["role"] for one in health.get("services", []) if one["ready"])
        others = [process for process in self.leaving if process.poll() is None]
        wanted = sorted([*ROLES, *(name.partition("-")[0] for name in seconds)])
        return health.get("status") == "ok" and (ready == wanted or bool(others and seconds))

    async def _give_up(self) -> None:
        await self._release(*self.paused, *self.crawling)
        for client in self.clients:
            await client.vanish()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        made = World(runner)
        try:
            yield made
        finally:
            made.clear()


def test_whatever_happens_every_turn_has_its_end_and_nothing_is_left_behind(world: World) -> None:
    deep = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
    told = settings(
        max_examples=100 if deep else 4,
        stateful_step_count=30 if deep else 12,
        # Processes take seconds: to look for the least that fails is for whoever has the time.
        phases=[Phase.generate, Phase.shrink] if deep else [Phase.generate],
    )
    run_state_machine_as_test(lambda: BadDay(world), settings=told)  # type: ignore[arg-type]
