"""Finds engines: the folder is the registry, a file's name is the engine's name (`_` in the file, `-` in the name)."""

import importlib
import pkgutil
from types import ModuleType

from bus.errors import ConfigurationError


def names(package: str) -> list[str]:
    """Return the names of the engines in *package* (`services.asr.engines`)."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(importlib.import_module(package).__path__))


def find(package: str, name: str) -> ModuleType:
    """Import the engine's module. Modules of engines import nothing heavy; their `load` does.

    Raises:
        ConfigurationError: there is no such engine.
    """
    known = names(package)
    if name not in known:
        raise ConfigurationError(f"unknown engine {name!r}; choose one of {', '.join(known)}")
    return importlib.import_module(f"{package}.{name.replace('-', '_')}")
