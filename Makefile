# What a person can ask of the project. `make` alone lists it.
# VENV: where the environment is made. PYTHON: the Python to make it with. ARGS: more flags for run, demo and test.
# MINUTES: how long to fuzz, or to soak.

VENV ?= .venv
PYTHON ?= python3
ARGS ?=
MINUTES ?= 10

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --prefer-binary
# The engines that need no download but their package. Silero declares torch, which we do not need: see its file.
ENGINES := services/asr/requirements/pocketsphinx.txt services/tts/requirements/flite.txt \
           services/tts/requirements/espeak-ng.txt
# Those that are heavy or need a model, and what tests them. Piper is GPL: nothing else may install it.
HEAVY := services/asr/requirements/faster-whisper.txt services/asr/requirements/transformers.txt \
         services/llm/requirements/transformers.txt services/tts/requirements/transformers.txt \
         services/tts/requirements/kokoro.txt services/tts/requirements/piper.txt \
         services/vad/requirements/silero-torch.txt services/vad/requirements/silero-onnx.txt \
         services/vad/requirements/smart-turn.txt
ENGINE_TESTS := tests/services/asr/engines/test_faster_whisper.py tests/services/asr/whisper \
                tests/services/asr/engines/test_transformers.py tests/launcher/bench/test_whisper.py \
                tests/services/llm/engines/test_transformers.py tests/services/llm/local \
                tests/services/tts/engines/test_transformers.py tests/services/tts/engines/test_kokoro.py \
                tests/services/tts/engines/test_piper.py tests/services/tts/engines/test_contract.py \
                tests/services/vad/engines tests/services/vad/end_of_turn
# Before the rest, so that nothing that needs some torch brings another: this one is small where there is no GPU.
TORCH := torch==2.13.0
# What their tests make small models with.
MODEL_MAKERS := onnx
NO_DEPS := services/vad/requirements/silero.txt
# What apt gives: the better of the two embedded voices.
HAS_FLITE := $(PYTHON) -c "import ctypes; [ctypes.CDLL(f'lib{n}.so.1') for n in ('flite', 'flite_cmu_us_slt')]" 2>/dev/null

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup system run demo test test-engines test-containers images fuzz chaos soak lint check proto bench bench-bus bench-barge-in bench-realtime \
        bench-whisper bench-vad clean load-vad load-asr load-llm load-tts load-gateway load-e2e
.PHONY: lint-format lint-code lint-types lint-layers lint-generated

help: ## list these targets
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(VENV)/.setup ## make the environment, with the command speech-to-speech in it

system: ## install what apt must give; without it, espeak-ng speaks
	@if $(HAS_FLITE); then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then how=; \
	elif [ "$$(id -u)" = 0 ]; then how=env; \
	elif sudo -n true 2>/dev/null; then how="sudo -n env"; fi; \
	if [ -n "$$how" ]; then \
	  echo "installing libflite1, the embedded voice"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  $$how apt-get -qq update >/dev/null; \
	  $$how DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends libflite1 >/dev/null; \
	fi; \
	$(HAS_FLITE) || echo "flite is not installed, so espeak-ng speaks. For the better voice: apt-get install libflite1"

run: setup system ## serve both modes with the embedded engines (ARGS="--mode websocket --ws_port 9000")
	@$(BIN)/speech-to-speech $(ARGS)

demo: setup system ## the same, ask it a question by voice, write the answer to reply.wav
	@$(BIN)/speech-to-speech demo $(ARGS)

images: ## build the images of compose.yaml, with the embedded engines (ASR_ENGINE=faster-whisper: with another)
	docker compose build $(ARGS)

test: $(VENV)/.test system ## pass the tests (ARGS="-k barge_in")
	$(BIN)/python -m pytest -q -n 2 $(ARGS)

test-engines: $(VENV)/.engines ## install the heavy engines and pass their tests, which are skipped without them
	$(BIN)/python -m pytest -q -n 2 $(ENGINE_TESTS) $(ARGS)

test-containers: $(VENV)/.test ## build the images, run the suite in containers and pass its tests (needs Docker)
	$(BIN)/python -m pytest -q -m containers tests/containers $(ARGS)

