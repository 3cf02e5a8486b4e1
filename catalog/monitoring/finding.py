"""A finding: something that needs a person.

Each finding names a row of the runbook (`docs/runbook.md`) by its anchor. What cannot be read is a finding
too: a part that nobody could look at is not well.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec

Severity = Literal["error", "warning"]
Runbook = Literal[
    "alias",
    "broken-provider",
    "dataset",
    "engine-disk",
    "engine-status",
    "failed-task",
    "held",
    "held-back",
    "late",
    "lost-dag",
    "missed-days",
    "no-such-dag",
    "no-such-setting",
    "not-whole",
    "partial",
    "quota",
    "refresh-failed",
    "shrinking",
    "silenced",
    "unknown",
]  # anchors of its rows
Explain = Callable[[str, Exception], str]  # part, error → what users may see of it


class Finding(msgspec.Struct, frozen=True):
    """Something that needs a person.

    Attributes:
        severity: `error` if data are missing or a run has failed, `warning` for the rest.
        subject: What it is about, such as a provider or a DAG.
        text: What is wrong, in one sentence.
        runbook: Anchor of the row of the runbook.
        dag_id: The DAG; "" if there is none.
        run_id: Its run; "" if it is not about a run.
        task_id: The task whose log says more; "" if it is not about a task.
        map_index: Map index of the task; -1 if it is not mapped.
        page: Address of a page with details, relative to the dashboard; "" if there is none.
    """

    severity: Severity
    subject: str
    text: str
    runbook: Runbook
    dag_id: str = ""
    run_id: str = ""
    task_id: str = ""
    map_index: int = -1
    page: str = ""


class Findings(msgspec.Struct):
    """What was found, part by part. A part that cannot be read is a finding, and costs the others nothing.

    Attributes:
        findings: What needs a person, in no order.
        unread: The parts that could not be read, as findings.
    """

    findings: list[Finding] = []
    unread: list[Finding] = []

    @contextmanager
    def part(self, name: str, explain: Explain) -> Iterator[None]:
        """Turn an error into a finding about a part."""
        try:
            yield
        except Exception as error:
            self.unread.append(unknown(name, explain(name, error)))


def unknown(part: str, why: str) -> Finding:
    """Return the finding about a part that could not be checked.

    Args:
        part: Such as `the search engine`.
        why: The error, without secrets.
    """
    return Finding("error", part, f"it could not be checked: {why}", "unknown")


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """Return findings with the errors first."""
    return sorted(found, key=lambda one: (one.severity, one.subject))
