"""Builds the alerts, and the report about reported media."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from catalog.core.dates import utc
from catalog.core.secrets import without_secrets
from catalog.notifications.lengths import shortened
from catalog.notifications.message import Message, Origin, bullets, escaped, link

if TYPE_CHECKING:  # DAG files import this module, and need none of these
    from catalog.maintenance.silenced import Closed
    from catalog.monitoring.cluster_state import Cluster
    from catalog.providers.flickr.audit import Suggestion

_PROBLEMS = 20  # of a search engine, that a message lists
_EXCEPTION = 2000  # characters of an exception


def task_failure(
    dag_id: str,
    task_id: str,
    *,
    when: datetime | None,
    log_url: str | None,
    exception: BaseException | None,
    run_id: str | None = None,
    attempt: int | None = None,
) -> Message:
    """Build the alert of a failed task.

    Args:
        dag_id: The DAG.
        task_id: The failed task.
        when: Logical date of the run.
        log_url: Address of the task's log.
        exception: The exception that ended the task.
        run_id: The run.
        attempt: Number of the attempt, from 1.
    """
    fields = {"DAG": f"`{dag_id}`", "Task": f"`{task_id}`" + (f", attempt {attempt}" if attempt else "")}
    if when:
        fields["Logical Date"] = f"{utc(when):%Y-%m-%dT%H:%M:%SZ}"
    lines: list[str] = []
    if exception is not None:
        kind = type(exception)
        # Errors of libraries may quote an address with its signature, or a password.
        said = without_secrets(str(exception))
        text = shortened(" ".join(escaped(said).split()), _EXCEPTION)
        lines += [f"*Exception Type*: `{kind.__module__}.{kind.__name__}`", f"*Exception*: {text}"]
    origin = Origin(run_id, run_url(log_url), log_url or "") if run_id else None
    return Message(
        f"{task_id} failed",
        "Airflow DAG Failure",
        dag_id,
        task_id,
        alert=True,
        fields=fields,
        lines=tuple(lines),
        origin=origin,
    )


def run_url(log_url: str | None) -> str:
    """Return the address of the run that a task's log belongs to; "" if it is not known."""
    run, found, _ = (log_url or "").rpartition("/tasks/")
    return run if found else ""


def run_problem(dag_id: str, origin: Origin, title: str, summary: str) -> Message:
    """Build an alert about a run as a whole; `summary` may contain Slack's markup."""
    return Message(
        title,
        "Airflow DAG Failure",
        dag_id,
        alert=True,
        summary=without_secrets(summary),
        fields={"DAG": f"`{dag_id}`"},
        origin=origin,
    )


def malformed_setting(dag_id: str, task_id: str, problem: str) -> Message:
    """Build an alert about a malformed setting; `problem` names what is expected and what is used instead."""
    return Message(
        "Malformed setting",
        "Malformed Setting",
        dag_id,
        task_id,
        alert=True,
        summary=escaped(problem),
        lines=(f"Found by `{dag_id}`, task `{task_id}`.",),
    )


def engine_state(dag_id: str, task_id: str, engine: str, state: "Cluster", before: str | None) -> Message:
    """Build an alert about a search engine whose state has changed.

    Args:
        dag_id: The DAG that watches it.
        task_id: The task that watches it.
        engine: Its name, such as `production`.
        state: Its state.
        before: The state that was reported last; None at the first check.
    """
    fields = {"Before": before or "not checked", "Now": state.about}
    lines = bullets([without_secrets(problem.text) for problem in state.problems], _PROBLEMS)
    return Message(
        f"Search engine: {state.state}",
        "Search Engine Health",
        dag_id,
        task_id,
        alert=True,
        summary=f"The {engine} search engine is {state.state}.",
        fields={name: escaped(value) for name, value in fields.items() if value},
        lines=tuple(lines),
    )


def reingestion_errors(dag_id: str, task_id: str, failed: Sequence[tuple[str, str | None]]) -> Message:
    """Build one alert for all failed days of a reingestion.

    Args:
        dag_id: The DAG.
        task_id: The task that reports.
        failed: Name and log address of each failed day.
    """
    return Message(
        f"{dag_id}: days failed",
        "Aggregate Reingestion Error",
        dag_id,
        task_id,
        alert=True,
        summary=f"*{len(failed)} ingestion days failed* in `{dag_id}`; the other days were loaded.",
        lines=tuple(f"  - {link(url, name)}" if url else f"  - {name}" for name, url in failed),
    )


def flickr_suggestions(dag_id: str, task_id: str, suggestions: "Sequence[Suggestion]") -> Message:
    """Build an alert that suggests accounts of Flickr as sub-providers."""
    return Message(
        f"{len(suggestions)} institutions on Flickr",
        "Flickr SubProvider Suggestions",
        dag_id,
        task_id,
        alert=True,
        summary="*Consider adding these institutions as sub-providers of Flickr:*",
        lines=tuple(
            f"  - {escaped(s.name)}: {escaped(s.nsid)} _({s.photos:,} CC-licensed images)_"
            for s in suggestions
        ),
    )


def pending_media(
    dag_id: str, task_id: str, counts: Mapping[str, Mapping[str, int]], admin_url: str
) -> Message:
    """Build a message about reported media; an alert if any await review.

    Args:
        dag_id: The DAG.
        task_id: The task that reports.
        counts: Number of reported media, by media type and reason.
        admin_url: Address of the API's admin pages.
    """
    if not any(reasons for reasons in counts.values()):
        return Message(
            "Reported media",
            "Reported Media Check-In",
            dag_id,
            task_id,
            summary="No reported media wait for review. :tada:",
        )
    lines = []
    for media_type, reasons in counts.items():
        if reasons:
            page = f"{admin_url.rstrip('/')}/api/{media_type}report/?status__exact=pending_review"
            detail = ", ".join(f"{number:,} {escaped(reason)}" for reason, number in sorted(reasons.items()))
            lines.append(f"  - *{link(page, f'{media_type}: {sum(reasons.values()):,}')}* _({detail})_")
    return Message(
        "Reported media",
        "Reported Media Requires Review",
        dag_id,
        task_id,
        alert=True,
        summary="The following media have been reported and wait for review:",
        lines=tuple(lines),
    )


def stale_entries(dag_id: str, task_id: str, variable: str, closed: "Sequence[Closed]") -> Message:
    """Build an alert about entries of a Variable whose issue is not open, or could not be looked up."""
    stale, unknown = [e for e in closed if e.known], [e for e in closed if not e.known]
    lines = [_of_entry(entry) for entry in stale]
    if unknown:
        lines.append("*These may be right*, but GitHub did not say what state their issue is in:")
        lines += [_of_entry(entry) for entry in unknown]
    return Message(
        f"{len(stale)} entries without an open issue" if stale else f"{len(unknown)} entries not checked",
        "Silenced DAG Check",
        dag_id,
        task_id,
        alert=True,
        summary=f"These entries of `{variable}` refer to no open issue; remove them, or give them an open "
        "issue:"
        if stale
        else f"Entries of `{variable}` could not be checked.",
        lines=tuple(lines),
    )


def _of_entry(entry: "Closed") -> str:
    label = entry.dag_id + (f" ({entry.pattern})" if entry.pattern else "") + f": '{entry.predicate}'"
    shown = link(entry.issue, label) if entry.issue.startswith("https://") else escaped(label)
    return f"  - {shown}" + (f" ({escaped(entry.note)})" if entry.note else "")
