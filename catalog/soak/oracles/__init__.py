"""Oracles: functions of real databases, a real engine and the model that return what is wrong.

`violations.py` lists what each oracle checks. The oracle `readers` is in `soak/readers.py`.
"""
