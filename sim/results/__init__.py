"""A finished run is read here: records summed, quality, bounds, timeline."""
