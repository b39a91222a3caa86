# Needs only make and Python >= 3.11. Each target makes its own virtual environment.
PYTHON ?= python3
OUT ?= out/default
COUNT ?= 500

.PHONY: run results test lint bench fuzz damages clean

.venv/run.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv-test/test.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,capture]'
	@touch $@

run: .venv/run.stamp  ## sweep a bundled trace over predictors, evictions, kernels and hardware; table and figures
	.venv/bin/prefetch-sim sweep experiments/default.yaml --out $(OUT)
	.venv/bin/prefetch-sim plot $(OUT)

results: run  ## the same into the repository; tests/test_readme.py says what the README then quotes
	cp $(OUT)/results.csv $(OUT)/figures/*.png experiments/results/default/
	.venv/bin/prefetch-sim sweep experiments/recall_bandwidth.yaml --out out/recall_bandwidth
	cp out/recall_bandwidth/results.csv experiments/results/recall_bandwidth/
	.venv/bin/prefetch-sim plot out/recall_bandwidth --kind heat --x recall \
		--by hardware.host_link.gb_s --out experiments/results/recall_bandwidth/heat.png

lint: .venv-test/test.stamp
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy

test: lint  ## lint, types and every test
	.venv-test/bin/python -m pytest -n 2

bench: .venv-test/test.stamp  ## every speed in docs/benchmark.md; TRACE: a recording of GPT-OSS-20B
	.venv-test/bin/python -m prefetch_sim.experiments.benchmark --docs docs/benchmark.md $(if $(TRACE),--trace $(TRACE))

fuzz: .venv-test/test.stamp  ## COUNT bad inputs for each reader, as docs/limits.md has it
	cd tests && ../.venv-test/bin/python fuzz.py $(COUNT)

damages: .venv-test/test.stamp  ## damaged kernels, arrays and stores, small disks: docs/fuzz.log
	cd tests && ../.venv-test/bin/python damages.py

clean:
	rm -rf .venv .venv-test out
