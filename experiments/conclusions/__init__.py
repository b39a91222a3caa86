"""What results mean, in words: ``one_run`` of a run, ``sweeps`` of a sweep.

Numbers and words are apart: ``figures`` and ``comparisons`` work out, the others say. Each sentence
stands on figures of the results alone, and is left out where they do not bear it.
"""
