"""Adoption of a catalog database of an older generation: a check, then steps to revision 0001."""

from catalog.database.adoption.look import Look, look
from catalog.database.adoption.work import InTheWay, adopt, check

__all__ = ["InTheWay", "Look", "adopt", "check", "look"]
