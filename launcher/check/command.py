"""The command: flags, the service's start if it is to be started, and a line for each rule."""

import argparse
import asyncio
import json
import re
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from bus.curve import read_keys
from bus.errors import ConfigurationError
from bus.settings import ADDRESS, GATEWAY_INBOX
from launcher import recording
from launcher.check import run
from launcher.check.peer import Peer
from launcher.check.rule import ALL, Outcome, Rule, Verdict
from launcher.check.rules import RULES
from launcher.check.subject import Options, Subject
from launcher.child import Child
from launcher.errors import UsageError
from launcher.ports import usual_or_free

PROG: Final = "speech-to-speech check"
NAME_WIDTH: Final = 34
_COLOURS: Final = {Outcome.PASS: "32", Outcome.FAIL: "1;31", Outcome.SKIP: "33"}


def main(args: list[str]) -> int:
    """Check what the flags say; return 0 if no rule is broken, else 1."""
    told = _parser().parse_args(args)
    if told.rules:
        _list_rules(told.role, as_json=told.json)
        return 0
    if not told.role or not told.address:
        raise UsageError("check: say which role and where: check tts tcp://127.0.0.1:7704 (--rules lists the rules)")
    if not ADDRESS.fullmatch(told.address):
        raise UsageError(f"check: {told.address!r} is no address; write tcp://HOST:PORT or ipc://PATH")
    return asyncio.run(_check(told, _chosen(told.role, told.only)))


async def _check(told: argparse.Namespace, rules: list[Rule]) -> int:
    inbox = told.inbox or _free_inbox()
    child = None
    subject = Subject(_peer(inbox, told.bus_keys), told.role, told.address, _options(told))
    try:
        if told.run:
            child = await _start(told.run, subject, quiet=told.json)
        elif not told.json:
            _say(f"waiting for {told.address} to announce itself to {subject.peer.address} (its gateway)")
        if problem := await run.appearance(subject, told.patience_s + told.start_s):
            raise UsageError(f"check: {problem}")
        if not told.json:
            _show_subject(subject)
        found = await run.verdicts(subject, rules, (lambda _: None) if told.json else _show)
    finally:
        if child is not None:
            await child.stop()
            await child.wait()
        subject.peer.close()
    _conclude(subject, found, as_json=told.json)
    return int(any(verdict.outcome is Outcome.FAIL for verdict in found))


def _peer(inbox: str, keys: str) -> Peer:
    try:
        return Peer(inbox, read_keys(keys))
    except ConfigurationError as error:
        raise UsageError(f"check: {error}") from error


async def _start(command: str, subject: Subject, *, quiet: bool) -> Child:
    words = [word.replace("{inbox}", subject.peer.address) for word in shlex.split(command)]

    def write(line: str) -> None:
        if not quiet:
            _say(f"  | {line}")

    try:
        child = await Child.start(words, write, "\0")
    except OSError as error:
        raise UsageError(f"check: cannot run {words[0]}: {error.strerror or error}") from error
    waiting = asyncio.ensure_future(child.wait())
    subject.ended = lambda: asyncio.shield(waiting)
    return child


def _options(told: argparse.Namespace) -> Options:
    return Options(
        patience_s=told.patience_s,
        lease_ttl_s=told.lease_ttl_s,
        drain=told.drain,
        recording=recording.read(told.recording) if told.recording else b"",
    )


def _chosen(role: str, only: list[str]) -> list[Rule]:
    """Return the rules for *role*, those named *only* if any are."""
    rules = [rule for rule in RULES if role in rule.roles]
    names = {rule.name for rule in rules}
    for name in only:
        if name not in names:
            raise UsageError(f"check: no rule {name!r} for {role}; --rules lists them")
    return [rule for rule in rules if not only or rule.name in only]


def _free_inbox() -> str:
    """Return where services look for a gateway when nobody tells them, or any free port if one runs there."""
    host, _, port = GATEWAY_INBOX.removeprefix("tcp://").rpartition(":")
    return f"tcp://{host}:{usual_or_free(host, int(port))}"


