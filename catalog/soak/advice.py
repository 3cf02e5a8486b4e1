"""Advice in the error messages of failed runs: clear tasks, trigger a new run, or accept with a conf."""

import re

# Clearing the run cannot help: a new one is needed.
NEW_RUN = re.compile(
    r"trigger (?:it |the dag |\w+ )?(?:again|anew)"
    r"|(?:trigger|start|begin)\b[^.;]{0,60}\bnew (?:run|refresh|one)"
    r"|\bnew run\b",
    re.IGNORECASE,
)
# The run has changed nothing.
REFUSED = re.compile(r"refused|(?:is|are) running")
_CLEAR = re.compile(r"[Cc]lear ([a-z_]+(?:(?:, | and | or )[a-z_]+)*)")
_ACCEPT = re.compile(r"resume_update|accept_shrinkage")


def words_after_clear(message: str) -> set[str]:
    """Return the words after "clear" in a message; task ids are among them."""
    return {word for words in _CLEAR.findall(message) for word in re.findall(r"\w+", words)}


def accepting_key(message: str) -> str | None:
    """Return the key of the conf with which a new run continues; None if the message names none."""
    found = _ACCEPT.search(message)
    return found[0] if found else None
