# `make help` lists what can be made. One dial: PROFILE=smoke|default|full (notebooks/profiles).
PROFILE ?= default
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PORT ?= 8000
PRESET ?= fullband-44k
# What `make results` measures on: empty for the test set, data/devset.csv while choosing.
PIECES ?=
# Extra package index for PyTorch, e.g. its CPU-only wheels: https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
# Where the environment lives. It may be shared by several checkouts: PYTHONPATH decides whose code runs.
VENV := $(or $(ENHANCELIB_VENV),.venv)
BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
export JUPYTER_PREFER_ENV_PATH := 1
# Threads that wait sleep instead of spinning: on a busy machine training is several times faster.
export OMP_WAIT_POLICY := passive
# uv leaves packages uncompiled: without caches each process would compile them again, seconds each.
unexport PYTHONDONTWRITEBYTECODE

# Written last, so that a half-made environment is never taken for a whole one.
ENVIRONMENT := $(VENV)/.made-from-lock-$(shell cksum < requirements.lock | cut -d' ' -f1)
TORCH := $(shell sed -n 's/^ *"\(torch==[0-9.]*\)",$$/\1/p' pyproject.toml)

PROFILES := $(basename $(notdir $(wildcard notebooks/profiles/*.yaml)))
$(if $(filter $(PROFILE),$(PROFILES)),,$(error no profile '$(PROFILE)': use one of $(PROFILES)))
RUN := data/runs/$(PROFILE)
CHAPTERS := $(sort $(basename $(notdir $(wildcard notebooks/[0-9]*.py))))
EXECUTED := $(CHAPTERS:%=$(RUN)/notebooks/%.ipynb)
# What a chapter's result may depend on: the library without its command line, and the audio.
CODE := $(shell find enhancelib -path enhancelib/cli -prune -o -type f -not -name '*.pyc' -print)
EXCERPTS := $(wildcard data/excerpts/*)

# The directory that receives html/; the tests build their smoke book elsewhere.
SITE := jupyter_book/_build
PAGES := $(shell find jupyter_book -type f -not -path '*/_build/*' -not -path '*/__pycache__/*')
BUILT := $(SITE)/.built-$(PROFILE)
# Pages that compute what they say: run like chapters, but always on the published weights and results.
LIVE := $(shell grep -rl --include='*.md' --exclude-dir=_build '^```{code-cell}' jupyter_book)
COMPUTED := $(LIVE:jupyter_book/%.md=data/runs/pages/%.ipynb)
COMPUTED_ALL := data/runs/pages/.done

.PHONY: help environment browser sound encoders notebooks chapters book serve linkcheck wheel format corpus items pretrain results \
	smaller peers executorch arm tips devices soak lint test lock clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:  ## This list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20
	@echo "  PROFILE=smoke|default|full, PRESET=fullband-44k|seed-22k, PYTHON=…, TORCH_INDEX=…, PORT=…, ENHANCELIB_VENV=… (see CONTRIBUTING.md)"

environment: $(ENVIRONMENT)  ## .venv with everything pinned in requirements.lock

$(ENVIRONMENT):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "error: Python 3.11 is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@# A set-up that was cut short may have left damaged caches of compiled code.
	@test -e $(VENV)/.made-from-lock-* || ! test -d $(VENV) || find $(VENV) -name '*.nb[ic]' -delete
	@rm -f $(VENV)/.made-from-lock-*
	@# Debian's python3 has no ensurepip without python3-venv: then let the outer pip do it.
	test -x "$(BIN)/python" || $(PYTHON) -m venv --without-pip $(VENV)
	"$(BIN)/python" -m pip --version >/dev/null 2>&1 || "$(BIN)/python" -m ensurepip >/dev/null 2>&1 \
	  || $(PYTHON) -m pip --python "$(BIN)/python" install --quiet pip \
	  || { echo "error: $(PYTHON) has neither pip nor ensurepip: apt install python3-pip" >&2; exit 1; }
	"$(BIN)/python" -m pip install --quiet --upgrade 'pip>=26'
	@echo "Installing $$(grep -c == requirements.lock) packages (5 GB, minutes on a first run)"
	@# uv takes a tenth of pip's processor time; pip knows mirrors that uv does not, so it helps out.
	"$(BIN)/python" -m pip install --quiet "$$(grep ^uv== requirements.lock)"
	"$(BIN)/python" -m uv pip install --quiet --python "$(BIN)/python" --no-deps --require-hashes -r requirements.hashes \
	  || "$(BIN)/python" -m pip install --progress-bar off --no-deps --require-hashes -r requirements.hashes
	"$(BIN)/python" -m pip install -c requirements.lock $(TORCH) $(TORCH_INDEX:%=--extra-index-url %)
	PYTHONPATH= "$(BIN)/python" -m pip install -qq --no-deps --no-build-isolation --editable .
	@# librosa compiles on first use; done once here, since parallel first runs damage its cache.
	"$(BIN)/python" -m tools.dev.warm_up
	@touch $@

browser:
	@"$(BIN)/python" -m tools.dev.browser

sound: $(ENVIRONMENT)
	@"$(BIN)/python" -m tools.dev.sound

encoders: $(ENVIRONMENT)
	@"$(BIN)/python" -m tools.dev.debian

notebooks: $(ENVIRONMENT)  ## Pair every notebooks/NN_name.py with its output-free .ipynb
	"$(BIN)/python" -m tools.dev.pair

# A chapter runs again when it, the code, the profile or a chapter whose files it reads has changed.
$(RUN)/notebooks/%.ipynb: notebooks/%.py notebooks/profiles/$(PROFILE).yaml tools/dev/run_chapter.py \
		$(CODE) $(ENVIRONMENT)
	@echo "== $* ($(PROFILE)) =="
	ENHANCELIB_AUDIO_DIR=$(RUN)/listen "$(BIN)/python" -m tools.dev.run_chapter $< $@ --profile $(PROFILE)

$(EXECUTED): $(EXCERPTS)
$(RUN)/notebooks/04_training.ipynb: $(RUN)/notebooks/01_data_synthesis.ipynb
$(RUN)/notebooks/05_measuring.ipynb: $(RUN)/notebooks/04_training.ipynb
$(RUN)/notebooks/06_spectral_evaluation.ipynb: $(RUN)/notebooks/05_measuring.ipynb
$(RUN)/notebooks/07_harm.ipynb: $(RUN)/notebooks/05_measuring.ipynb
$(RUN)/notebooks/08_worth.ipynb: $(RUN)/notebooks/04_training.ipynb
$(RUN)/notebooks/09_listening_test.ipynb: $(RUN)/notebooks/04_training.ipynb
$(RUN)/notebooks/10_edge_optimization.ipynb: $(RUN)/notebooks/04_training.ipynb
$(RUN)/notebooks/11_mobile_benchmarking.ipynb: $(RUN)/notebooks/10_edge_optimization.ipynb \
		$(wildcard data/results/devices/*.json)
# Chapters that read what was measured once, at length.
$(foreach number,04 05 06 07 08 10 11,$(filter $(RUN)/notebooks/$(number)_%,$(EXECUTED))): $(wildcard data/results/*.csv)

# The full profile leaves nothing as it came: corpus, training and measurements precede its chapters.
# Once: data/runs/full/.from-nothing says that it is done. Each step goes on where it was stopped; the
# training has a mark of its own, since its weights, once published, are what a next one begins with.
ifeq ($(PROFILE),full)
$(EXECUTED) $(COMPUTED_ALL): | $(RUN)/.from-nothing
endif
data/runs/full/.pretrained-$(PRESET):
	$(MAKE) pretrain
	@mkdir -p $(@D) && touch $@
data/runs/full/.from-nothing: | data/runs/full/.pretrained-$(PRESET)
	$(MAKE) results smaller tips
	@mkdir -p $(@D) && touch $@

chapters: $(EXECUTED)

# All in one kernel. After a change of what they compute with all pages run again, else those changed.
$(COMPUTED_ALL): $(LIVE) tools/publish/pages.py tools/dev/run_chapter.py $(CODE) $(ENVIRONMENT) $(EXCERPTS) \
		$(wildcard data/results/* data/devset/* data/testset/* data/*.csv tools/corpus/*.csv)
	ENHANCELIB_AUDIO_DIR=data/runs/pages/listen "$(BIN)/python" -m tools.publish.pages data/runs/pages \
	  $(if $(filter-out $(LIVE),$?),$(LIVE),$(filter $(LIVE),$?))
	@touch $@

book: $(BUILT)  ## Run the chapters and build the book
	@echo "The book is in $(SITE)/html: make serve shows it at http://localhost:$(PORT)"

$(BUILT): $(EXECUTED) $(COMPUTED_ALL) $(PAGES) CHANGELOG.md tools/dev/api_page.py tools/dev/device_page.py
	rm -rf $(RUN)/book $(SITE)/html $(SITE)/.built-*
	mkdir -p $(RUN)/book $(SITE)
	cp -R $(filter-out jupyter_book/_build,$(wildcard jupyter_book/*)) CHANGELOG.md figures $(RUN)/book
	mkdir -p $(RUN)/book/notebooks
	cp $(EXECUTED) $(RUN)/book/notebooks
	for page in $(LIVE:jupyter_book/%.md=%); do \
	  rm $(RUN)/book/$$page.md && cp data/runs/pages/$$page.ipynb $(RUN)/book/$$page.ipynb || exit 1; done
	"$(BIN)/python" -m tools.dev.api_page $(RUN)/book/reference
	jupyter-book build $(RUN)/book --all -W --keep-going --quiet
	mv $(RUN)/book/_build/html $(SITE)/html
	@# What the players load: the files that these notebooks name, and no older ones.
	mkdir -p $(SITE)/html/listen
	grep -oh 'listen/[0-9a-z.-]*' $(EXECUTED) | sort -u | sed 's#^#$(RUN)/#' \
	  | xargs -I {} cp {} $(SITE)/html/listen
	grep -oh 'listen/[0-9a-z.-]*' $(COMPUTED) | sort -u | sed 's#^#data/runs/pages/#' \
	  | xargs -I {} cp {} $(SITE)/html/listen
	"$(BIN)/python" -m tools.dev.device_page $(SITE)/html/device
	@touch $@

linkcheck: $(BUILT)  ## Ask every external address of the book whether it still answers (needs a network)
	jupyter-book build $(RUN)/book --builder linkcheck --quiet

serve:  ## Serve the built book on http://localhost:$PORT
	@test -f $(SITE)/html/index.html || { echo "error: no book yet: make book" >&2; exit 1; }
	@echo "http://localhost:$(PORT) (Ctrl+C stops)"
	@"$(BIN)/python" -m http.server $(PORT) --bind 127.0.0.1 --directory $(SITE)/html >/dev/null

wheel: $(ENVIRONMENT)  ## The installable package, weights inside, in dist/
	"$(BIN)/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build

format: $(ENVIRONMENT)  ## Format the code, repair what ruff can, pair the notebooks
	ruff format .
	ruff check --fix .
	"$(BIN)/python" -m tools.dev.pair

# RECORDINGS=FOLDER adds recorded voices and instruments, SMALL=1 leaves out the games' music (5.1 GB).
corpus: $(ENVIRONMENT)  ## The free training corpus in data/corpus (RECORDINGS=FOLDER, SMALL=1)
	"$(BIN)/python" -m tools.corpus data/corpus $(if $(SMALL),--small) $(if $(RECORDINGS),--recordings "$(RECORDINGS)")

items: corpus  ## Training items from the corpus in data/pretraining (7 GB; goes on)
	"$(BIN)/python" -m tools.research.items

pretrain: corpus  ## Train the published weights of PRESET on the corpus (an hour and more; goes on)
	"$(BIN)/python" -m tools.research.pretrain $(PRESET)
	"$(BIN)/python" -m tools.publish.weights $(PRESET)

# Untreated, the weights, and every file exported from them. PROFILE=smoke only shows that it works.
results: $(ENVIRONMENT)  ## Measure the published weights of PRESET on the test set, into data/results
ifeq ($(PROFILE),smoke)
	"$(BIN)/python" -m tools.measure results --preset $(PRESET) --effort smoke --output $(RUN)/results
else
	"$(BIN)/python" -m tools.measure results --preset $(PRESET) --effort $(PROFILE) $(PIECES:%=--pieces %)
	"$(BIN)/python" -m tools.measure chain --preset $(PRESET) $(PIECES:%=--pieces %)
	"$(BIN)/python" -m tools.measure peers.denoisers --preset $(PRESET) $(PIECES:%=--pieces %)
ifeq ($(PIECES),)
	"$(BIN)/python" -m tools.measure cost --preset $(PRESET)
	"$(BIN)/python" -m tools.publish.report --preset $(PRESET)
endif
endif

tips: $(ENVIRONMENT)  ## Measure each performance tip, into data/results (minutes, on a quiet machine)
	"$(BIN)/python" -m tools.measure tips --preset $(PRESET)

devices: $(ENVIRONMENT) browser  ## Measure the device page on this machine and on parts of a core
	"$(BIN)/python" -m tools.measure devices

smaller: $(ENVIRONMENT)  ## Quantise, prune and measure PRESET in every way, into data/results
	"$(BIN)/python" -m tools.measure smaller --preset $(PRESET)

peers: $(ENVIRONMENT)  ## Speed of PRESET beside packaged real-time enhancers, into data/results
	"$(BIN)/python" -m tools.measure peers.speed --preset $(PRESET)

executorch: $(ENVIRONMENT)  ## Export PRESET to ExecuTorch and measure it, into data/results
	"$(BIN)/python" -m tools.measure peers.pte --preset $(PRESET)

arm: $(ENVIRONMENT)  ## Run PRESET on an emulated ARM core: agreement and instructions, into data/results
	"$(BIN)/python" -m tools.measure peers.arm --preset $(PRESET)

soak: $(ENVIRONMENT) sound  ## Speed, memory, kills, hours of music, into data/results (40 minutes)
	"$(BIN)/python" -m tools.measure soaks.making
	"$(BIN)/python" -m tools.measure soaks.streaming

lint: $(ENVIRONMENT)  ## Format and style, import layers, types, notebook pairs
	ruff format --check .
	ruff check .
	lint-imports
	mypy
	"$(BIN)/python" -m tools.dev.pair --check

test: $(ENVIRONMENT) browser sound encoders lint  ## Everything that must hold: lint, units, chapters, book in a browser
	"$(BIN)/python" -m pytest --numprocesses auto --maxprocesses 4 --no-loadscope-reorder

# UPGRADE='numpy scipy' takes the newest version of these; all others stay as long as they fit.
lock: $(ENVIRONMENT)  ## Pin what pyproject.toml needs in requirements.lock (UPGRADE='NAME …')
	"$(BIN)/python" -m tools.dev.lock $(UPGRADE)

clean:  ## Remove what was made, except the environment
	rm -rf dist data/runs jupyter_book/_build .pytest_cache .ruff_cache .import_linter_cache .mypy_cache
