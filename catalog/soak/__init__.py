"""The soak: a stack of its own works for minutes while its parts are killed at random, and then everything must add up.

`./just soak --seed N --minutes M`. The seed makes the plan of actions and faults; the same seed makes the
same plan.
"""
