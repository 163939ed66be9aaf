"""Anything may be sent to an inbox: the process answers or drops it, and goes on with what others ask of it.

Hypothesis sends every body to every role, with fields that are sensible, impossible or missing, among bytes that are
no frames; the processes are real, their engines scripted. Behind each example comes a frame that is certain to be
answered: whoever answers it has survived what came before. `FUZZ_EXAMPLES=5000` goes on for longer.
"""

import asyncio
import os
from collections.abc import Iterator
from itertools import count
from typing import Final

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.frames import Frame, Header
from bus.node import Node
from launcher.bench.suite import Suite, running_suite
from proto.v1 import speech_pb2 as pb
from tests.e2e.listening import assert_nothing_was_raised, hold_a_turn
from tests.support.bus import PATIENCE_S
from tests.support.frames import ends_a_service, frames, hostile_bytes

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "0"))
CI_EXAMPLES: Final = 100
ROLES: Final = ("vad", "asr", "llm", "tts")
NAMES: Final = ("gateway", *ROLES)
# Stand for addresses that are known once the suite runs. Nobody is at the others.
PLACES: Final = st.sampled_from(["", "$us", "$us", *(f"${name}" for name in NAMES), "ipc:///nowhere/x", "tcp://", "x:"])

# Whom it goes to, and what.
steps = st.lists(
    st.tuples(st.sampled_from(NAMES), frames(PLACES) | frames(PLACES) | hostile_bytes(PLACES)), min_size=1, max_size=20
)
openings = st.lists(
    st.tuples(
        st.sampled_from(ROLES), frames(PLACES, "session_open", "speech", "generation_request", "synthesis_request")
    ),
    min_size=1,
    max_size=6,
)


class Stranger(Node):
    """A peer that sends anything and keeps what it is answered."""

    def __init__(self, suite: Suite) -> None:
        self._numbers = count()
        self._answered: set[str] = set()
        self._heard = asyncio.Event()
        self.addresses = {"$gateway": suite.inbox, **{f"${role}": suite.inboxes[role] for role in ROLES}}
        super().__init__(f"ipc://{suite.folder}/stranger.ipc", pb.GATEWAY, self._keep)
        self.addresses["$us"] = self.address

    def throw(self, name: str, step: Frame | bytes) -> None:
        """Send *step* to the process of that *name*."""
        data = step if isinstance(step, bytes) else self._addressed(step).SerializeToString()
        if ends_a_service(data):
            return
        address = self.addresses[f"${name}"]
        outbox = self._outboxes.get(address) or self._connect(address)
        assert outbox is not None
        outbox.send(data)

    async def all_answer(self) -> None:
        """Have every process answer a frame without a body: it has read what was sent before."""
        waited_for = {f"barrier-{next(self._numbers)}": name for name in NAMES}
        for barrier, name in waited_for.items():
            self.throw(name, Frame(header=Header(session_id=barrier, reply_to=self.address)))
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not self._answered >= waited_for.keys():
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            silent = [name for barrier, name in waited_for.items() if barrier not in self._answered]
            pytest.fail(f"no answer from {', '.join(silent)}")

    def _addressed(self, frame: Frame) -> Frame:
        for owner, field in ((frame.header, "reply_to"), (frame.header, "next"), (frame.announcement, "inbox")):
            told = getattr(owner, field)
            if told in self.addresses:
                setattr(owner, field, self.addresses[told])
        return frame

    def _keep(self, body: str, frame: Frame) -> None:
        if body == "error":
            self._answered.add(frame.header.session_id)
            self._heard.set()


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="module")
def suite(runner: asyncio.Runner) -> Iterator[Suite]:
    """Run a suite; at its end it holds a conversation as at its beginning, nothing is left and nothing was raised."""
    with running_suite(flags={"vad": ["--lease_ttl_s", "1"], "asr": ["--lease_ttl_s", "1"]}) as running:
        yield running
        running.wait_for(
            lambda health: (
                len(health["services"]) == len(ROLES)
                and all(one["ready"] and not one["leases"] for one in health["services"])
            )
        )
        runner.run(hold_a_turn(running))
        assert_nothing_was_raised(running)


@pytest.fixture(scope="module")
def stranger(suite: Suite, runner: asyncio.Runner) -> Iterator[Stranger]:
    async def made() -> Stranger:
        return Stranger(suite)

    async def closed(one: Stranger) -> None:
        one.close()

    one = runner.run(made())
    yield one
    runner.run(closed(one))


@settings(
    max_examples=EXAMPLES or CI_EXAMPLES,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
@given(sent=steps, opened=openings)
def test_every_process_survives_whatever_comes_into_its_inbox(
    stranger: Stranger, runner: asyncio.Runner, sent: list[tuple[str, Frame | bytes]], opened: list[tuple[str, Frame]]
) -> None:
    async def throw_all() -> None:
        for name, step in (*opened, *sent):
            stranger.throw(name, step)
        await stranger.all_answer()

    runner.run(throw_all())
