"""Soak test: a separate stack works for minutes while its parts are killed; then its data are judged.

`./just soak --seed N --minutes M`: the seed determines the plan of actions and faults, so a plan can be
repeated.
"""
