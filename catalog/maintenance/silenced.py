"""Entries that silence messages or pass over errors, each tied to an issue: which of them have lost their reason."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from catalog.ingestion.errors import Fatal
from catalog.maintenance.github import GitHub, Missing


class Closed(msgspec.Struct, frozen=True):
    """An entry whose issue is closed, or is not there. pattern: of task ids, if it has one."""

    dag_id: str
    issue: str
    predicate: str
    pattern: str | None = None
    missing: bool = False


def closed_issues(
    github: GitHub, entries: Mapping[str, Sequence[Mapping[str, Any]]], variable: str
) -> list[Closed]:
    """entries: DAG id → entries of the Variable. Raises Fatal, naming DAG and Variable, when an entry names no issue."""
    found, states = [], dict[str, str]()
    for dag_id, ones in entries.items():
        for entry in ones:
            url = str(entry.get("issue") or "")
            if url not in states:
                try:
                    states[url] = issue_state(github, url)
                except ValueError:
                    raise Fatal(
                        f"{variable}: an entry of {dag_id} has {url!r} as its issue; give the URL of a GitHub issue."
                    ) from None
            if states[url] != "open":
                predicate, pattern = str(entry.get("predicate", "")), entry.get("task_id_pattern")
                found.append(Closed(dag_id, url, predicate, pattern, missing=states[url] == "missing"))
    return found


def issue_state(github: GitHub, url: str) -> str:
    """`open`, `closed` or `missing`. Raises ValueError for a URL that is not an issue's."""
    parts = urlsplit(url).path.strip("/").split("/")
    if len(parts) < 4 or not parts[-1].isdigit():
        raise ValueError(url)
    owner, repository, number = parts[-4], parts[-3], parts[-1]
    try:
        return str(github.call("GET", f"repos/{owner}/{repository}/issues/{number}")["state"])
    except Missing:
        return "missing"
