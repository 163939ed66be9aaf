"""The folder is the registry."""

import pytest

from bus import engines
from bus.errors import ConfigurationError

PACKAGE = "tests.bus.parrot.engines"


def test_a_file_is_an_engine_and_its_name_has_dashes() -> None:
    assert engines.names(PACKAGE) == ["echo", "not-installed", "not-loadable", "slow-to-load"]
    assert engines.find(PACKAGE, "not-loadable").__name__.endswith("not_loadable")


@pytest.mark.parametrize("name", ["cockatoo", "", "not_loadable", "../echo", "__init__"])
def test_an_unknown_engine_is_told_with_those_there_are(name: str) -> None:
    with pytest.raises(ConfigurationError, match="choose one of echo, ") as error:
        engines.find(PACKAGE, name)
    assert "\n" not in str(error.value)


def test_an_engine_whose_imports_are_missing_names_what_to_install() -> None:
    with pytest.raises(ConfigurationError, match=r"pip install -r .*/requirements/not-installed\.txt"):
        engines.find(PACKAGE, "not-installed")
