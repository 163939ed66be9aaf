"""Profiles: how long engines take on hardware that is not here, for the scripted engines to act.

A profile is a TOML file. `title` names it; each of `asr`, `llm`, `tts` is a list of rows, each with `concurrency` and
flags of the role's scripted engine (latencies as in bus/latency.py: fixed, log-normal, uniform, or drawn from a file),
and `sources` tells for each role whom the numbers are from. A row holds for that many requests at a time or fewer.
How many of the sessions ask at the same moment is not known beforehand, so the row for all of them is taken: what comes
out is on the safe side.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from launcher.errors import UsageError

FOLDER: Final = Path(__file__).parent / "profiles"
ROLES: Final = ("asr", "llm", "tts")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a file says. *rows*: for each role, from concurrency to flags."""

    title: str
    sources: dict[str, str]
    rows: dict[str, dict[int, dict[str, str]]]
    folder: Path

    def flags(self, role: str, sessions: int) -> list[str]:
        """Return the flags of the scripted engine of *role* for so many *sessions*; [] if nothing is said of the role.

        Raises:
            UsageError: the curve ends before.
        """
        rows = self.rows.get(role)
        if not rows:
            return []
        enough = [concurrency for concurrency in sorted(rows) if concurrency >= sessions]
        if not enough:
            raise UsageError(f"--profile: the curve of the {role} ends at {max(rows)} sessions")
        return [f"--{name}={self._found(value)}" for name, value in rows[enough[0]].items()]

    def _found(self, value: str) -> str:
        # Files stand beside the profile.
        path = value.removeprefix("file:")
        return f"file:{self.folder / path}" if path != value else value


def read(name: str) -> Profile:
    """Return the profile called *name* of ours, or the file of that path.

    Raises:
        UsageError: there is none, or it is none.
    """
    path = Path(name)
    if not path.suffix:
        path = FOLDER / f"{name}.toml"
    try:
        told = tomllib.loads(path.read_text())
        return Profile(
            title=str(told["title"]),
            sources={role: str(told["sources"][role]) for role in ROLES if role in told},
            rows={role: dict(_row(row) for row in told[role]) for role in ROLES if role in told},
            folder=path.parent.resolve(),
        )
    except FileNotFoundError:
        ours = ", ".join(sorted(found.stem for found in FOLDER.glob("*.toml")))
        raise UsageError(f"--profile: there is no {path}; ours are {ours}") from None
    except OSError as error:
        raise UsageError(f"--profile {path}: {error.strerror or error}") from error
    except KeyError as error:
        raise UsageError(f"--profile {path}: {error} is missing") from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"--profile {path}: {error}") from error


def _row(row: dict[str, Any]) -> tuple[int, dict[str, str]]:
    flags = dict(row)
    return int(flags.pop("concurrency")), {name: str(value) for name, value in flags.items()}
