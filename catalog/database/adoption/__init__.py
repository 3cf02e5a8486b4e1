"""Adoption of a catalog database of an older generation: an inspection, then steps to revision 0001."""

from catalog.database.adoption.inspection import Inspection, inspect
from catalog.database.adoption.work import Blocked, adopt, check

__all__ = ["Blocked", "Inspection", "adopt", "check", "inspect"]
