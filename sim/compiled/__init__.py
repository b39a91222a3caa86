"""The compiled engine: one kernel over named rows that answers as the SimPy engine does.

It follows docs/timing.md, not the SimPy engine's code: that both agree to the nanosecond is a test
of both. Policies are the same functions (``policies``). Every function here is plain Python that
numba compiles as part of ``kernel.run``; ``kernel.run.py_func`` runs it all without compiling.
"""
