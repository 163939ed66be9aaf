"""What `speech-to-speech load` can be told."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from launcher.errors import UsageError
from launcher.load import speech
from launcher.load.clients.mouths import PROTOCOLS
from launcher.load.objective import P95_MS, STUTTERS, Objective
from launcher.load.schedule import TAIL_MS, Habits

STAGES: Final = ("vad", "asr", "llm", "tts")
ROLES: Final = (*STAGES, "gateway", "e2e")
# Engines of a suite that the generator starts: scripted ones behind a real vad, or those that need no download.
SCRIPTED: Final = {"vad": "silero", "asr": "scripted", "llm": "scripted", "tts": "scripted"}
EMBEDDED: Final = {"vad": "silero", "asr": "pocketsphinx", "llm": "responder", "tts": "espeak-ng"}
# What a service is loaded with alone, where nothing is said.
ALONE: Final = {"vad": "silero", "asr": "scripted", "llm": "scripted", "tts": "scripted"}
# A minute is too long for a first look; two cores hold so many.
SESSIONS: Final = {"vad": 100, "asr": 32, "llm": 32, "tts": 32, "gateway": 50, "e2e": 2}
SECONDS: Final = 20.0
# Real answers are longer than scripted ones.
PAUSE_S: Final = {"e2e": 9.0}
DEFAULT_PAUSE_S: Final = 5.5
PORTS: Final = {"realtime": "8765", "realtime-pcmu": "8765", "websocket": "8765", "socket": "12345:12346"}


@dataclass(frozen=True, slots=True)
class Options:
    """A load, in full. *ramp*: numbers of sessions; None: no search; (): find them. *flags*: for what is started."""

    role: str
    target: str
    bind: str
    metrics: str
    bus_keys: str
    protocol: str
    sessions: int
    ramp: tuple[int, ...] | None
    seconds: float
    patience_s: float
    processes: int
    chunk_ms: int
    seed: int
    habits: Habits
    recordings: tuple[Path, ...]
    speech: str
    engines: dict[str, str]
    capacity: int
    profile: str
    objective: Objective
    json: Path | None
    html: Path | None
    compare: Path | None
    ab: str
    rounds: int
    flags: tuple[str, ...] = field(default=())

    @property
    def most_sessions(self) -> int:
        """The most that any step may have, as far as it is known beforehand."""
        return max((self.sessions, *(self.ramp or ())))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"load: {message.removeprefix('argument ')}")


def parse(args: list[str]) -> Options:
    """Return what *args* ask for. Ends the process after `--help`.

    Raises:
        UsageError: they cannot work.
    """
    args, flags = _split(args)
    told = _parser().parse_args(args)
    role = told.role
    engines = _engines(told, role)
    protocol = told.protocol
    seconds = told.seconds if told.minutes is None else told.minutes * 60
    chunk_ms = told.chunk_ms or (40 if protocol.startswith("realtime") or role in STAGES else 20)
    options = Options(
        role=role,
        target=told.target and (told.target if role in STAGES else _address(told.target, protocol)),
        bind=told.bind,
        metrics=told.metrics,
        bus_keys=told.bus_keys,
        protocol=protocol,
        sessions=told.sessions or SESSIONS[role],
        ramp=None if told.ramp is None else _ramp(told.ramp),
        seconds=seconds,
        patience_s=told.patience_s,
        processes=told.processes,
        chunk_ms=chunk_ms,
        seed=told.seed,
        habits=Habits(int(_pause_s(told) * 1000), told.barge_ins, told.disconnects),
        recordings=tuple(told.recording),
        speech=told.speech,
        engines=engines,
        capacity=told.capacity,
        profile=told.profile,
        objective=Objective(
            told.p95_ms or P95_MS["e2e" if told.profile and role == "gateway" else role], told.stutters / 100
        ),
        json=told.json,
        html=told.html,
        compare=told.compare,
        ab=told.ab,
        rounds=told.rounds,
        flags=tuple(flags),
    )
    _check(options)
    return options


def _check(options: Options) -> None:
    if options.seconds * 1000 <= TAIL_MS + 2000:
        raise UsageError("load: --seconds: too short for a single turn; 5 at least")
    if options.sessions < 1 or options.processes < 1 or options.rounds < 1:
        raise UsageError("load: --sessions, --processes and --rounds are 1 or more")
    if options.processes > 1 and options.protocol == "socket" and options.role not in STAGES:
        raise UsageError(
            "load: --protocol socket: the gateway pairs connections by their order, which one process alone can keep"
        )
    for name, fraction in (("barge_ins", options.habits.barge_ins), ("disconnects", options.habits.disconnects)):
        if not 0 <= fraction <= 1:
            raise UsageError(f"load: --{name}: a fraction of the turns, 0 to 1")
    if options.target and (options.profile or options.flags):
        raise UsageError("load: --profile and flags after -- are for what is started here; --target runs already")
    if options.ab and (options.ramp is not None or options.json or options.html):
        raise UsageError(
            "load: --ab compares two ways at one number of sessions, and prints; no --ramp, --json, --html"
        )


def _split(args: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in args:
        return args, []
    at = args.index("--")
    return args[:at], args[at + 1 :]


def _engines(told: argparse.Namespace, role: str) -> dict[str, str]:
    if role in STAGES:
        return {role: told.engine or ALONE[role]}
    if told.engine:
        raise UsageError("load: --engine is for one service alone; a suite has --vad, --asr, --llm and --tts")
    usual = EMBEDDED if role == "e2e" and not told.profile else SCRIPTED
    return {stage: getattr(told, stage) or usual[stage] for stage in STAGES}


def _pause_s(told: argparse.Namespace) -> float:
    return float(told.pause_s or PAUSE_S.get(told.role, DEFAULT_PAUSE_S))


def _address(target: str, protocol: str) -> str:
    """Return `HOST:PORT` or `HOST:PORT:PORT`, with the usual ports where none are said."""
    host, _, port = target.removeprefix("ws://").removeprefix("tcp://").rstrip("/").partition(":")
    address = f"{host or 'localhost'}:{port or PORTS[protocol]}"
    if protocol == "socket" and address.count(":") == 1:
        address += ":12346"
    if not all(part.isdigit() for part in address.split(":")[1:]) or target.startswith("wss:"):
        raise UsageError(f"load: --target: {target!r} is no HOST:PORT (socket: HOST:RECV_PORT:SEND_PORT); no TLS here")
    return address


def _ramp(text: str) -> tuple[int, ...]:
    """Return the numbers of `FROM:TO:STEP`, () for `auto`."""
    if text == "auto":
        return ()
    parts = text.split(":")
    if len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts):  # noqa: PLR2004 - FROM, TO, STEP
        first, last, step = map(int, parts)
        if first >= 1 and step >= 1 and last >= first:
            return tuple(range(first, last + 1, step))
    raise UsageError(f"load: --ramp: {text!r} is no FROM:TO:STEP (10:200:10), and not auto")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="speech-to-speech load",
        description="Load one service alone, the gateway with scripted services, or the whole suite; say how it went.",
        epilog="What follows -- are flags of what is started: a service's own (-- --latency 0.2), or those of a suite "
        "(-- --asr_latency 0.2 --lead_ms 300). Exit status: 0 the objective was met, 1 it was not, 2 a flag cannot "
        "work, 3 the generator was too slow for the run to count.",
        allow_abbrev=False,
    )
    parser.add_argument("role", choices=ROLES, help="what to load")
    add: Any = parser.add_argument
    add(
        "--target",
        default="",
        help="what runs already: a service's inbox (tcp://HOST:PORT, ipc://PATH), or where the gateway listens "
        "(HOST:PORT; socket: HOST:RECV_PORT:SEND_PORT). Without it, it is started here",
    )
    add(
        "--bind", default="", help="inbox to listen on; without --target, the first service that announces itself there"
    )
    add("--metrics", default="", help="health address of a --target (http://HOST:PORT), for CPU, memory and batches")
    add("--bus_keys", default="", help="folder of keys, where the bus is encrypted (speech-to-speech keys)")
    add("--protocol", choices=PROTOCOLS, default="realtime", help="of the clients (%(default)s)")
    add("--sessions", type=int, default=0, help="people at a time (default: 100 vad, 50 gateway, 2 e2e, else 32)")
    add("--ramp", help="FROM:TO:STEP or auto: find the most sessions that meet the objective")
    add("--seconds", type=float, default=SECONDS, help="how long each number of sessions is held (%(default)s)")
    add("--minutes", type=float, help="the same in minutes")
    add("--patience_s", type=float, default=5.0, help="how long late answers are waited for (%(default)s)")
    add("--processes", type=int, default=1, help="generator processes (%(default)s)")
    add("--chunk_ms", type=int, choices=(10, 20, 40, 60, 100), help="audio in what is sent at a time (20; Realtime 40)")
    add("--seed", type=int, default=1, help="of the schedule (%(default)s)")
    add("--pause_s", type=float, help=f"from one's words to one's next, mean ({DEFAULT_PAUSE_S}; e2e {PAUSE_S['e2e']})")
    add("--barge_ins", type=float, default=0.1, help="fraction of answers that are interrupted (%(default)s)")
    add("--disconnects", type=float, default=0.0, help="fraction of answers in which one hangs up (%(default)s)")
    add("--recording", type=Path, action="append", default=[], help="WAV file to say; may be repeated")
    add("--speech", choices=speech.KINDS, default=speech.KINDS[0], help="what is said without recordings (%(default)s)")
    add("--engine", default="", help="of the service that is started (vad: silero, else scripted)")
    for stage in STAGES:
        add(f"--{stage}", default="", help=f"engine of the {stage} of the suite that is started")
    add("--capacity", type=int, default=0, help="places in what is started (default: enough)")
    add("--profile", default="", help="let scripted engines take the time of other hardware: a name or a TOML file")
    add("--p95_ms", type=float, default=0.0, help="objective: 95th percentile of the latency (gateway, vad: 100)")
    add("--stutters", type=float, default=STUTTERS * 100, help="objective: percent of late pieces (%(default)s)")
    add("--json", type=Path, help="keep the results in a file")
    add("--html", type=Path, help="draw them on a page of one file (pip install matplotlib)")
    add("--compare", type=Path, help="print ratios to the results in a file that --json wrote")
    add("--ab", default="", help='flags of a second way ("--engine energy"); both take turns, ratios are printed')
    add("--rounds", type=int, default=3, help="turns that --ab takes of each (%(default)s)")
    return parser
