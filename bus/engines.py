"""Finds engines: the folder is the registry, a file's name is the engine's name (`_` in the file, `-` in the name)."""

import importlib
import pkgutil
from types import ModuleType

from bus.errors import ConfigurationError


def names(package: str) -> list[str]:
    """Return the names of the engines in *package* (`services.asr.engines`)."""
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(m.name.replace("_", "-") for m in modules if not m.name.startswith("_"))


def find(package: str, name: str) -> ModuleType:
    """Import the engine's module. Modules of engines import nothing heavy; their `load` does.

    Raises:
        ConfigurationError: there is no such engine, or what it imports is not installed.
    """
    known = names(package)
    if name not in known:
        raise ConfigurationError(f"unknown engine {name!r}; choose one of {', '.join(known)}")
    try:
        return importlib.import_module(f"{package}.{name.replace('-', '_')}")
    except ImportError as error:
        requirements = f"{package.rpartition('.')[0].replace('.', '/')}/requirements/{name}.txt"
        raise ConfigurationError(f"engine {name!r}: {error}; pip install -r {requirements}") from error
