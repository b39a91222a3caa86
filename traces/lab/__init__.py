"""The predictor laboratory: train predictors on captured states, and measure them honestly."""
