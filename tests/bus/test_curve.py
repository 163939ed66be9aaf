"""Keys on tcp sockets: who is on the list is served, everybody else is neither heard nor spoken to."""

import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import zmq

from bus import sockets
from bus.curve import ALLOWED, INBOX, OWN, Keys, Pair, read_keys, write_pair, write_public
from bus.errors import ConfigurationError
from bus.frames import Frame, Header
from bus.node import Node
from bus.sockets import Context
from proto.v1 import speech_pb2 as pb
from tests.bus.test_node import metric
from tests.support.bus import ipc_folder
from tests.support.waiting import until

FOLDERS = ("gateway", "vad")


def make_keys(folder: Path, *names: str, inbox: Pair | None = None) -> dict[str, Keys]:
    """Make a suite's members, who all know one another."""
    inbox = inbox or Pair.new()
    pairs = {name: Pair.new() for name in names}
    made: dict[str, Keys] = {}
    for name, pair in pairs.items():
        (folder / name / ALLOWED).mkdir(parents=True)
        write_pair(folder / name / INBOX, inbox)
        write_pair(folder / name / OWN, pair)
        for other, theirs in pairs.items():
            write_public(folder / name / ALLOWED / f"{other}.key", theirs.public)
        keys = read_keys(str(folder / name))
        assert keys is not None
        made[name] = keys
    return made


class Peer(Node):
    """A node on tcp that keeps the sessions it hears of."""

    def __init__(self, keys: Keys | None, bind: str = "tcp://127.0.0.1:0") -> None:
        self.heard: list[str] = []
        super().__init__(bind, pb.GATEWAY, lambda _, frame: self.heard.append(frame.header.session_id), keys=keys)

    def say(self, to: Node, session_id: str) -> None:
        self.send(to.address, Frame(header=Header(session_id=session_id), cancel=pb.Cancel()))


class Peers:
    """Opens nodes and closes them at the end of the test."""

    def __init__(self) -> None:
        self._opened: list[Peer] = []

    def __call__(self, keys: Keys | None, bind: str = "tcp://127.0.0.1:0") -> Peer:
        self._opened.append(peer := Peer(keys, bind))
        return peer

    def close(self) -> None:
        for peer in self._opened:
            peer.close()


@pytest.fixture
async def peer() -> AsyncIterator[Peers]:
    peers = Peers()
    yield peers
    peers.close()


async def until_refused(reason: str, count: float) -> None:
    await until(lambda: metric("speech_peers_refused_total", reason=reason) > count)


def refused(reason: str) -> float:
    return metric("speech_peers_refused_total", reason=reason)


async def test_members_of_a_suite_hear_one_another(tmp_path: Path, peer: Peers) -> None:
    keys = make_keys(tmp_path, *FOLDERS)
    gateway, vad = peer(keys["gateway"]), peer(keys["vad"])
    gateway.say(vad, "there")
    vad.say(gateway, "and back")
    await until(lambda: vad.heard == ["there"] and gateway.heard == ["and back"])


async def test_a_peer_without_a_key_can_neither_push_nor_be_reached(tmp_path: Path, peer: Peers) -> None:
    keys = make_keys(tmp_path, *FOLDERS)
    gateway, vad, stranger = peer(keys["gateway"]), peer(keys["vad"]), peer(None)
    to_us, to_them = refused("to the inbox"), refused("to a peer")
    stranger.say(gateway, "let me in")
    await until_refused("to the inbox", to_us)
    gateway.say(stranger, "secret")
    await until_refused("to a peer", to_them)
    vad.say(gateway, "a member")
    await until(lambda: gateway.heard)
    assert gateway.heard == ["a member"]
    assert stranger.heard == []


async def test_a_peer_whose_key_is_not_on_the_list_can_neither_push_nor_be_reached(tmp_path: Path, peer: Peers) -> None:
    """It knows the suite's public key, as whoever once was a member does, and has a pair of its own."""
    keys = make_keys(tmp_path, *FOLDERS)
    theirs = make_keys(tmp_path / "theirs", "stranger")["stranger"]
    posing = Keys(theirs.folder, Pair(keys["vad"].inbox.public, theirs.inbox.secret), theirs.own)
    gateway, vad, stranger = peer(keys["gateway"]), peer(keys["vad"]), peer(posing)
    not_listed, to_them = refused("key not allowed"), refused("to a peer")
    stranger.say(gateway, "let me in")
    await until_refused("key not allowed", not_listed)
    gateway.say(stranger, "secret")
    vad.say(gateway, "a member")
    await until(lambda: gateway.heard)
    assert gateway.heard == ["a member"]
    assert stranger.heard == []
    await until_refused("to a peer", to_them)


