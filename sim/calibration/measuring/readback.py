"""The routing's way to whoever decides: from the end of the gate until that thread knows of it."""

from __future__ import annotations

from prefetch_sim.sim.calibration.measuring.bench import Bench
from prefetch_sim.sim.calibration.samples import Findings, Samples, Stamp

_EXPERTS, _TOP_K = 128, 8


def measure(bench: Bench, stamp: Stamp, repeats: int) -> Findings:
    """``routing_us`` of a runtime: the deciding thread waits for a gate, as in a replay."""
    scores, chosen = bench.random(1, _EXPERTS), bench.ids(_TOP_K)

    def gate() -> None:
        chosen.copy_(scores.float().softmax(-1).topk(_TOP_K).indices, non_blocking=True)

    found = []
    for _ in range(repeats):
        mark = bench.device.compute("gate", gate)
        bench.device.until(mark)
        found.append(max(0.0, (bench.device.now - mark.end) / 1e3))
    note = "from the end of the gate until the deciding thread knows"
    return Findings(runtime={"routing_us": stamp.figure(Samples.of(found), note)})
