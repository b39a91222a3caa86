"""Steps and routed sets, from a trace. No time in it."""
