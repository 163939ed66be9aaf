"""Where the time of a turn goes: from the chunk that completed the silence to the first byte of the answer."""

import time

from prometheus_client import Histogram

from proto.v1 import speech_pb2 as pb

OWN_LATENCY = Histogram(
    "speech_turn_latency_seconds",
    "From the arrival of the audio that completed the silence to the first byte of the answer.",
    buckets=(0.0025, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1, 2, 4, 8, 16),
)
STAGE = Histogram(
    "speech_turn_stage_seconds",
    "The same by stage.",
    ["stage"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16),
)

# Each stage ends at its stamp and begins where the one before it ended.
STAGES: dict[pb.Stamp.Stage.ValueType, str] = {
    pb.Stamp.VAD_DECIDED: "vad",
    pb.Stamp.ASR_ENDED: "to_asr",
    pb.Stamp.ASR_FINAL: "asr",
    pb.Stamp.LLM_STARTED: "to_llm",
    pb.Stamp.LLM_FIRST_TOKEN: "llm",
    pb.Stamp.TTS_STARTED: "to_tts",
    pb.Stamp.TTS_FIRST_AUDIO: "tts",
}


class Waterfall:
    """Collects the stamps of one turn."""

    def __init__(self) -> None:
        self._unix_us: dict[int, int] = {}

    def add(self, header: pb.Header) -> None:
        """Keep the first stamp of every stage."""
        for stamp in header.stamps:
            self._unix_us.setdefault(stamp.stage, stamp.unix_us)

    def finish(self) -> dict[str, float]:
        """Return milliseconds by stage and as `total`, now that the first byte is handed over; {} if unknown.

        A turn is counted once: another answer to it, or one that no speech asked for, has no such latency.
        Stamps of several hosts are compared: their clocks have to agree.
        """
        now_us = time.time_ns() // 1000
        stamps, self._unix_us = self._unix_us, {}
        before_us = start_us = stamps.get(pb.Stamp.GATEWAY_RECEIVED)
        if start_us is None or before_us is None:
            return {}
        spent_ms: dict[str, float] = {}
        for stage, name in STAGES.items():
            at_us = stamps.get(stage)
            if at_us is not None:
                spent_ms[name] = round((at_us - before_us) / 1000, 3)
                before_us = at_us
        spent_ms["to_client"] = round((now_us - before_us) / 1000, 3)
        for name, ms in spent_ms.items():
            STAGE.labels(name).observe(max(ms, 0) / 1000)
        spent_ms["total"] = round((now_us - start_us) / 1000, 3)
        OWN_LATENCY.observe(spent_ms["total"] / 1000)
        return spent_ms
