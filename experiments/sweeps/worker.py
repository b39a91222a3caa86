"""One point, in whatever process and on whatever machine runs it: a config goes in, results out.

Traces never travel: each process reads those it needs, and keeps the last ones.
"""

from __future__ import annotations

import socket
import threading
import time
import traceback

from prefetch_sim.experiments.sweeps.identity import Identity, identify
from prefetch_sim.experiments.sweeps.store import Outcome
from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.config.foreign import PolicyError
from prefetch_sim.sim.config.schema import RunConfig
from prefetch_sim.sim.run import run_inputs
from prefetch_sim.sim.setup import engine_choice, inputs
from prefetch_sim.sim.setup.engine_choice import Engine

# The traces that a process keeps hold what its runs have worked out, and are no two threads' at
# once. A worker of several threads runs one point at a time.
_one_at_a_time = threading.Lock()


def execute(config: RunConfig, engine: Engine, planned: Identity) -> Outcome:
    """Run one point. An exception of the run is an outcome, not the end of the sweep.

    Raises ConfigError where code or files are not those that the sweep was planned with: such a
    worker can give no result of this sweep.
    """
    with _one_at_a_time:
        began = time.perf_counter()
        result = error = None
        other: list[str] = []
        try:
            loaded = inputs.load(config)
            found = identify(loaded)
            other = [name for name, digest in planned.items() if found[name] != digest]
            if engine == "compiled" and not engine_choice.compilable(loaded):
                other.append("engines")
            if not other:
                result = run_inputs(loaded, one_of_many=True, engine=engine)
        except PolicyError as failed:
            error = f"{failed}\n\n{traceback.format_exc()}"
        except Exception:
            error = traceback.format_exc()
        if other:
            raise ConfigError(
                f"a worker on {socket.gethostname()} has other {' and '.join(other)} than this "
                "sweep was planned with"
            )
        return Outcome(result, error, round(time.perf_counter() - began, 3))
