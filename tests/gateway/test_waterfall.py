"""The latency of a turn, stage by stage."""

import time

from gateway.waterfall import Waterfall
from proto.v1 import speech_pb2 as pb


def header(stamps: dict[pb.Stamp.Stage.ValueType, int]) -> pb.Header:
    """Return a header with stamps so many ms after some point in the past."""
    start_us = time.time_ns() // 1000 - 1_000_000
    return pb.Header(stamps=[pb.Stamp(stage=stage, unix_us=start_us + ms * 1000) for stage, ms in stamps.items()])


def test_nothing_is_known_without_the_first_stamp() -> None:
    waterfall = Waterfall()
    waterfall.add(header({pb.Stamp.VAD_DECIDED: 10}))
    assert waterfall.finish() == {}


def test_each_stage_lasts_from_the_one_before_it_to_its_stamp() -> None:
    waterfall = Waterfall()
    waterfall.add(
        header(
            {
                pb.Stamp.GATEWAY_RECEIVED: 0,
                pb.Stamp.VAD_DECIDED: 2,
                pb.Stamp.ASR_ENDED: 3,
                pb.Stamp.ASR_FINAL: 50,
                pb.Stamp.LLM_STARTED: 51,
                pb.Stamp.LLM_FIRST_TOKEN: 151,
                pb.Stamp.TTS_STARTED: 152,
                pb.Stamp.TTS_FIRST_AUDIO: 170,
            }
        )
    )
    spent = waterfall.finish()
    assert list(spent) == ["vad", "to_asr", "asr", "to_llm", "llm", "to_tts", "tts", "to_client", "total"]
    assert [spent[stage] for stage in list(spent)[:7]] == [2, 1, 47, 1, 100, 1, 18]
    assert spent["total"] >= 1000  # the start lies a second back
    assert abs(sum(spent.values()) - 2 * spent["total"]) < 0.01


def test_a_stage_that_left_no_stamp_counts_to_the_next() -> None:
    waterfall = Waterfall()
    waterfall.add(header({pb.Stamp.GATEWAY_RECEIVED: 0, pb.Stamp.ASR_FINAL: 50}))
    spent = waterfall.finish()
    assert list(spent) == ["asr", "to_client", "total"]
    assert spent["asr"] == 50


def test_the_first_stamp_of_a_stage_counts() -> None:
    waterfall = Waterfall()
    early = header({pb.Stamp.GATEWAY_RECEIVED: 0, pb.Stamp.LLM_FIRST_TOKEN: 100})
    waterfall.add(early)
    waterfall.add(header({pb.Stamp.LLM_FIRST_TOKEN: 900}))
    assert waterfall.finish()["llm"] == 100


def test_a_turn_is_counted_once() -> None:
    waterfall = Waterfall()
    waterfall.add(header({pb.Stamp.GATEWAY_RECEIVED: 0}))
    assert waterfall.finish()
    waterfall.add(header({pb.Stamp.LLM_FIRST_TOKEN: 100}))
    assert waterfall.finish() == {}
