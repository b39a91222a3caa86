"""How long the CPU takes for experts that it computes where they are, in host memory."""

from __future__ import annotations

from collections.abc import Sequence

from prefetch_sim.hardware_profiles import HardwareProfile, RuntimeProfile
from prefetch_sim.sim.cost.attention import BYTES
from prefetch_sim.traces.models.precision import Rate
from prefetch_sim.traces.models.spec import ModelSpec


class CpuCost:
    """Durations on the CPU of ``profile``, ns, each rounded once."""

    def __init__(
        self,
        model: ModelSpec,
        profile: HardwareProfile,
        runtime: RuntimeProfile,
        sizes: Sequence[int],
        rate: Rate,
    ) -> None:
        """``sizes`` [layer]: bytes of one expert, stored so that its products have ``rate``.

        The profile has a CPU, and so a host link.
        """
        cpu, link, shares = profile.cpu, profile.host_link, profile.contention
        assert cpu is not None
        assert link is not None
        bandwidth = (getattr(cpu.expert_gb_s, rate) or cpu.expert_gb_s.bf16).value
        self._flops = (getattr(cpu.tflops, rate) or cpu.tflops.bf16).value * 1e3
        self._bandwidth = bandwidth, bandwidth * (shares.cpu.value if shares else 1.0)
        self._expert_flops = 2.0 * model.expert_weights
        self._sizes = list(sizes)
        each_way = link.isolated_us.value * 1e3
        self._start = (runtime.cpu.submit_us.value + cpu.start_us.value) * 1e3 + 2 * each_way
        self._token = 2 * model.expert_width * BYTES / link.gb_s.value

    def fixed_ns(self, tokens: int) -> int:
        """Beside the experts, for a step of ``tokens``: hand over, start, states down and up."""
        return round(self._start + tokens * self._token)

    def expert_ns(self, layer: int, tokens: int, contended: bool) -> int:
        """One expert on ``tokens`` tokens; ``contended``: while the host link moves experts."""
        bandwidth = self._bandwidth[contended]
        return round(max(self._expert_flops * tokens / self._flops, self._sizes[layer] / bandwidth))