lint: lint-format lint-code lint-types lint-layers lint-generated ## format, linter, types, layers, generated code

lint-format: $(VENV)/.check
	$(BIN)/ruff format --check .
lint-code: $(VENV)/.check
	$(BIN)/ruff check .
lint-types: $(VENV)/.check
	$(BIN)/mypy
lint-layers: $(VENV)/.check
	$(BIN)/lint-imports
lint-generated: $(VENV)/.check
	$(BIN)/python -m pytest -q tests/proto

fuzz: $(VENV)/.test ## send anything to every inbox and port, with other examples each time (MINUTES=10)
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

chaos: setup ## kill and pause services under 16 live conversations (ARGS=--single, --replace or --overload: other trials)
	$(BIN)/python -m launcher.chaos $(ARGS)

soak: setup ## look for what leaks while people come and go and services are replaced (MINUTES=5)
	$(BIN)/python -m launcher.bench.soak $(if $(filter file,$(origin MINUTES)),,--minutes $(MINUTES)) $(ARGS)

check: lint test ## everything that has to pass before a change is offered

proto: $(VENV)/.check ## make proto/v1/speech_pb2.py and .pyi anew from speech.proto
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -I. --python_out=. --mypy_out=. proto/v1/speech.proto

bench: setup ## everything that is promised, in one table (ARGS="--only bus latency", --quick, --full, --json FILE)
	$(BIN)/python -m launcher.bench.table $(ARGS)

bench-bus: setup ## what a hop on the bus costs, against bare ZeroMQ
	$(BIN)/python -m launcher.bench.bus $(ARGS)

bench-barge-in: setup ## how fast an interruption silences the voice
	$(BIN)/python -m launcher.bench.barge_in $(ARGS)

bench-realtime: setup ## a hundred Realtime sessions at once: latency, CPU, memory
	$(BIN)/speech-to-speech load gateway --sessions 100 --seconds 30 --barge_ins 0 $(ARGS)

bench-whisper: $(VENV)/.engines ## what batches and cut windows save of Whisper's CPU seconds (installs the heavy engines)
	$(BIN)/python -m launcher.bench.whisper $(ARGS)

bench-vad: $(VENV)/.engines ## windows a second of the Silero engines, one to 512 at a time (installs the heavy engines)
	$(BIN)/python -m launcher.bench.vad $(ARGS)

# Each under a minute; docs/performance.md tells how to read what they print (ARGS="--sessions 200 --html page.html").
load-vad: setup ## load the vad alone: live audio of a hundred people
load-asr: setup ## load the asr alone (ARGS="--engine pocketsphinx --sessions 2")
load-llm: setup ## load the llm alone
load-tts: setup ## load the tts alone (ARGS="--engine espeak-ng")
load-gateway: setup ## load the gateway: fifty Realtime clients, scripted asr, llm and tts
load-e2e: setup ## load the whole suite with the embedded engines
load-vad load-asr load-llm load-tts load-gateway load-e2e:
	@$(BIN)/speech-to-speech load $(@:load-%=%) $(ARGS)

clean: ## remove the environment and everything that was made
	rm -rf $(VENV) build *.egg-info reply.wav .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf tests/e2e/realtime/agents-js/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- stamps: what was installed, and from what ------------------------------------------------------------------------

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.setup: pyproject.toml $(ENGINES) $(NO_DEPS) | $(BIN)/python
	@echo "installing packages into $(VENV) (once; a minute or two)"
	@$(PIP) -e '.[gateway,launcher]' $(ENGINES:%=-r %)
	@$(PIP) --no-deps $(NO_DEPS:%=-r %)
	@touch $@

$(VENV)/.test: $(VENV)/.setup
	@$(PIP) -e '.[gateway,launcher,test]'
	@touch $@

$(VENV)/.engines: $(VENV)/.test $(HEAVY)
	@echo "installing heavy engines into $(VENV)"
	@$(PIP) $(TORCH)
	@$(PIP) $(HEAVY:%=-r %) $(MODEL_MAKERS)
	@touch $@

$(VENV)/.check: $(VENV)/.test
	@$(PIP) -e '.[gateway,launcher,test,check]'
	@touch $@
