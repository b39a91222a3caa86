"""Makes the bundled traces from nothing: text, small language model, recording, predictors.

``python -m prefetch_sim.traces.twins NAME --work DIR -o OUT.parquet`` runs every stage and
continues from whatever an earlier, interrupted run left in DIR. Needs the ``twins`` extra.
"""
