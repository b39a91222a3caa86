"""Makes the project's embedded sample trace from nothing: text, model, recording, predictors.

``python -m traces.make_sample --work DIR -o OUT.parquet`` runs every stage and continues from
whatever an earlier, interrupted run left in DIR. Needs the ``capture`` extra.
"""
