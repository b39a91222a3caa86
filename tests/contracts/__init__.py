"""What every policy must keep to. A test class names the policy's module and inherits the rest.

class TestMine(EvictionContract):
    policy = "my_package.my_eviction"

The rules are those of ``prefetch-sim check``, in ``experiments/checking/``: a test each.
"""

from contracts.eviction import EvictionContract
from contracts.misses import MissContract
from contracts.predictor import PredictorContract
from contracts.prefetch import PrefetchContract

__all__ = ["EvictionContract", "MissContract", "PredictorContract", "PrefetchContract"]