async def test_a_key_that_is_added_to_the_list_is_let_in_without_a_restart(
    tmp_path: Path, peer: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZeroMQ never tries again where it was refused; the outbox does."""
    monkeypatch.setattr(sockets, "REFUSED_RETRY_S", 0.05)
    keys = make_keys(tmp_path, *FOLDERS)
    new = make_keys(tmp_path / "new", "asr", inbox=keys["vad"].inbox)["asr"]
    gateway, asr = peer(keys["gateway"]), peer(new)
    before = refused("key not allowed")
    asr.say(gateway, "too early")
    await until_refused("key not allowed", before)
    write_public(keys["gateway"].folder / ALLOWED / "asr.key", new.own.public)

    def heard() -> bool:
        asr.say(gateway, "now")
        return bool(gateway.heard)

    await until(heard)
    assert set(gateway.heard) == {"now"}


async def test_a_peer_that_refused_us_is_reached_once_it_comes_back_with_other_keys(
    tmp_path: Path, peer: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "REFUSED_RETRY_S", 0.05)
    keys = make_keys(tmp_path, *FOLDERS)
    here, guarded = peer(None), peer(keys["gateway"])
    before = refused("to a peer")
    here.say(guarded, "without a key")
    await until_refused("to a peer", before)
    guarded.close()
    plain: list[Peer] = []

    def bound() -> bool:
        try:
            plain.append(peer(None, guarded.address))
        except ConfigurationError:  # the port is being given back by ZeroMQ's own thread
            return False
        return True

    await until(bound)

    def heard() -> bool:
        here.say(plain[0], "hello")
        return bool(plain[0].heard)

    await until(heard)


async def test_ipc_stays_plain_beside_keys(tmp_path: Path, peer: Peers) -> None:
    keys = make_keys(tmp_path, *FOLDERS)
    with ipc_folder() as folder:
        here, there = peer(keys["gateway"], f"ipc://{folder}/a"), peer(None, f"ipc://{folder}/b")
        here.say(there, "hello")
        there.say(here, "hello")
        await until(lambda: here.heard and there.heard)


async def test_without_its_guard_an_inbox_lets_nobody_in(tmp_path: Path, peer: Peers) -> None:
    keys = make_keys(tmp_path, *FOLDERS)
    gateway, vad = peer(keys["gateway"]), peer(keys["vad"])
    assert gateway._context._guard is not None
    gateway._context._guard.close()
    gateway._context._guard.close()
    before = refused("to the inbox")
    vad.say(gateway, "nobody is at the door")
    await until_refused("to the inbox", before)
    assert gateway.heard == []


def test_files_are_for_their_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    keys = make_keys(tmp_path, "vad")["vad"]
    files = [keys.folder / INBOX, keys.folder / OWN, keys.folder / ALLOWED / "vad.key"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    before = files[1].read_text()
    with pytest.raises(FileExistsError):
        write_pair(files[1], Pair.new())
    assert files[1].read_text() == before
    assert keys.own.secret.decode() not in repr(keys)


def test_no_folder_means_no_keys() -> None:
    assert read_keys("") is None


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def put(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    "damage",
    [
        remove(INBOX),
        remove(OWN),
        remove(f"{ALLOWED}/vad.key"),
        put(OWN, ""),
        put(OWN, "public-key = x\nsecret-key = y"),
        put(INBOX, 'public-key = "' + Pair.new().public.decode() + '"'),
        put(INBOX, f'public-key = "{Pair.new().public.decode()}"\nsecret-key = "{Pair.new().secret.decode()}"'),
        put(f"{ALLOWED}/vad.key", "public-key = short"),
        lambda folder: (folder / OWN).unlink() or (folder / OWN).mkdir(),
        lambda folder: (folder / ALLOWED / "vad.key").unlink() or (folder / ALLOWED).rmdir(),
    ],
)
def test_keys_that_cannot_be_used_are_told_in_one_line(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    keys = make_keys(tmp_path, "vad")["vad"]
    damage(keys.folder)
    with pytest.raises(ConfigurationError, match=r"--bus_keys") as error:
        read_keys(str(keys.folder))
    assert "\n" not in str(error.value)
    assert keys.own.secret.decode() not in str(error.value)


def test_a_folder_that_is_not_there_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="speech-to-speech keys new"):
        read_keys(str(tmp_path / "nowhere"))


async def test_only_addresses_of_the_suites_transports_are_connected_to() -> None:
    context = Context()
    for address in (
        "inproc://x",
        "udp://127.0.0.1:5",
        "pgm://eth0;1.2.3.4:5",
        "ws://127.0.0.1:5",
        "tcp://" + "x" * 400,
    ):
        with pytest.raises(ConfigurationError, match="no tcp:// or ipc:// address"):
            context.outbox(address)
    context.close()


def test_zeromq_has_curve() -> None:
    assert zmq.has("curve")
