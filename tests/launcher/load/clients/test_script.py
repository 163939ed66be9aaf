"""What clients send, made beforehand."""

import base64
import json

import numpy as np
import pytest

from launcher.load.clients.script import script
from launcher.load.speech import Phrase

# 40 ms at 16 kHz, from silence to nearly full scale and back.
RAMP = Phrase("", (np.sin(np.linspace(0, np.pi, 640)) * 30_000).astype("<i2").tobytes())
HEAD = 2 + 4  # and two more for a long frame


@pytest.mark.parametrize(("protocol", "size"), [("socket", 640), ("websocket", 640 + 4 + 4)])
def test_raw_clients_send_16_khz(protocol: str, size: int) -> None:
    made = script(protocol, [RAMP], 20)
    assert [len(chunk) for chunk in (*made.phrases[0], made.silence)] == [size] * 3


@pytest.mark.parametrize(("protocol", "size"), [("realtime", 960), ("realtime-pcmu", 160)])
def test_realtime_clients_append_20_ms_of_their_format(protocol: str, size: int) -> None:
    made = script(protocol, [RAMP], 20)
    for chunk in (*made.phrases[0], made.silence):
        event = json.loads(chunk[chunk.index(b"{") :])
        assert event["type"] == "input_audio_buffer.append"
        assert len(base64.b64decode(event["audio"])) == size


def test_telephones_are_silent_and_loud_where_the_voice_is() -> None:
    made = script("realtime-pcmu", [RAMP], 20)
    codes = [
        base64.b64decode(json.loads(each[each.index(b"{") :])["audio"]) for each in (made.silence, made.phrases[0][1])
    ]
    assert set(codes[0]) == {0xFF}  # G.711's zero
    loudest = 0x80 | ~np.frombuffer(codes[1], np.uint8)
    assert loudest.max() >= 0xF0  # the last segment
