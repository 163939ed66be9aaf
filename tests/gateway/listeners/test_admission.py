"""Keys, certificates, addresses."""

from pathlib import Path

import pytest

from bus.errors import ConfigurationError
from gateway.core.realtime.config import SessionConfig
from gateway.listeners.admission import MINTED_AT_MOST, Admission, check_certificate, is_loopback
from tests.gateway.suite import told


def test_keys_come_from_the_setting_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\nsk-2  # of one client\n\nsk-3\n")
    admission = Admission(told(api_keys="sk-1", api_keys_file=str(file)))
    assert [admission.admits(key) for key in ("sk-1", "sk-2", "sk-3", "sk-4", "", "ours")] == [
        *[True] * 3,
        *[False] * 3,
    ]


def test_without_keys_anybody_is_let_in() -> None:
    admission = Admission(told())
    assert admission.admits("")
    assert not admission.wants_key


@pytest.mark.parametrize("content", [None, b"", b"# nothing\n", b"\xff\xfe"])
def test_a_file_of_no_use_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="--api_keys_file"):
        Admission(told(api_keys_file=str(file)))


def test_minted_keys_carry_their_session_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("gateway.listeners.admission.time.time", lambda: now[0])
    admission, config = Admission(told(api_keys="sk-1")), SessionConfig(model="x")
    key, expires_at = admission.mint(config, 60)
    assert (expires_at, admission.session_of(key), admission.admits(key), admission.knows(key)) == (
        1060,
        config,
        True,
        False,
    )
    now[0] = 1060.0
    assert admission.session_of(key) is None
    assert not admission.admits(key)


def test_minted_keys_are_bounded() -> None:
    admission = Admission(told())
    keys = [admission.mint(SessionConfig(), 60)[0] for _ in range(MINTED_AT_MOST + 1)]
    assert admission.session_of(keys[0]) is None
    assert admission.session_of(keys[1]) is not None
    assert admission.session_of(keys[-1]) is not None


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"ssl_keyfile": "k"}, "--ssl_keyfile"),
        ({"ssl_certfile": "/no/such/file"}, "--ssl_certfile"),
        ({"ssl_certfile": __file__}, "--ssl_certfile"),
    ],
)
def test_a_certificate_of_no_use_is_named(flags: dict[str, str], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        check_certificate(told(**flags))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "a.example")),
    ],
)
def test_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
