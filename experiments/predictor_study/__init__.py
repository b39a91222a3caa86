"""How well experts can be predicted on each bundled model, and what that depends on.

``python -m prefetch_sim.experiments.predictor_study measure NAME --work DIR`` trains and
scores every predictor on what ``traces.twins`` left in DIR; ``... render`` writes
docs/predictors.md from all results.
"""
