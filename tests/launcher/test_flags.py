import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from bus.errors import ConfigurationError
from gateway.settings import MODES
from launcher import flags
from launcher.errors import UsageError
from launcher.parts import Plan
from services.tts.engines import flite
from tests.conftest import SHARED

# Every command line of the promise to users, and what it has to mean.
PROMISED: dict[str, dict[str, Any]] = {
    "speech-to-speech --mode socket --recv_host 0.0.0.0": {"mode": ["socket"], "recv_host": "0.0.0.0"},
    "speech-to-speech --mode socket --recv_host localhost": {"mode": ["socket"], "recv_host": "localhost"},
    "speech-to-speech --mode socket --recv_host 0.0.0.0 --recv_port 12345": {
        "mode": ["socket"],
        "recv_host": "0.0.0.0",
        "recv_port": 12345,
    },
    "speech-to-speech --mode socket --chunk_size 2048": {"mode": ["socket"], "chunk_size": 2048},
    "speech-to-speech --mode socket --recv_host 0.0.0.0 --send_host 0.0.0.0": {
        "mode": ["socket"],
        "recv_host": "0.0.0.0",
        "send_host": "0.0.0.0",
    },
    "speech-to-speech --mode socket --send_port 12346": {"mode": ["socket"], "send_port": 12346},
    "speech-to-speech --mode websocket --ws_host 0.0.0.0": {"mode": ["websocket"], "ws_host": "0.0.0.0"},
    "speech-to-speech --mode websocket --ws_port 8765": {"mode": ["websocket"], "ws_port": 8765},
    "speech-to-speech --mode socket --recv_host 0.0.0.0 --send_host 0.0.0.0 --recv_port 12345 --send_port 12346": {
        "mode": ["socket"],
        "recv_host": "0.0.0.0",
        "send_host": "0.0.0.0",
        "recv_port": 12345,
        "send_port": 12346,
    },
}
DEFAULTS = {
    "recv_host": "localhost",
    "recv_port": 12345,
    "chunk_size": 1024,
    "send_host": "localhost",
    "send_port": 12346,
    "ws_host": "0.0.0.0",
    "ws_port": 8765,
}
COMMANDS = {"say": "stream recordings", "talk": "talk"}


def planned(line: str) -> Plan:
    return flags.plan(shlex.split(line), COMMANDS)


def args_of(plan: Plan, name: str) -> tuple[str, ...]:
    return next(part.args for part in (*plan.services, plan.gateway) if part.name == name)


@pytest.mark.parametrize("line", PROMISED)
def test_what_is_promised_is_understood(line: str) -> None:
    plan = planned(line.removeprefix("speech-to-speech"))
    told = plan.settings.model_dump()
    assert {name: told[name] for name in PROMISED[line]} == PROMISED[line]
    assert {name: told[name] for name in DEFAULTS} == DEFAULTS | {
        name: value for name, value in PROMISED[line].items() if name in DEFAULTS
    }


def test_no_promised_command_line_is_missing_above() -> None:
    promise = SHARED / "NETWORK_ARGUMENTS.md"
    if not promise.exists():
        pytest.skip("the promise is not beside the project")
    text = promise.read_text().replace("\\\n", " ")
    lines = {" ".join(line.split()) for line in re.findall(r"^speech-to-speech .*$", text, re.MULTILINE)}
    assert lines == set(PROMISED)


@pytest.mark.parametrize(
    "line",
    [
        "--mode socket websocket",
        "--mode socket,websocket",
        "--mode=socket,websocket",
        "--mode socket --mode websocket",
    ],
)
def test_several_modes_can_be_written_in_every_way(line: str) -> None:
    plan = planned(line)
    assert plan.settings.mode == ["socket", "websocket"]
    assert "--mode=socket,websocket" in plan.gateway.args


def test_without_a_word_all_modes_are_served() -> None:
    assert planned("").settings.mode == list(MODES)


def test_the_gateway_is_given_what_was_said_and_no_more() -> None:
    plan = planned("--mode socket --recv_port=5 --half_duplex --instructions 'Be brief.' --log_level info")
    assert set(plan.gateway.args) == {
        "--mode=socket",
        "--recv_port=5",
        "--half_duplex",
        "--instructions=Be brief.",
        "--log_level=info",
    }
    assert "--no-half_duplex" in planned("--no-half-duplex").gateway.args


def test_flags_may_be_written_with_dashes() -> None:
    assert planned("--recv-host 0.0.0.0 --ws-port=1").settings.ws_port == 1


@pytest.mark.parametrize(
    ("line", "part", "args"),
    [
        ("--vad_threads 2", "vad", {"--engine=silero", "--threads=2"}),
        ("--vad energy --vad_threshold_dbfs -30", "vad", {"--engine=energy", "--threshold_dbfs=-30"}),
        ("--vad energy --vad_threshold_dbfs=-30", "vad", {"--engine=energy", "--threshold_dbfs=-30"}),
        ("--tts scripted --tts_tone_hz 440 --tts_chunk_ms=20", "tts", {"--tone_hz=440", "--chunk_ms=20"}),
        ("--tts espeak-ng --tts_voice f2", "tts", {"--engine=espeak-ng", "--voice=f2"}),
        ("--llm_engine scripted --llm_reply 'Yes, {text}.'", "llm", {"--engine=scripted", "--reply=Yes, {text}."}),
        ("--asr scripted --asr_canary", "asr", {"--canary"}),
        ("--asr scripted --asr_capacity 3", "asr", {"--capacity=3"}),
    ],
)
def test_a_flag_with_a_role_before_it_goes_to_the_service(line: str, part: str, args: set[str]) -> None:
    plan = planned(line)
    assert args <= set(args_of(plan, part))
    others = [other.name for other in (*plan.services, plan.gateway) if other.name != part]
    assert not any(args & set(args_of(plan, other)) for other in others)


