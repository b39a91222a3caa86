"""An expert's weights follow from its id, so that whoever holds it can be checked to hold it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from prefetch_sim.sim.config.errors import ConfigError
from prefetch_sim.sim.setup.inputs import Inputs
from prefetch_sim.traces.models.precision import Precision

PAGE = 4096  # what reads past the page cache, and their targets, are multiples of
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
_SAMPLES = 64  # words of an expert that make its digest
_STEP = 61  # elements between the beginnings of two experts' weights


@dataclass(frozen=True)
class Layout:
    """How ``experts`` experts of ``hidden`` × ``width`` lie in memory, one like the other.

    One is gate and up, [2 width, hidden], then down, [hidden, width]; ``stride`` bytes lie between
    the beginnings of two, a multiple of a page.
    """

    experts: int
    hidden: int
    width: int
    precision: str
    seed: int = 0

    @classmethod
    def of(cls, inputs: Inputs) -> Layout:
        """That of a run's experts. Raises ConfigError where its weights cannot be computed with."""
        model = inputs.model
        stored = Precision.of(inputs.config.precision).over(model.precision).experts
        if stored not in DTYPES:
            raise ConfigError(
                f"precision.experts: a real device computes in {', '.join(DTYPES)} here, not in "
                f"{stored}: set precision"
            )
        whole = cls(
            model.moe_layers * model.experts,
            model.hidden,
            model.expert_hidden,
            stored,
            inputs.config.seed,
        )
        if set(inputs.sizes) != {whole.nbytes}:
            raise ConfigError(
                f"model: {model.name} says that an expert has {max(inputs.sizes):,} bytes, its "
                f"matrices in {stored} have {whole.nbytes:,}"
            )
        return whole

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.precision]

    @property
    def elements(self) -> int:
        return 3 * self.hidden * self.width

    @property
    def nbytes(self) -> int:
        return self.elements * int(self.dtype.itemsize)

    @property
    def stride(self) -> int:
        return -(-self.nbytes // PAGE) * PAGE

    def make(self, x: int, slot: torch.Tensor) -> None:
        """Fill ``slot``, uint8 [stride], with the weights of expert ``x``."""
        first, both = x * _STEP, 2 * self.width * self.hidden
        into, down = _sequences(self)
        flat = slot[: self.nbytes].view(self.dtype)
        flat[:both] = into[first : first + both]
        flat[both:] = down[first : first + self.elements - both]
        slot[self.nbytes :].zero_()

    def matrices(self, slot: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Views of the expert that lies in ``slot``: [2 width, hidden] and [hidden, width]."""
        flat = slot[: self.nbytes].view(self.dtype)
        both = 2 * self.width * self.hidden
        return flat[:both].view(2 * self.width, self.hidden), flat[both:].view(
            self.hidden, self.width
        )

    def samples(self, slot: torch.Tensor) -> torch.Tensor:
        """A view of some words of what lies in ``slot``, int32, which no two experts share."""
        words = slot[: self.nbytes].view(torch.int32)
        return words[:: max(1, len(words) // _SAMPLES)]


@lru_cache(maxsize=1)
def _sequences(layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    """One random sequence at two scales; each expert has a part of it.

    To draw other numbers for each takes minutes where experts are many gigabytes.
    """
    made = torch.Generator().manual_seed(layout.seed)
    length = 2 * layout.width * layout.hidden + _STEP * layout.experts
    found = torch.empty(length).uniform_(-(3**0.5), 3**0.5, generator=made)
    scaled = (found * size**-0.5 for size in (layout.hidden, layout.width))
    into, down = (values.to(layout.dtype) for values in scaled)
    return into, down
