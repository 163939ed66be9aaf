"""A language model in this process: a small one that tells stories, through the service and through the engine."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bus.errors import ConfigurationError, EngineError, InvalidRequestError
from bus.tasks import TaskHandler
from proto.v1 import speech_pb2 as pb
from services.llm.engine import Done, Mode, Reason, Request, Text, Tool
from services.llm.engines.transformers import Engine, Settings
from services.llm.local.alone import Alone
from services.llm.local.batches import Batches
from services.llm.local.decoding import Asked
from services.llm.service import Generation
from tests.services.llm.asking import ask, talk, user
from tests.support.bus import serving

pytest.importorskip("transformers", reason="transformers is not installed (make test-engines installs it)")

TIMER = Tool("timer", "Set a timer.", {"type": "object", "properties": {"minutes": {"type": "integer"}}})
# The least that a template needs to be one that knows tools.
TEMPLATE = "{% for m in messages %}{{ m.content }} {% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}"


@pytest.fixture
def settings(models: Path) -> Settings:
    folder = models / "stories260K-hf"
    if not folder.is_dir():
        pytest.skip(f"no model beside the project ({models.name}/{folder.name})")
    return Settings(model=str(folder), device="cpu", cpu_threads=1, cache_tokens=4096, max_output_tokens=24)


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    engine = Engine(settings)
    await engine.load()
    yield engine
    await engine.stop()


def changed(whole: str, folder: Path, **files: str | None) -> Path:
    """Fill *folder* with the files of *whole*, but those in *files*: with other text, or without them."""
    folder.mkdir()
    for file in Path(whole).iterdir():
        if file.stem not in files:
            (folder / file.name).symlink_to(file)
        elif (text := files[file.stem]) is not None:
            (folder / file.name).write_text(text)
    return folder


def config(whole: str, **values: Any) -> str:
    return json.dumps(json.loads((Path(whole) / "config.json").read_text()) | values)


class Canned:
    """Decodes to what is written, token by token, and keeps what it was asked."""

    def __init__(self, engine: Engine, written: str) -> None:
        self._tokens = [*engine._tokenizer.encode(written, add_special_tokens=False), *engine._ends]
        self.asked: Asked | None = None
        engine._decoder = self

    async def tokens(self, asked: Asked) -> AsyncGenerator[list[int], None]:
        self.asked = asked
        for token in self._tokens[: asked.tokens]:
            yield [token]

    async def stop(self) -> None:
        pass


async def test_it_says_what_it_is(settings: Settings) -> None:
    engine = Engine(settings)
    able = await engine.load()
    assert isinstance(engine._decoder, Batches)
    await engine.stop()
    await engine.stop()
    assert (able.model, able.tools, able.images) == (settings.model, False, False)


async def test_an_answer_is_what_the_model_writes_word_by_word(engine: Engine) -> None:
    answer = await ask(engine, talk("Tell me about a cat."))
    assert len(answer.words) > 10
    assert answer.text == answer.text.lstrip()
    assert answer.done is not None
    assert (answer.done.reason, answer.done.usage.output_tokens) == (Reason.MAX_OUTPUT_TOKENS, 24)
    assert answer.done.usage.input_tokens > 10
    assert (await ask(engine, talk("Tell me about a cat."))).text == answer.text


@pytest.mark.parametrize("allowed", [1, 5])
async def test_no_more_tokens_come_than_are_allowed(engine: Engine, allowed: int) -> None:
    whole = await ask(engine, talk("Tell me about a cat."))
    short = await ask(engine, replace(talk("Tell me about a cat."), max_output_tokens=allowed))
    assert whole.text.startswith(short.text)
    assert short.done is not None
    assert (short.done.reason, short.done.usage.output_tokens) == (Reason.MAX_OUTPUT_TOKENS, allowed)


async def test_conversations_at_once_do_not_mix(engine: Engine) -> None:
    requests = [talk(f"Tell me about {what}.") for what in ("a cat", "the sun", "two dogs", "a red ball")]
    one_by_one = [(await ask(engine, request)).text for request in requests]
    assert [
        answer.text for answer in await asyncio.gather(*(ask(engine, request) for request in requests))
    ] == one_by_one


@pytest.mark.parametrize(
    "request_", [Request(), talk(""), talk("\N{GRINNING FACE} Grüße \u4f60\u597d"), talk("a\x00b")]
)
async def test_whatever_was_said_is_answered(engine: Engine, request_: Request) -> None:
    assert (await ask(engine, request_)).done is not None


async def test_a_conversation_longer_than_the_context_is_trimmed_and_one_message_is_refused(engine: Engine) -> None:
    long = await ask(engine, talk(*["I like stories about cats."] * 99))
    assert long.done is not None
    assert 200 < long.done.usage.input_tokens <= 512 - 24
    with pytest.raises(InvalidRequestError, match="--context_tokens"):
        await ask(engine, talk("cat " * 2000))
    assert (await ask(engine, talk("Hi."))).done is not None


async def test_temperature_changes_the_answer(engine: Engine) -> None:
    request = talk("Tell me about a cat.")
    greedy = (await ask(engine, request)).text
    assert (await ask(engine, replace(request, temperature=40.0))).text != greedy
    assert (await ask(engine, replace(request, temperature=0.0))).text == greedy
    engine._temperature = 40.0  # as --temperature would
    assert (await ask(engine, request)).text != greedy


async def test_a_closed_stream_frees_its_place(engine: Engine) -> None:
    async with aclosing(engine.generate(talk("Tell me about a cat."))) as pieces:
        assert isinstance(await anext(pieces), Text)
    assert [piece async for piece in pieces] == []
    assert (await ask(engine, talk("Hi."))).done is not None


async def test_a_cancel_through_the_service_is_followed_by_nothing(settings: Settings) -> None:
    told = settings.model_copy(update={"max_output_tokens": 400})
    async with serving(TaskHandler(Generation("transformers", Engine(told))), engine="transformers") as (gateway, bus):
        said = pb.Message(author=pb.Message.USER, parts=[pb.Part(text="Tell me about a cat.")])
        header = pb.Header(session_id="s1", response_id="r1")
        gateway.send(bus, header, generation_request=pb.GenerationRequest(messages=[said]))
        await gateway.next("text_delta")
        gateway.send(bus, header, cancel=pb.Cancel())
        after = pb.Header(session_id="s1", response_id="r2")
        request = pb.GenerationRequest(messages=[said], max_output_tokens=5)
        gateway.send(bus, after, generation_request=request)
        done = await gateway.next("generation_done", "error")
    assert done.header.response_id == "r2"
    assert done.generation_done.usage.output_tokens == 5
    ids = [frame.header.response_id for body, frame in gateway.received if body == "text_delta"]
    assert ids == sorted(ids)


async def test_tools_go_through_the_template_and_calls_come_back(settings: Settings, tmp_path: Path) -> None:
    tokenizer = json.dumps(
        json.loads((Path(settings.model) / "tokenizer_config.json").read_text()) | {"chat_template": TEMPLATE}
    )
    folder = changed(settings.model, tmp_path / "model", tokenizer_config=tokenizer)
    engine = Engine(settings.model_copy(update={"model": str(folder), "max_output_tokens": 200}))
    assert (await engine.load()).tools
    assert engine._decoder is not None
    await engine._decoder.stop()
    canned = Canned(
        engine, '<think>A timer.</think><tool_call>{"name": "timer", "arguments": {"minutes": 5}}</tool_call>'
    )
    answer = await ask(engine, talk("Five minutes.", tools=(TIMER,)))
    assert canned.asked is not None
    assert '"name": "timer"' in engine._tokenizer.decode(canned.asked.prompt)
    assert [(call.name, json.loads(call.arguments)) for call in answer.calls] == [("timer", {"minutes": 5})]
    assert (answer.text, answer.done and answer.done.reason) == ("", Reason.TOOL_CALLS)
    none = await ask(engine, replace(talk("Five minutes.", tools=(TIMER,)), tool_choice=Mode.NONE))
    assert none.calls == []
    Canned(engine, "<tool_call>five minutes</tool_call>")
    with pytest.raises(EngineError, match="tool call"):
        await ask(engine, talk("Five minutes.", tools=(TIMER,)))


async def test_what_the_model_writes_for_the_user_is_not_said(engine: Engine) -> None:
    assert engine._decoder is not None
    await engine._decoder.stop()
    Canned(engine, " Hello.\nUser: And you?")
    answer = await ask(engine, talk("Hi."))
    assert (answer.text, answer.done and answer.done.reason) == ("Hello.", Reason.STOP)


async def test_a_model_that_cannot_be_batched_answers_one_after_the_other(settings: Settings, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, MambaConfig, MambaForCausalLM

    MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=512)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(settings.model).save_pretrained(tmp_path)
    engine = Engine(settings.model_copy(update={"model": str(tmp_path)}))
    await engine.load()
    assert isinstance(engine._decoder, Alone)
    answers = await asyncio.gather(*(ask(engine, talk("Hi.")) for _ in range(3)))
    await engine.stop()
    assert all(isinstance(answer.done, Done) for answer in answers)
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.parametrize(
    ("files", "remedy"),
    [
        ({"config": None}, r"model folder .*/model cannot be loaded: .*config"),
        ({"config": "no JSON"}, r"model folder .*/model cannot be loaded"),
        ({"model": None}, r"model folder .*/model cannot be loaded: .*safetensors"),
        ({"model": "no weights"}, r"model folder .*/model cannot be loaded"),
        ({"tokenizer": "no JSON"}, r"model folder .*/model cannot be loaded"),
        ({"config": '{"model_type": "wav2vec2"}'}, r"/model is a wav2vec2 model, which writes no text"),
        ({"config": '{"model_type": "from the future"}'}, r"model folder .*/model cannot be loaded: .*from the future"),
    ],
    ids=str,
)
async def test_a_broken_folder_is_named(settings: Settings, tmp_path: Path, files: Any, remedy: str) -> None:
    folder = changed(settings.model, tmp_path / "model", **files)
    with pytest.raises(ConfigurationError, match=remedy) as caught:
        await Engine(settings.model_copy(update={"model": str(folder)})).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [{"num_hidden_layers": 9}, {"hidden_size": 128}])
async def test_weights_of_another_model_are_not_taken(settings: Settings, tmp_path: Path, values: Any) -> None:
    folder = changed(settings.model, tmp_path / "model", config=config(settings.model, **values))
    with pytest.raises(ConfigurationError, match="cannot be loaded") as caught:
        await Engine(settings.model_copy(update={"model": str(folder)})).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("told", "remedy"),
    [
        ({"model": "/no/such/folder"}, "no model folder /no/such/folder"),
        ({"model": "./nothing"}, "no model folder ./nothing"),
        ({"device": "cuda:77"}, "--device cuda:77 is not there; use cpu"),
    ],
)
async def test_a_setting_that_cannot_work_is_told_in_one_line(
    settings: Settings, told: dict[str, str], remedy: str
) -> None:
    with pytest.raises(ConfigurationError, match=remedy) as caught:
        await Engine(settings.model_copy(update=told)).load()
    assert "\n" not in str(caught.value)


async def test_a_hub_out_of_reach_is_told(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    told = settings.model_copy(update={"model": "somebody/model", "download_root": str(tmp_path)})
    with pytest.raises(ConfigurationError, match=r"'somebody/model' cannot be loaded from the hub; give a local"):
        await Engine(told).load()


async def test_a_missing_package_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.pretrained.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install -r services/llm/requirements/transformers\.txt"):
        await Engine(Settings()).load()


async def test_an_engine_that_is_not_loaded_says_so(settings: Settings) -> None:
    with pytest.raises(EngineError, match="not loaded"):
        await ask(Engine(settings), Request(messages=(user("Hi."),)))


def test_template_options_are_a_json_object() -> None:
    assert Settings(template_options='{"enable_thinking": false}')
    for wrong in ("[]", "no JSON"):
        with pytest.raises(ValidationError):
            Settings(template_options=wrong)
