"""The generated code is that of speech.proto, and the contract only ever grows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from bus.frames import PROTOCOL_VERSION, Frame, Header
from proto.v1 import lock
from proto.v1 import speech_pb2 as pb

ROOT = Path(__file__).resolve().parent.parent.parent
GENERATED = ("speech_pb2.py", "speech_pb2.pyi")
COMMAND = "python -m grpc_tools.protoc -I. --python_out=. --mypy_out=. proto/v1/speech.proto"


def generate(into: Path) -> None:
    """Run protoc as a person would, with the plugin of this environment."""
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed: pip install -e .[check]")
    pytest.importorskip("mypy_protobuf", reason="mypy-protobuf is not installed: pip install -e .[check]")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I."]
    outs = [f"--python_out={into}", f"--mypy_out={into}", "proto/v1/speech.proto"]
    made = subprocess.run(
        [*protoc, *outs], cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


def test_the_committed_code_is_what_protoc_makes(tmp_path: Path) -> None:
    generate(tmp_path)
    for name in GENERATED:
        made = (tmp_path / "proto" / "v1" / name).read_text()
        assert made == (ROOT / "proto" / "v1" / name).read_text(), f"{name} is stale: {COMMAND}"


def test_no_number_ever_changes_its_meaning() -> None:
    locked = lock.numbers(lock.LOCK.read_text().splitlines())
    present = lock.numbers(lock.lines())
    changed = {
        place: (before, present[place])
        for place, before in locked.items()
        if place in present and present[place] != before
    }
    assert not changed, "a number must mean one thing for ever: take a new one"


def test_what_was_removed_is_marked_and_what_was_added_is_locked() -> None:
    locked = lock.numbers(lock.LOCK.read_text().splitlines())
    present = lock.numbers(lock.lines())
    removed = {place for place in locked if place not in present and not locked[place].endswith(" gone")}
    assert not removed, "mark these lines of proto/v1/fields.lock with `gone`"
    added = {place for place in present if place not in locked}
    assert not added, "append these to proto/v1/fields.lock: python -m proto.v1.lock"


def test_the_command_prints_the_lock() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "proto.v1.lock"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert printed.splitlines() == lock.lines()


def test_the_package_says_the_version() -> None:
    assert pb.DESCRIPTOR.package == f"speech.v{PROTOCOL_VERSION}"


def newer() -> type[Frame]:
    """Return the Frame of a later version: one body and one field of the header more."""
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    frame, header = file.message_type[0], file.message_type[1]
    assert (frame.name, header.name) == ("Frame", "Header")
    frame.field.add(
        name="hologram", number=99, type=descriptor_pb2.FieldDescriptorProto.TYPE_BYTES, label=1, oneof_index=0
    )
    header.field.add(name="planet", number=99, type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made: type[Frame] = message_factory.GetMessageClass(pool.FindMessageTypeByName("speech.v1.Frame"))  # type: ignore[assignment]
    return made


def test_fields_of_a_newer_version_are_ignored_and_survive() -> None:
    newest = newer()
    sent = newest(header={"session_id": "s1", "planet": "Mars"}, cancel={"reason": "x"})  # type: ignore[arg-type]
    read = Frame.FromString(sent.SerializeToString())
    assert (read.header.session_id, read.WhichOneof("body"), read.cancel.reason) == ("s1", "cancel", "x")
    again = newest.FromString(read.SerializeToString())
    assert again == sent


def test_a_body_of_a_newer_version_is_seen_as_none() -> None:
    sent = newer()(header={"session_id": "s1"}, hologram=b"help me")  # type: ignore[arg-type, call-arg]
    read = Frame.FromString(sent.SerializeToString())
    assert read.WhichOneof("body") is None
    assert read.header.session_id == "s1"


def test_a_frame_of_an_older_version_has_defaults() -> None:
    older = Frame(header=Header(session_id="s1"), synthesis_request=pb.SynthesisRequest(sample_rate=24_000))
    read = Frame.FromString(older.SerializeToString())
    assert (read.synthesis_request.speed, read.synthesis_request.voice, read.header.deadline_ms) == (0.0, "", 0)
