"""`speech-to-speech keys new FOLDER NAME…`: makes the keys that encrypt the bus between hosts."""

import argparse
import re
import shutil
from pathlib import Path
from typing import Final

from bus.curve import ALLOWED, INBOX, OWN, PUBLIC_SUFFIX, Pair, read_keys, write_pair, write_public
from bus.errors import ConfigurationError
from launcher.errors import UsageError

# What names a member names files and folders, too.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEFAULT_NAME: Final = "suite"


def main(args: list[str]) -> int:
    """Make the keys and say what to copy where."""
    parser = argparse.ArgumentParser(
        prog="speech-to-speech keys",
        description="Make keys for tcp:// connections between the processes of a suite. Each member (a host, or a "
        "single process) gets a folder of its own inside FOLDER. Members may be added later; nothing is overwritten.",
    )
    parser.add_argument("action", choices=["new"], help="new: make the keys of new members")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the folders of all members are kept")
    parser.add_argument(
        "names", nargs="*", default=[DEFAULT_NAME], metavar="NAME", help=f"new members (default: {DEFAULT_NAME})"
    )
    told = parser.parse_args(args)
    try:
        lines = new(told.folder, list(dict.fromkeys(told.names)))
    except OSError as error:
        raise UsageError(f"cannot write keys to {told.folder} ({error.strerror or error})") from error
    print("\n".join(lines))
    return 0


def new(folder: Path, names: list[str]) -> list[str]:
    """Make the folders of new members *names* in *folder*; return lines that tell what to do with them.

    Members that are there already, of the same suite, are told to let the new ones in.

    Raises:
        UsageError: a name cannot be used or is there already; nothing was written.
        OSError: something could not be written; the new members' folders are removed again.
    """
    _check_names(folder, names)
    before = _members(folder)
    inbox = _inbox_of(before) if before else Pair.new()
    own = {name: Pair.new() for name in names}
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        for name, pair in own.items():
            (folder / name).mkdir(mode=0o700)
            (folder / name / ALLOWED).mkdir(mode=0o700)
            write_pair(folder / name / INBOX, inbox)
            write_pair(folder / name / OWN, pair)
            for known in before:
                public = known / ALLOWED / (known.name + PUBLIC_SUFFIX)
                shutil.copy(public, folder / name / ALLOWED / public.name)
            for other, theirs in own.items():
                write_public(folder / name / ALLOWED / (other + PUBLIC_SUFFIX), theirs.public)
    except OSError:
        for name in own:
            shutil.rmtree(folder / name, ignore_errors=True)
        raise
    for known in before:
        for name, pair in own.items():
            write_public(known / ALLOWED / (name + PUBLIC_SUFFIX), pair.public)
    return _told(folder, names, before)


def _check_names(folder: Path, names: list[str]) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name a member; use letters, digits, dots, dashes and underscores")
        if (folder / name).exists():
            raise UsageError(f"{folder / name} exists already and stays as it is; choose another name")


def _members(folder: Path) -> list[Path]:
    return sorted(member.parent for member in folder.glob(f"*/{OWN}"))


def _inbox_of(members: list[Path]) -> Pair:
    """Return the pair of the suite that *members* are of."""
    pairs: set[Pair] = set()
    for member in members:
        try:
            keys = read_keys(str(member))
        except ConfigurationError as error:
            raise UsageError(f"{member} is there already and cannot be read: {error}") from error
        if keys is not None:
            pairs.add(keys.inbox)
        if not (member / ALLOWED / (member.name + PUBLIC_SUFFIX)).is_file():
            raise UsageError(f"{member / ALLOWED / member.name}{PUBLIC_SUFFIX} is missing: was the folder renamed?")
    if len(pairs) != 1:
        raise UsageError(f"{members[0].parent} holds members of different suites; name another folder")
    return pairs.pop()


def _told(folder: Path, names: list[str], before: list[Path]) -> list[str]:
    lines = [f"made the keys of {', '.join(names)} in {folder}" + ("" if before else " (a new suite)"), ""]
    lines += [f"  copy {folder / name} to {name}, and there run every process with --bus_keys=FOLDER" for name in names]
    if before:
        files = ", ".join(name + PUBLIC_SUFFIX for name in names)
        others = ", ".join(known.name for known in before)
        lines += [
            "",
            f"  copy {files} from {before[0] / ALLOWED} into {ALLOWED}/ of those who are there already: {others}",
            "  They need not be restarted.",
        ]
    lines += [
        "",
        "  --bus_keys can be given as BUS_KEYS in the environment, too. All processes need it, or none.",
        f"  To shut a member out, remove its key from {ALLOWED}/ of the others and restart them.",
        "  The folders hold secrets: only the user that runs the suite should read them.",
    ]
    return lines
