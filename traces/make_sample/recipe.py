"""Every choice that makes one sample, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from traces.make_sample.model import Shape
from traces.make_sample.predictors import PredictorTraining
from traces.make_sample.train import Training


@dataclass(frozen=True)
class Sampling:
    requests: int = 96
    batch: int = 32
    prompt: int = 64
    new_tokens: int = 224
    temperature: float = 0.8
    named: int = 6  # 1.5 × top-4, the ratio of the paper's over-provisioning
    predictor_windows: int = 256
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """The committed sample's, as it stands."""

    name: str = "mini-gpt-oss"
    small: bool = False
    shape: Shape = field(default_factory=Shape)
    training: Training = field(default_factory=Training)
    predictors: PredictorTraining = field(default_factory=PredictorTraining)
    sampling: Sampling = field(default_factory=Sampling)

    def with_steps(self, steps: int) -> Recipe:
        return replace(self, training=replace(self.training, steps=steps))


# Every stage in a few seconds, on text that Python itself brings; its figures mean nothing.
SMALL = Recipe(
    name="tiny-gpt-oss",
    small=True,
    shape=Shape(
        layers=2,
        experts=8,
        top_k=2,
        hidden=32,
        expert_hidden=16,
        heads=2,
        kv_heads=1,
        head_dim=16,
        window=16,
        vocab=512,
    ),
    training=Training(steps=6, batch=4, length=48, warmup=2, evaluate_every=3, evaluate_windows=4),
    predictors=PredictorTraining(hidden=32, epochs=2, batch=128),
    sampling=Sampling(requests=6, batch=3, prompt=12, new_tokens=20, named=3, predictor_windows=8),
)
