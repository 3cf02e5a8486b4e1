"""Entries that silence messages or skip errors: those whose issue is closed or missing."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from catalog.core.errors import Fatal, UnexpectedResponse
from catalog.core.setting import PassedOver, Silencing
from catalog.maintenance.github import GitHub, Missing

MISSING, NO_ISSUE = "no such issue", "this is no GitHub issue"


class Closed(msgspec.Struct, frozen=True):
    """An entry whose issue is closed, or not to be found.

    Attributes:
        pattern: Of task ids, if it has one.
        note: What else is wrong with its issue; empty for one that is closed.
    """

    dag_id: str
    issue: str
    predicate: str
    pattern: str | None = None
    note: str = ""


def closed_issues(github: GitHub, entries: Mapping[str, Sequence[Silencing | PassedOver]]) -> list[Closed]:
    """The entries that have lost their reason.

    Args:
        github: The client.
        entries: DAG id → entries of one of the two Variables.

    Raises:
        Retry: GitHub does not answer. What it says about one issue concerns that entry only.
    """
    found, states = [], dict[str, str]()
    for dag_id, ones in entries.items():
        for entry in ones:
            url = entry.issue
            if url not in states:
                states[url] = _state_or_note(github, url)
            if states[url] != "open":
                note = "" if states[url] == "closed" else states[url]
                pattern = getattr(entry, "task_id_pattern", None)
                found.append(Closed(dag_id, url, entry.predicate, pattern, note))
    return found


def _state_or_note(github: GitHub, url: str) -> str:
    try:
        state = issue_state(github, url)
    except ValueError:
        return NO_ISSUE
    except (Fatal, UnexpectedResponse) as error:
        return f"it could not be looked up: {error}"
    return MISSING if state == "missing" else state


def issue_state(github: GitHub, url: str) -> str:
    """`open`, `closed` or `missing`. Raises ValueError for a URL that is not an issue's."""
    parts = urlsplit(url).path.strip("/").split("/")
    if len(parts) < 4 or not parts[-1].isdigit():
        raise ValueError(url)
    owner, repository, number = parts[-4], parts[-3], parts[-1]
    try:
        found = github.call("GET", f"repos/{owner}/{repository}/issues/{number}")
    except Missing:
        return "missing"
    state = found.get("state") if isinstance(found, dict) else None
    if state not in ("open", "closed"):
        raise UnexpectedResponse(f"GitHub gives no state of {owner}/{repository}#{number}.")
    return str(state)
