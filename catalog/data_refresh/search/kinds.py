"""Kinds of losses of indexes, as they are noted when they are refused; see `catalog.database.refusals`."""

from typing import Literal

What = Literal["documents", "hidden documents", "found documents", "counted documents"]


def kind_of(what: What, alias: str, search: str, index: str = "") -> str:
    """Return how a kind of loss is called where it is noted.

    Args:
        what: What is lost.
        alias: The alias behind which it is lost.
        search: Airflow connection of the search engine.
        index: The index that has less, if a person has named it: less of another one is something else.
    """
    return f"{what} of {alias}, {search}{f', in {index}' if index else ''}"
