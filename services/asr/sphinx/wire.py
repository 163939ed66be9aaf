"""What goes through the pipes between the pool and its worker processes.

A message is a kind (one byte), the number of the utterance it belongs to, the length of its payload, and the payload.
Answers to an utterance that was cancelled meanwhile are told by its number.
"""

import json
import struct
from enum import Enum
from typing import Final

HEAD: Final = struct.Struct("<cII")


class Kind(Enum):
    """What a message says."""

    # pool -> worker
    BEGIN = b"B"
    AUDIO = b"A"  # pcm
    ASK = b"Q"  # for a partial
    FINISH = b"F"
    CANCEL = b"X"
    # worker -> pool
    READY = b"r"  # the model is loaded
    PARTIAL = b"p"  # text
    FINAL = b"f"  # see `pack_final`; the worker is free
    FREE = b"x"  # the utterance was cancelled


def pack(kind: Kind, number: int, payload: bytes = b"") -> bytes:
    """Return one message."""
    return HEAD.pack(kind.value, number, len(payload)) + payload


def unpack_head(head: bytes) -> tuple[Kind, int, int]:
    """Return kind, utterance number and payload length."""
    kind, number, length = HEAD.unpack(head)
    return Kind(kind), number, length


def pack_final(text: str, confidence: float, busy_s: float) -> bytes:
    """Return the payload of FINAL."""
    return json.dumps([text, confidence, busy_s]).encode()


def unpack_final(payload: bytes) -> tuple[str, float, float]:
    """Return text, confidence, and the seconds of computing."""
    text, confidence, busy_s = json.loads(payload)
    return str(text), float(confidence), float(busy_s)
