"""Whether a policy keeps its contract: ``prefetch-sim check``, and what the tests inherit.

A file a kind of policy, with its rules: functions of a module that raise ``BrokenRuleError`` with a
counterexample (``BrokenContractError``, if runs hold policies to the rule, too), and whose
docstring's first line says the rule.
"""
