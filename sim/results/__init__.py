"""A finished run: records summed, quality, bounds, timeline."""