def test_a_flag_of_the_gateway_that_begins_with_a_role_stays_the_gateways() -> None:
    plan = planned("--tts_timeout_s 3")
    assert plan.settings.tts_timeout_s == 3
    assert "--timeout_s=3" not in args_of(plan, "tts")


def test_a_flag_of_every_process_goes_to_all_unless_one_is_told_otherwise() -> None:
    plan = planned("--log_level info --asr scripted --asr_log_level debug")
    levels = {part.name: [arg for arg in part.args if "log_level" in arg] for part in (*plan.services, plan.gateway)}
    assert levels.pop("asr") == ["--log_level=debug"]
    assert set(map(tuple, levels.values())) == {("--log_level=info",)}


def test_services_are_quiet_unless_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--log_level=warning" in planned("").gateway.args
    monkeypatch.setenv("VAD_LOG_LEVEL", "debug")
    assert not any("log_level" in arg for arg in args_of(planned(""), "vad"))


def test_replicas_are_parts_with_names_of_their_own() -> None:
    plan = planned("--asr scripted --asr_replicas 3 --asr_health_port 9200")
    assert [part.name for part in plan.services if part.role == "asr"] == ["asr", "asr-2", "asr-3"]
    assert {part.health_port for part in plan.services if part.role == "asr"} == {9200}
    assert not any("health_port" in arg for arg in args_of(plan, "asr-2"))


def test_the_environment_chooses_engines_and_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_ENGINE", "scripted")
    monkeypatch.setenv("LLM_HEALTH_PORT", "9303")
    monkeypatch.setenv("GATEWAY_WS_PORT", "1234")
    plan = planned("")
    llm = next(part for part in plan.services if part.role == "llm")
    assert (llm.engine, llm.health_port, plan.settings.ws_port) == ("scripted", 9303, 1234)
    assert planned("--ws_port 5 --llm responder").settings.ws_port == 5


def test_espeak_speaks_where_flite_is_missing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> None:
        raise ConfigurationError("flite is not installed: apt-get install libflite1, or choose --engine espeak-ng")

    monkeypatch.setattr(flite.Engine, "load", missing)
    plan = planned("")
    assert next(part.engine for part in plan.services if part.role == "tts") == "espeak-ng"
    assert plan.remarks == ("espeak-ng speaks, because flite is not installed: apt-get install libflite1",)
    assert next(part.engine for part in planned("--tts flite").services if part.role == "tts") == "flite"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--ws_prot 1", "unknown flag --ws_prot; did you mean --ws_port?"),
        ("--asr scripted --asr_wrong 1", "unknown flag --asr_wrong of asr with the engine scripted; --help lists all"),
        ("--ws_port 99999", "--ws_port: Input should be less than or equal to 65535 (got '99999')"),
        ("--ws_port", "--ws_port: expected one argument"),
        ("--recv_port x", "--recv_port: Input should be a valid integer"),
        ("--chunk_size 0", "--chunk_size: Input should be greater than or equal to 2"),
        ("--mode realtme", "--mode: Input should be 'socket'"),
        ("--send_mode maybe", "--send_mode: Input should be 'auto', 'listen' or 'connect' (got 'maybe')"),
        ("--log_level loud", "--log_level: String should match pattern"),
        ("--tts flute", "--tts: unknown engine 'flute'; choose one of "),
        ("--vad_threads none", "--vad_threads: Input should be a valid integer"),
        ("--vad_replicas 0", "--vad_replicas: Input should be greater than or equal to 1 (got '0')"),
        ("--tts_voice bob --tts flite", "--tts_voice: Input should be 'slt', 'kal', 'awb' or 'rms' (got 'bob')"),
        ("--vad_log_level loud", "--vad_log_level: String should match pattern"),
        ("--vad_replicas 2 --vad_bind ipc:///tmp/v", "--vad_bind: 2 replicas cannot share one inbox; leave it out"),
        ("sya FILE.wav", "unknown command or value 'sya'; did you mean say? (--help lists all)"),
    ],
)
def test_a_bad_command_line_is_one_line_that_names_the_flag(line: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        planned(line)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_help_shows_every_group_with_its_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        planned("--help --tts scripted")
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for group in ("SocketReceiverArguments", "SocketSenderArguments", "WebSocketStreamerArguments", "turns:", "suite:"):
        assert group in shown
    for name, default in DEFAULTS.items():
        assert re.search(rf"--{name} (TEXT|N) .{{0,200}}?\(default: {re.escape(str(default))}\)", shown), name
    assert "--tts_tone_hz" in shown
    assert "stream recordings" in shown


def test_nothing_heavy_is_imported_to_read_flags() -> None:
    source = Path(flags.__file__).read_text()
    assert not re.search(r"^\s*(import|from) (zmq|uvloop|numpy|bus\.main|bus\.serve)", source, re.MULTILINE)
