"""What must agree between Dockerfiles, compose files and .env.example. Needs no container engine."""

import re
from pathlib import Path

import pytest

from tests.containers.composed import ROLES, ROOT, names_in

COMPOSE = sorted(ROOT.glob("compose*.yaml"))
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
DOCKERFILES = [ROOT / "gateway" / "Dockerfile", *(ROOT / "services" / role / "Dockerfile" for role in ROLES)]


@pytest.mark.parametrize("path", DOCKERFILES[1:], ids=lambda path: path.parent.name)
def test_images_share_their_first_layers(path: Path) -> None:
    shared, own = (file.read_text(encoding="utf-8").partition("AS empty")[0] for file in (DOCKERFILES[0], path))
    assert own.splitlines()[1:] == shared.splitlines()[1:]  # the first line says which image it is


@pytest.mark.parametrize("path", DOCKERFILES[1:], ids=lambda path: path.parent.name)
def test_the_default_engine_of_an_image_is_that_of_compose(path: Path) -> None:
    role = path.parent.name
    engines = set(re.findall(r"^ARG ENGINE=(\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE))
    composed = re.findall(
        rf"\$\{{{role.upper()}_ENGINE:-([\w-]+)\}}", (ROOT / "compose.yaml").read_text(encoding="utf-8")
    )
    assert engines == set(composed)
    assert (path.parent / "requirements" / f"{engines.pop()}.txt").exists()


@pytest.mark.parametrize(
    "path", [path for path in COMPOSE if "observability" not in path.name], ids=lambda path: path.name
)
def test_what_can_be_set_is_documented(path: Path) -> None:
    assert names_in(path) <= set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.MULTILINE))


def test_nothing_is_documented_that_no_file_looks_up() -> None:
    documented = set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.MULTILINE))
    assert documented <= set().union(*map(names_in, COMPOSE))


def test_documented_defaults_are_those_of_compose() -> None:
    base = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]+)\}", base):
        if default != "/dev/null":
            assert f"#{name}={default}\n" in EXAMPLE
