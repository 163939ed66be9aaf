"""Which dialect, which key, which subprotocol."""

import pytest

from gateway.protocols.realtime.dialect import BETA, GA, Dialect, api_key, choose, subprotocol

BROWSER = ["realtime", "openai-insecure-api-key.sk-1", "openai-organization.o"]


@pytest.mark.parametrize(
    ("headers", "offered", "dialect"),
    [
        ({}, [], GA),
        ({"openai-beta": "realtime=v1"}, [], BETA),
        ({"openai-beta": "assistants=v2, realtime=v1"}, [], BETA),
        ({"openai-beta": "assistants=v2"}, [], GA),
        ({}, BROWSER, GA),
        ({}, [*BROWSER, "openai-beta.realtime-v1"], BETA),
    ],
)
def test_beta_is_asked_for(headers: dict[str, str], offered: list[str], dialect: Dialect) -> None:
    assert choose(headers, offered) is dialect


@pytest.mark.parametrize(
    ("headers", "offered", "key"),
    [
        ({}, [], ""),
        ({"authorization": "Bearer sk-1"}, [], "sk-1"),
        ({"authorization": "bearer  sk-1 "}, [], "sk-1"),
        ({"authorization": "Basic abc"}, [], ""),
        ({"authorization": "Bearer "}, BROWSER, "sk-1"),
        ({"authorization": "Bearer sk-2"}, BROWSER, "sk-2"),
        ({"api-key": "sk-3"}, [], "sk-3"),
        ({}, BROWSER, "sk-1"),
        ({}, ["openai-insecure-api-key."], ""),
    ],
)
def test_the_key_is_found(headers: dict[str, str], offered: list[str], key: str) -> None:
    assert api_key(headers, offered) == key


@pytest.mark.parametrize(("offered", "selected"), [([], None), (["chat"], None), (BROWSER, "realtime")])
def test_only_realtime_is_selected(offered: list[str], selected: str | None) -> None:
    assert subprotocol(offered) == selected
