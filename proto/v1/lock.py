"""Every number of the contract that was ever given out: `python -m proto.v1.lock` prints what stands in fields.lock.

A number means one thing for ever. Fields and enum values may be added; what is removed stays in fields.lock, marked
`gone`, so that nobody uses its number again. After adding something, append what this command prints of it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from proto.v1 import speech_pb2 as pb

LOCK: Final = Path(__file__).with_name("fields.lock")
KINDS: Final = {
    number: name.removeprefix("TYPE_").lower() for name, number in vars(FieldDescriptor).items() if name[:5] == "TYPE_"
}


def lines() -> list[str]:
    """Return one line for each field and enum value: `Message number name type`, sorted."""
    messages = pb.DESCRIPTOR.message_types_by_name.values()
    enums = pb.DESCRIPTOR.enum_types_by_name.values()
    found = [line for message in messages for line in _fields(message)] + [line for e in enums for line in _values(e)]
    return sorted(found, key=_place)


def numbers(text: list[str]) -> dict[tuple[str, int], str]:
    """Return what each number of each message or enum means, from lines as `lines` gives them."""
    parts = [line.split(" ", 2) for line in text if line and not line.startswith("#")]
    return {(owner, int(number)): meaning for owner, number, meaning in parts}


def _fields(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        kind = KINDS[field.type]
        named = field.message_type or field.enum_type
        if named is not None:
            kind = f"{kind} {named.full_name.removeprefix(f'{pb.DESCRIPTOR.package}.')}"
        yield f"{_name(message)} {field.number} {field.name} {'repeated ' if field.is_repeated else ''}{kind}"
    for nested in message.nested_types:
        yield from _fields(nested)
    for enum in message.enum_types:
        yield from _values(enum)


def _values(enum: EnumDescriptor) -> Iterator[str]:
    for value in enum.values:
        yield f"{_name(enum)} {value.number} {value.name}"


def _name(owner: Descriptor | EnumDescriptor) -> str:
    return owner.full_name.removeprefix(f"{pb.DESCRIPTOR.package}.")


def _place(line: str) -> tuple[str, int]:
    owner, number, _ = line.split(" ", 2)
    return owner, int(number)


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
