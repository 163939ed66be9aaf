"""Profiles: which row of a curve is acted, and whether ours can be."""

from pathlib import Path

import pytest

from bus.main import configure
from launcher.errors import UsageError
from launcher.load import profile
from services.asr.settings import AsrSettings
from services.llm.settings import LlmSettings
from services.tts.settings import TtsSettings

SETTINGS = {"asr": AsrSettings, "llm": LlmSettings, "tts": TtsSettings}
OURS = sorted(path.stem for path in profile.FOLDER.glob("*.toml"))


@pytest.mark.parametrize("name", OURS)
def test_scripted_engines_can_act_every_row_of_our_profiles(name: str) -> None:
    read = profile.read(name)
    for role, rows in read.rows.items():
        assert read.sources[role]
        for concurrency in rows:
            flags = read.flags(role, concurrency)
            settings, _ = configure(role, SETTINGS[role], ["--engine", "scripted", *flags])
            assert settings.engine == "scripted"


def test_the_row_for_at_least_so_many_is_taken() -> None:
    gpu = profile.read("gpu-8b")
    assert gpu.flags("llm", 26) == gpu.flags("llm", 50) != gpu.flags("llm", 51)
    assert gpu.flags("vad", 26) == []


def test_a_curve_does_not_go_on_beyond_its_end() -> None:
    with pytest.raises(UsageError, match="ends at 250"):
        profile.read("gpu-8b").flags("llm", 251)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "'title' is missing"),
        ("title = ", "profile.toml"),
        ("title = 't'\n[sources]\n[[llm]]\nconcurrency = 1", "'llm' is missing"),
        ("title = 't'\nsources.llm = 'me'\n[[llm]]\ntoken_latency = '1'", "'concurrency' is missing"),
    ],
)
def test_a_file_that_is_no_profile_is_told_in_one_line(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "profile.toml"
    file.write_text(content)
    with pytest.raises(UsageError, match=told) as raised:
        profile.read(str(file))
    assert "\n" not in str(raised.value)


def test_an_unknown_name_is_told_with_ours() -> None:
    with pytest.raises(UsageError, match="gpu-8b"):
        profile.read("none")
