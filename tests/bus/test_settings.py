"""Flags over environment over defaults; what cannot work is one line."""

import pytest
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from bus.settings import GATEWAY_INBOX, ServiceSettings, parse


class Settings(ServiceSettings):
    """Settings of a service of these tests."""

    model_config = SettingsConfigDict(env_prefix="PARROT_")

    engine: str = "echo"
    api_key: str = Field("", max_length=5)


def told(args: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        parse(Settings, args, "services.parrot")
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_a_flag_goes_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(Settings, [], "p").capacity == 64
    monkeypatch.setenv("PARROT_CAPACITY", "7")
    assert parse(Settings, [], "p").capacity == 7
    assert parse(Settings, ["--capacity", "8"], "p").capacity == 8


def test_another_services_environment_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWL_CAPACITY", "7")
    monkeypatch.setenv("CAPACITY", "7")
    assert parse(Settings, [], "p").capacity == 64


@pytest.mark.parametrize(
    ("given", "gateways"),
    [
        ("tcp://a:1", ["tcp://a:1"]),
        ("tcp://a:1, ipc:///run/b", ["tcp://a:1", "ipc:///run/b"]),
        ("tcp://127.0.0.1:7700,", ["tcp://127.0.0.1:7700"]),
        ("", []),
    ],
)
def test_gateways_are_separated_by_commas(given: str, gateways: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(Settings, [f"--gateways={given}"], "p").gateways == gateways
    monkeypatch.setenv("PARROT_GATEWAYS", given)
    assert parse(Settings, [], "p").gateways == gateways


def test_the_default_gateway_is_on_this_machine() -> None:
    assert parse(Settings, [], "p").gateways == [GATEWAY_INBOX]


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--capacity", "0"),
        ("--capacity", "many"),
        ("--health_port", "70000"),
        ("--health_port", "-1"),
        ("--log_level", "loud"),
        ("--log_format", "xml"),
        ("--lease_ttl_s", "0"),
        ("--drain_timeout_s", "-1"),
        ("--gateways", "nonsense"),
        ("--gateways", "tcp://gateway"),
        ("--gateways", "tcp://gateway:port"),
        ("--gateways", "http://gateway:80"),
    ],
)
def test_a_bad_value_is_one_line_that_names_its_flag(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    [line] = told([f"{flag}={value}"], capsys)
    assert line.startswith(f"services.parrot: {flag}: ")


def test_a_bad_value_in_the_environment_is_told_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARROT_CAPACITY", "many")
    [line] = told([], capsys)
    assert "--capacity" in line
    assert "many" in line


def test_every_bad_value_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(told(["--capacity", "0", "--log_level", "loud"], capsys)) == 2


def test_an_unknown_flag_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--wings" in told(["--wings", "2"], capsys)[-1]


def test_a_secret_is_not_shown_when_it_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    [line] = told(["--api_key", "hush-hush"], capsys)
    assert "--api_key" in line
    assert "hush" not in line
