"""The API's tables in which moderators' decisions are: one for each kind of decision and type of media."""

from typing import Literal

Decision = Literal["deleted", "mature"]
KINDS: tuple[Decision, ...] = ("deleted", "mature")


def moderated_name(kind: Decision, table: str) -> str:
    """Return the name of the API's table of the records about which moderators have decided so.

    Args:
        kind: Kind of the decision.
        table: Name of the table of media.
    """
    return f"api_{kind}{table}"