def _list_rules(role: str | None, *, as_json: bool) -> None:
    rules = [rule for rule in RULES if not role or role in rule.roles]
    if as_json:
        print(json.dumps([{"name": rule.name, "roles": rule.roles, "says": rule.says} for rule in rules]))
        return
    for rule in rules:
        roles = "all" if rule.roles == ALL else " ".join(rule.roles)
        print(f"{rule.name:<{NAME_WIDTH}} {roles:<12} {rule.says}")


def _show_subject(subject: Subject) -> None:
    told = subject.announcement
    model = f" ({told.model})" if told.model else ""
    print(f"{subject.role} {told.engine}{model} at {subject.address}, capacity {told.capacity}", flush=True)


def _show(verdict: Verdict) -> None:
    word = verdict.outcome.value if verdict.outcome is not Outcome.FAIL else "FAIL"
    if sys.stdout.isatty():
        word = f"\033[{_COLOURS[verdict.outcome]}m{word}\033[0m"
    print(f"{word}  {verdict.rule.name:<{NAME_WIDTH}} {_one_line(verdict.why)}", flush=True)
    if verdict.outcome is Outcome.FAIL:
        print(f"      the contract: {verdict.rule.says}", flush=True)


def _conclude(subject: Subject, found: list[Verdict], *, as_json: bool) -> None:
    counted = Counter(verdict.outcome for verdict in found)
    took_s = sum(verdict.took_s for verdict in found)
    if not as_json:
        numbers = f"{counted[Outcome.PASS]} passed, {counted[Outcome.FAIL]} failed, {counted[Outcome.SKIP]} skipped"
        print(f"{numbers} in {took_s:.1f} s")
        return
    told = subject.announcement
    fields = {
        "role": subject.role,
        "address": subject.address,
        "engine": told.engine,
        "model": told.model,
        "conforms": not counted[Outcome.FAIL],
        "rules": [
            {
                "name": verdict.rule.name,
                "outcome": verdict.outcome.value,
                "why": _one_line(verdict.why),
                "took_s": round(verdict.took_s, 3),
            }
            for verdict in found
        ],
    }
    print(json.dumps(fields, ensure_ascii=False))


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Check a running service, written in any language, against the rules of the protocol. The service "
        "has to announce itself to --inbox, as to a gateway. Exit status 0 if no rule is broken, 1 if one is, 2 if "
        "the service does not announce itself.",
        allow_abbrev=False,
    )
    parser.add_argument("role", nargs="?", choices=ALL, help="what the service is: %(choices)s")
    parser.add_argument("address", nargs="?", help="its inbox, as tcp://127.0.0.1:7704")
    parser.add_argument(
        "--inbox",
        default="",
        help=f"where the kit is a gateway: tell it the service (ours: --gateways). Default: {GATEWAY_INBOX}, "
        "or another port if that is taken",
    )
    parser.add_argument("--bus_keys", default="", metavar="FOLDER", help="the keys of a member of the suite (CURVE)")
    parser.add_argument("--run", default="", metavar="COMMAND", help="start the service so; {inbox} stands for --inbox")
    parser.add_argument("--drain", action="store_true", help="at the end, ask the service to drain: it has to exit")
    parser.add_argument(
        "--lease_ttl_s",
        type=float,
        default=0.0,
        metavar="S",
        help="how long the service's leases live unrenewed; without it two rules are skipped",
    )
    parser.add_argument(
        "--recording", type=Path, metavar="FILE.wav", help="somebody speaking; without it, a synthetic voice"
    )
    parser.add_argument(
        "--patience_s", type=float, default=10.0, metavar="S", help="how long an answer may take (10 s)"
    )
    parser.add_argument(
        "--start_s", type=float, default=20.0, metavar="S", help="how much longer until the service is ready (20 s)"
    )
    parser.add_argument("--only", action="append", default=[], metavar="RULE", help="check this rule; may be repeated")
    parser.add_argument("--rules", action="store_true", help="list the rules (of ROLE), check nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    return parser
