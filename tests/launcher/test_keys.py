"""Keys are made for whole suites, are added to, and never overwritten."""

import stat
from pathlib import Path

import pytest

from bus.curve import ALLOWED, INBOX, read_keys
from launcher import keys
from launcher.errors import UsageError


def contents(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_each_member_gets_a_folder_that_lets_in_all_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.main(["new", str(tmp_path / "keys"), "gateway", "gpu-1"]) == 0
    told = capsys.readouterr().out
    members = [read_keys(str(tmp_path / "keys" / name)) for name in ("gateway", "gpu-1")]
    for member in members:
        assert member is not None
        assert member.allowed() == {one.own.public for one in members if one}
        assert str(member.folder) in told
        assert member.own.secret.decode() not in told
    assert len({member.inbox for member in members if member}) == 1
    assert len({member.own for member in members if member}) == 2


def test_nobody_else_may_read_what_was_made(tmp_path: Path) -> None:
    keys.new(tmp_path / "keys", ["suite"])
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").rglob("*") if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").rglob("*") if path.is_dir()}
    assert modes == {0o600}
    assert folders == {0o700}


def test_a_later_member_joins_the_suite_and_is_let_in_by_the_others(tmp_path: Path) -> None:
    keys.new(tmp_path, ["gateway", "gpu-1"])
    before = contents(tmp_path)
    told = keys.new(tmp_path, ["gpu-2"])
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    members = [read_keys(str(tmp_path / name)) for name in ("gateway", "gpu-1", "gpu-2")]
    assert len({member.inbox for member in members if member}) == 1
    assert len({member.allowed() for member in members if member}) == 1
    assert any("gpu-2.key" in line and "gateway, gpu-1" in line for line in told)


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    keys.new(tmp_path, ["suite"])
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="exists already"):
        keys.new(tmp_path, ["other", "suite"])
    assert contents(tmp_path) == before
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x" * 65, "-x", "ä"])
def test_a_name_that_cannot_name_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a member"):
        keys.new(tmp_path, [name])
    assert not list(tmp_path.iterdir())


def test_members_of_two_suites_in_one_folder_are_told(tmp_path: Path) -> None:
    keys.new(tmp_path / "a", ["one"])
    keys.new(tmp_path / "b", ["two"])
    (tmp_path / "b" / "two").rename(tmp_path / "a" / "two")
    with pytest.raises(UsageError, match="different suites"):
        keys.new(tmp_path / "a", ["three"])


def test_a_member_that_cannot_be_read_or_was_renamed_is_told(tmp_path: Path) -> None:
    keys.new(tmp_path, ["one", "two"])
    (tmp_path / "one").rename(tmp_path / "uno")
    with pytest.raises(UsageError, match="renamed"):
        keys.new(tmp_path, ["three"])
    (tmp_path / "uno").rename(tmp_path / "one")
    (tmp_path / "two" / INBOX).write_text("")
    with pytest.raises(UsageError, match="cannot be read"):
        keys.new(tmp_path, ["three"])


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write keys"):
        keys.main(["new", str(tmp_path / "file")])


def test_the_default_is_one_member_for_all(tmp_path: Path) -> None:
    keys.main(["new", str(tmp_path)])
    assert (tmp_path / "suite" / ALLOWED / "suite.key").is_file()
