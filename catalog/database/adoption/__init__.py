"""Adopting a catalog database of an older generation: a look at it, then steps that make it what revision 0001 makes."""

from catalog.database.adoption.look import Look, look
from catalog.database.adoption.work import InTheWay, adopt, check

__all__ = ["InTheWay", "Look", "adopt", "check", "look"]
