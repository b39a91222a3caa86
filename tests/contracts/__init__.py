"""What every policy must keep to. A test class names the policy's module and inherits the rest.

class TestMine(EvictionContract):
    policy = "my_package.my_eviction"
"""

from contracts.eviction import EvictionContract
from contracts.predictor import PredictorContract
from contracts.prefetch import PrefetchContract

__all__ = ["EvictionContract", "PredictorContract", "PrefetchContract"]
