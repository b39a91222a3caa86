"""``python -m prefetch_sim.experiments.predictor_study``: see the package."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from prefetch_sim.experiments.predictor_study.render import render

RESULTS = Path(__file__).parents[1] / "results" / "predictors"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m prefetch_sim.experiments.predictor_study")
    steps = parser.add_subparsers(dest="step", required=True)
    one = steps.add_parser("measure", help="train and score on one bundled model")
    one.add_argument("name")
    one.add_argument(
        "--work", type=Path, required=True, help="what prefetch_sim.traces.twins was given"
    )
    one.add_argument(
        "--recorded", action="store_true", help="only what the trace has, and what counts on it"
    )
    write = steps.add_parser("render", help="write the page from the results")
    write.add_argument("--docs", type=Path, default=Path("docs/predictors.md"))
    given = parser.parse_args(arguments)
    if given.step == "measure":
        from prefetch_sim.experiments.predictor_study.measure import measure, measure_recorded
        from prefetch_sim.traces.format import read_trace
        from prefetch_sim.traces.samples import sample_path

        if given.recorded:
            found = measure_recorded(read_trace(sample_path(given.name)), given.work)
        else:
            found = measure(given.work)
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{given.name}.json").write_text(json.dumps(found, indent=1) + "\n")
    else:
        results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
        given.docs.write_text(render(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
