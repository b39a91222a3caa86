"""A small trace and ways to call the command, for the tests of what a user touches."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import yaml

from prefetch_sim.experiments import heartbeat
from prefetch_sim.experiments.cli import main
from prefetch_sim.traces.format import Prediction, PredictionInfo, Trace, write_trace
from prefetch_sim.traces.models.spec import GroupedQueryAttention, ModelSpec
from prefetch_sim.traces.synthetic import synthesise

ROOT = Path(__file__).parents[1]

MODEL = ModelSpec(
    name="tiny",
    layers=4,
    hidden=256,
    experts=8,
    top_k=2,
    expert_hidden=512,
    attention=GroupedQueryAttention(heads=4, kv_heads=2, head_dim=64),
    vocab=1000,
)
BASE: dict[str, Any] = {"hardware": "a100-pcie-40gb", "cache": {"capacity": "50%"}}


def small_trace(path: Path, requests: int = 3, decode: int = 8) -> Trace:
    """A trace of MODEL at ``path`` with one recorded predictor, ``guess``: right every time."""
    trace = synthesise(
        MODEL, requests=requests, prompt=4, decode=decode, skew=0.5, reuse=0.3, seed=1
    )
    info = PredictionInfo(trigger="gate_input", distance=1, flops=0, bytes=0, description="exact")
    trace.meta = trace.meta.model_copy(update={"predictions": {"guess": info}})
    scores = np.full(trace.experts.shape, 0.5, np.float16)
    trace.predictions["guess"] = Prediction(info, trace.experts, scores)
    write_trace(path, trace)
    return trace


def write_config(path: Path, **keys: Any) -> Path:
    path.write_text(yaml.safe_dump(BASE | keys, sort_keys=False), encoding="utf-8")
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "prefetch_sim.experiments.cli", *map(str, arguments)]


def environment(**extra: str) -> dict[str, str]:
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | extra


def call(*arguments: object, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """``prefetch-sim`` with ``arguments`` in its own process, with ``extra`` in its environment."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def run_cli(*arguments: object) -> Ended:
    """The command in this process: quick, where what it imports takes seconds."""
    out, err = io.StringIO(), io.StringIO()
    # No line of progress, which a busy machine would have after some seconds.
    quiet = patch.multiple(heartbeat, EVERY=3600.0, _SLOWEST=3600.0)
    with redirect_stdout(out), redirect_stderr(err), quiet:
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def here(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What ``call`` gives, from this process, which has imported everything: in no time."""
    with chdir(cwd):
        ended = run_cli(*arguments)
    return subprocess.CompletedProcess(arguments, ended.code, ended.out, ended.err)
