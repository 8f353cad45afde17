# Each target sets up what it needs in .venv and changes nothing outside this directory.
PYTHON ?= python3
TIER ?=
CONFIG ?=
CORES ?= all
OUT ?=
PROFILE ?=
GPUS ?=
REPORT ?=

# Snakemake takes no profile at all for one that it does not find, and so would run everything on this machine.
$(if $(PROFILE),$(if $(wildcard profiles/$(PROFILE)/config.yaml),,$(error PROFILE: got $(PROFILE), expected one of $(notdir $(wildcard profiles/*)))))
$(if $(CONFIG),$(if $(wildcard $(CONFIG)),,$(error CONFIG: $(CONFIG): no such file, expected one with keys of config/config.yaml)))

.PHONY: help setup study test test-browser test-slurm benchmark lint docs

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14

setup: .venv/study.stamp $(if $(filter slurm%,$(PROFILE)),.venv/slurm.stamp) ## set up .venv and run nothing: make setup [PROFILE=slurm]

study: .venv/study.stamp $(if $(filter slurm%,$(PROFILE)),.venv/slurm.stamp) ## run the study: make study [TIER=smoke] [CONFIG=mine.yaml] [OUT=results/mine] [CORES=2] [PROFILE=slurm] [GPUS=4]
	. .venv/bin/activate && $(if $(filter slurm%,$(PROFILE)),python -m schemenets.study.cluster &&) \
	  $(if $(CONFIG),schemenets plan --config "$(CONFIG)" $(if $(TIER),--tier $(TIER)) &&) \
	  snakemake --cores $(CORES) $(if $(PROFILE),--workflow-profile "profiles/$(PROFILE)") $(if $(GPUS),--resources gpu=$(GPUS)) $(if $(CONFIG),--configfile "$(CONFIG)") \
	  $(if $(TIER)$(OUT),--config) $(if $(TIER),tier=$(TIER)) $(if $(OUT),"out=$(OUT)")

test: .venv/test.stamp ## run the quick tests: make test [ARGS="-k kernels"]
	. .venv/bin/activate && OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder $(ARGS)

test-browser: .venv/test.stamp .venv/plugins/browser ## check report and documentation in Chromium: make test-browser [REPORT=results/mine/report.html]
	. .venv/bin/activate && OMP_NUM_THREADS=1 PYTHONPATH="$$PWD/.venv/plugins/browser" $(if $(REPORT),REPORT="$(REPORT)") \
	  python -m pytest -m browser tests/browser $(ARGS)

test-slurm: .venv/test.stamp .venv/plugins/slurm ## run the study as jobs on a cluster of one node, which takes root and the packages slurm-wlm and munge
	. .venv/bin/activate && OMP_NUM_THREADS=1 PYTHONPATH="$$PWD/.venv/plugins/slurm" python -m pytest -m slurm tests/slurm $(ARGS)

benchmark: .venv/test.stamp ## compare training with plain torch, and solvers with each other, on one idle core: make benchmark [OUT=results/benchmark]
	. .venv/bin/activate && export OMP_NUM_THREADS=1 && python -m benchmarks --out "$(or $(OUT),results/benchmark)/benchmark.csv" \
	  && python -m benchmarks.solvers --out "$(or $(OUT),results/benchmark)/solver_benchmark.csv"

lint: .venv/test.stamp ## check style, types and workflow
	. .venv/bin/activate && ruff check . && ruff format --check . && mypy \
	  && snakefmt --check Snakefile workflow && snakemake --lint --config tier=smoke

docs: .venv/docs.stamp ## build the documentation, offline
	. .venv/bin/activate && OMP_NUM_THREADS=1 sphinx-build -W --keep-going -b html docs docs/_build/html
	@echo "The documentation is docs/_build/html/index.html"

.venv/study.stamp: requirements/study.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --requirement requirements/study.txt
	.venv/bin/python -m pip install --no-deps --editable .
	touch $@

.venv/slurm.stamp: .venv/study.stamp requirements/slurm.txt
	.venv/bin/python -m pip install --requirement requirements/slurm.txt
	touch $@

# Packages for some tests, beside the environment: Snakemake imports all plugins it finds, and pandas with that of SLURM,
# at every start; the browser's are large.
.venv/plugins/%: requirements/%.txt .venv/study.stamp
	rm -rf $@
	.venv/bin/python -m pip install --no-deps --target $@ $$(sed '/^[-#]/d' $<)
	touch $@

.venv/test.stamp: .venv/study.stamp requirements/test.txt
	.venv/bin/python -m pip install --requirement requirements/test.txt
	touch $@

.venv/docs.stamp: .venv/study.stamp requirements/docs.txt
	.venv/bin/python -m pip install --requirement requirements/docs.txt
	touch $@
