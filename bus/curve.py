"""CURVE: who may speak on the suite's tcp sockets, and the files that say so.

A suite has one pair of keys that all its inboxes share, and each of its members (a process, or a host with several) has
a pair of its own. Who sends proves by the first that it knows the suite, by the second who it is; an inbox takes what
the keys in `allowed/` send and nothing else. A member's folder, as `speech-to-speech keys new` writes it:

    inbox.key_secret     the pair of all inboxes of the suite
    own.key_secret       the member's own pair
    allowed/NAME.key     the public key of every member that may send here

The files are ZeroMQ's certificates (ZPL, as czmq and pyzmq write them). `ipc://` stays plain: the folder of its socket
says who may enter.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
import zmq
from zmq.auth import load_certificate
from zmq.auth.thread import ThreadAuthenticator

from bus.errors import ConfigurationError
from bus.logs import OncePerSecond
from bus.metrics import PEERS_REFUSED

log = structlog.get_logger(__name__)

INBOX: Final = "inbox.key_secret"
OWN: Final = "own.key_secret"
ALLOWED: Final = "allowed"
PUBLIC_SUFFIX: Final = ".key"
# Characters of a key in Z85, as the files hold it.
KEY_CHARACTERS: Final = 40
# Members that a list may have; more are not read.
ALLOWED_AT_MOST: Final = 4096
# ZAP (RFC 27) names what is being entered.
_DOMAIN: Final = "speech"
_REMEDY: Final = "make keys by `speech-to-speech keys new FOLDER NAME` and give one member's folder"


@dataclass(frozen=True, slots=True)
class Pair:
    """A public key and its secret one, in Z85."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> "Pair":
        """Return a pair that nobody else has."""
        return cls(*zmq.curve_keypair())


@dataclass(frozen=True, slots=True)
class Keys:
    """What one member of a suite holds."""

    folder: Path
    inbox: Pair
    own: Pair

    def allowed(self) -> frozenset[bytes]:
        """Return the public keys that may send here, as the folder has them now; a file that is no key allows nobody.

        Raises:
            ConfigurationError: the folder cannot be read.
        """
        try:
            files = sorted((self.folder / ALLOWED).iterdir())
        except OSError as error:
            raise ConfigurationError(f"--bus_keys {self.folder}: cannot read {ALLOWED}/ ({error.strerror})") from error
        found: set[bytes] = set()
        for file in [file for file in files if file.suffix == PUBLIC_SUFFIX][:ALLOWED_AT_MOST]:
            try:
                found.add(_public(file))
            except ConfigurationError as error:
                log.warning("key not used", error=str(error))
        return frozenset(found)


def read_keys(folder: str) -> Keys | None:
    """Return the keys in *folder*; None for "": the suite's tcp sockets are plain then.

    Raises:
        ConfigurationError: a file is missing, cannot be read or holds no key; one line.
    """
    if not folder:
        return None
    keys = Keys(Path(folder), _pair(Path(folder) / INBOX), _pair(Path(folder) / OWN))
    if not keys.allowed():
        raise ConfigurationError(f"--bus_keys {folder}: {ALLOWED}/ holds no key, so nobody could send here; {_REMEDY}")
    return keys


def write_pair(file: Path, pair: Pair) -> None:
    """Write *pair* to a new *file* that only we may read.

    Raises:
        FileExistsError: there is such a file; it stays as it is.
        OSError: it cannot be written.
    """
    _write(file, f'curve\n    public-key = "{pair.public.decode()}"\n    secret-key = "{pair.secret.decode()}"\n')


def write_public(file: Path, public: bytes) -> None:
    """Write a *public* key to a new *file*. Raises as `write_pair` does."""
    _write(file, f'curve\n    public-key = "{public.decode()}"\n')


class Guard:
    """Lets into the CURVE inboxes of *context* whom the keys' list names, on a thread of its own: a list is a folder.

    The list is read anew for every connection, so that members are added and removed while the suite runs; a
    connection that stands is not cut. Close it before the context.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", keys: Keys) -> None:
        self._keys = keys
        self._log_limit = OncePerSecond()
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.configure_curve_callback(_DOMAIN, self)
        self._authenticator.start()

    def callback(self, domain: str, key: bytes) -> bool:  # noqa: ARG002 - as pyzmq calls it
        """Tell whether the owner of the public *key* may enter."""
        try:
            if key in self._keys.allowed():
                return True
            why = f"its key is not in {self._keys.folder / ALLOWED}"
        except ConfigurationError as error:
            why = str(error)
        PEERS_REFUSED.labels("key not allowed").inc()
        held_back = self._log_limit.held_back("")
        if held_back is not None:
            log.warning("peer refused", why=why, public_key=key.decode(errors="replace"), more=held_back)
        return False

    def close(self) -> None:
        """Stop the thread. Idempotent."""
        self._authenticator.stop()


def guard_inbox(socket: "zmq.Socket[bytes]", keys: Keys) -> None:
    """Have *socket*, not bound yet, take only what allowed members send. Needs a `Guard` in its context."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.inbox.secret)
    socket.setsockopt_string(zmq.ZAP_DOMAIN, _DOMAIN)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without a guard nobody enters, instead of everybody


def guard_outbox(socket: "zmq.Socket[bytes]", keys: Keys) -> None:
    """Have *socket*, not connected yet, send only to inboxes of the suite, as the member that we are."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, keys.inbox.public)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.own.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.own.secret)


def _write(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as opened:
        opened.write(text)


def _pair(file: Path) -> Pair:
    public, secret = _load(file)
    if secret is None:
        raise ConfigurationError(f"--bus_keys: {file} holds no secret key; {_REMEDY}")
    try:
        fits = zmq.curve_public(secret) == public
    except (zmq.ZMQError, ValueError):
        fits = False
    if not fits:
        raise ConfigurationError(f"--bus_keys: the two keys in {file} are no pair; {_REMEDY}")
    return Pair(public, secret)


def _public(file: Path) -> bytes:
    public, _ = _load(file)
    if len(public) != KEY_CHARACTERS:
        raise ConfigurationError(f"--bus_keys: {file} holds no public key; {_REMEDY}")
    return public


def _load(file: Path) -> tuple[bytes, bytes | None]:
    try:
        return load_certificate(file)
    except OSError as error:  # pyzmq raises one without a number for a file that is not there
        why = error.strerror or "no such file"
    except ValueError:
        why = "no key is in it"
    raise ConfigurationError(f"--bus_keys: cannot read {file} ({why}); {_REMEDY}")
