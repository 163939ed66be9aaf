"""Parts of a suite that are not the real ones."""

import sys
from pathlib import Path

from launcher.parts import Part

SCRIPT = Path(__file__).with_name("fake_part.py")


def fake_part(role: str, behaviour: str, *, name: str = "") -> Part:
    """Return a part that behaves as `fake_part.py` says."""
    return Part(name or role, role, behaviour, (behaviour,), "127.0.0.1", 0)


def fake_command(part: Part) -> list[str]:
    return [sys.executable, str(SCRIPT), *part.args]
