"""What a model would do on a machine, asked in a line: ``prefetch-sim advise``.

``question`` is what is asked, ``machine`` what is known of where it is to run, ``placements`` the
ways to place experts, ``points`` the runs, ``band`` how far to trust them; ``advice`` puts them
together and ``words`` says it.
"""
