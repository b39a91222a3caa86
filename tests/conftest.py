import os

# Tests run side by side: threads that wait for each other in turn cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings
from hypothesis.internal.conjecture import providers

# Hypothesis draws a constant of the modules imported so far now and then. Then every edit, and the
# order of tests, would change which systems are drawn, and so which planted faults are met.
if hasattr(providers, "_get_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants

settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
