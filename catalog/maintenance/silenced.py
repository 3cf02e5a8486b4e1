"""Finds entries that silence messages or skip errors although their GitHub issue is closed or missing."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from catalog.core.errors import Fatal, UnexpectedResponse
from catalog.core.setting import PassedOver, Silencing
from catalog.maintenance.github import GitHub, Missing

MISSING, NO_ISSUE = "no such issue", "not the URL of a GitHub issue"


class Closed(msgspec.Struct, frozen=True):
    """An entry whose issue is closed or cannot be found.

    Attributes:
        dag_id: The DAG whose messages or errors the entry matches.
        issue: URL of the issue.
        predicate: The string that a message or an error must contain.
        pattern: Regular expression that the task id must match; None for all tasks.
        note: The problem with the issue; empty if it is closed.
    """

    dag_id: str
    issue: str
    predicate: str
    pattern: str | None = None
    note: str = ""


def closed_issues(github: GitHub, entries: Mapping[str, Sequence[Silencing | PassedOver]]) -> list[Closed]:
    """Return the entries whose issue is not open, or could not be looked up.

    Args:
        github: Client for the API.
        entries: Entries of one of the two Variables, by DAG id.

    Raises:
        Retry: GitHub is unreachable, answers with a server error, or limits the rate.
    """
    found, states = [], dict[str, str]()
    for dag_id, entries_of_dag in entries.items():
        for entry in entries_of_dag:
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
    """Return the state of an issue.

    Args:
        github: Client for the API.
        url: Address of the issue's page or of its API resource.

    Returns:
        `open`, `closed` or `missing`.

    Raises:
        ValueError: The URL is not that of an issue.
        UnexpectedResponse: The response has no valid state.
        CatalogError: The request failed.
    """
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
        raise UnexpectedResponse(f"GitHub returned no state of the issue {owner}/{repository}#{number}.")
    return str(state)
