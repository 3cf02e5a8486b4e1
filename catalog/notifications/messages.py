"""Builds the messages for Slack, without sending them.

A message is built once: what happened, numbers, details, and where to read on. `Message.text` is its plain
form, for the task log and for entries that silence it; `blocks` is its form in Slack. `delivery` decides
whether a message is sent, and `dags/operators/slack.py` sends it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from catalog.core.dates import utc
from catalog.core.jsontypes import Json
from catalog.core.secrets import without_secrets
from catalog.ingestion.reasons import URL_TAKEN, URL_TAKEN_HINT, added_up
from catalog.ingestion.shortfalls import accepting
from catalog.notifications.lengths import shortened

_UNITS = (("week", 604_800), ("day", 86_400), ("hour", 3_600), ("min", 60), ("sec", 1))
_SHORTFALLS = 10  # that a message lists
_PROBLEMS = 20  # of a search engine, that a message lists
_EXCEPTION = 2000  # characters of an exception
COUNTS = ("fetched", "inserted", "updated", "unchanged", "skipped", "rejected")

Report = Mapping[str, Json]  # a row of ingestion_report


class Suggestion(Protocol):
    """An account of Flickr that could become a sub-provider (`providers/flickr/audit.py`)."""

    @property
    def name(self) -> str: ...
    @property
    def nsid(self) -> str: ...
    @property
    def photos(self) -> int: ...


class StaleEntry(Protocol):
    """An entry whose issue is not known to be open (`maintenance/silenced.py`)."""

    @property
    def dag_id(self) -> str: ...
    @property
    def issue(self) -> str: ...
    @property
    def predicate(self) -> str: ...
    @property
    def pattern(self) -> str | None: ...
    @property
    def note(self) -> str: ...
    @property
    def known(self) -> bool: ...


class EngineProblem(Protocol):
    """Something that is wrong with a search engine (`monitoring/cluster_state.py`)."""

    @property
    def text(self) -> str: ...


class EngineState(Protocol):
    """State of a search engine (`monitoring/cluster_state.py`)."""

    @property
    def state(self) -> str: ...
    @property
    def problems(self) -> Sequence[EngineProblem]: ...
    @property
    def about(self) -> str: ...


def flags_of(report: Report) -> str:
    """Return the limitations of a load, such as `PARTIAL, REPLAY`; "" for a whole pull."""
    words = []
    if not report["complete"] and not report["shortfalls"]:
        words.append("PARTIAL")
    if report["shortfalls"]:
        words.append("ACCEPTED SHORTFALL" if report["accepted"] else "NOT WHOLE")
    if report["complete"] and not report["whole"] and not report["shortfalls"]:
        words.append("LIMITED")
    if report["replayed"]:
        words.append("REPLAY")
    return ", ".join(words)


class Origin(msgspec.Struct, frozen=True):
    """The run that a message is about.

    Attributes:
        run_id: Its id.
        run_url: Address of the run in Airflow's UI; "" if it is not known.
        log_url: Address of the task's log; "" if the message is about the whole run.
    """

    run_id: str
    run_url: str = ""
    log_url: str = ""

    @property
    def parts(self) -> list[str]:
        """The run, and links to run and log, in Slack's markup."""
        parts = [f"*Run*: `{escaped(self.run_id)}`"]
        if self.run_url:
            parts.append(link(self.run_url, "View Run"))
        if self.log_url:
            parts.append(f"*Log*: {link(self.log_url, 'View Logs')}")
        return parts


class Message(msgspec.Struct, frozen=True):
    """A message for Slack.

    Attributes:
        title: What happened, in a few words without markup, which must not come from outside.
        username: The name that Slack shows as its sender.
        dag_id: The DAG that sends it.
        task_id: The task that sends it; None if the message is about a whole run.
        alert: True for the connection `slack_alerts`, False for `slack_notifications`.
        summary: One sentence about it, in Slack's markup.
        fields: What people look for first, by name: numbers above all, in Slack's markup.
        lines: Details, in Slack's markup.
        origin: Its run; None if it is not known yet.
        completion: True for the report of a run that did its work, which can wait for the daily digest.
    """

    title: str
    username: str
    dag_id: str
    task_id: str | None = None
    alert: bool = False
    summary: str = ""
    fields: dict[str, str] = {}
    lines: tuple[str, ...] = ()
    origin: Origin | None = None
    completion: bool = False

    @property
    def text(self) -> str:
        """The whole content, a line for each part, in Slack's markup."""
        first = f"*{escaped(self.title)}*" + (f": {self.summary}" if self.summary else "")
        fields = [f"*{name}*: {value}" for name, value in self.fields.items()]
        return "\n".join([first, *fields, *self.lines, *(self.origin.parts if self.origin else ())])


def escaped(text: object) -> str:
    """Escape a string, so that Slack shows no mention or link in it."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def link(url: str, label: str) -> str:
    """Return a link in Slack's markup. A character that would end it early is replaced."""
    return f"<{escaped(url).replace('|', '%7C')}|{escaped(label).replace('|', ' ')}>"


def duration(seconds: float | None) -> str:
    """Return a number of seconds in words, such as `1 hour, 3 mins`; `_No data_` if it is None."""
    if seconds is None:
        return "_No data_"
    if seconds < 1:
        return "less than 1 sec"
    words, rest = [], int(seconds)
    for unit, size in _UNITS:
        number, rest = divmod(rest, size)
        if number:
            words.append(f"{number} {unit}{'s' if number > 1 else ''}")
    return ", ".join(words)


def _bullets(texts: Sequence[str], most: int) -> list[str]:
    """Return lines for the first texts, and one that says how many more there are."""
    lines = [f"  - {escaped(text)}" for text in texts[:most]]
    if more := len(texts) - len(lines):
        lines.append(f"  - and {more:,} more")
    return lines


def load_completion(
    dag_id: str,
    task_id: str,
    reports: Sequence[Report],
    *,
    window: tuple[datetime, datetime] | None,
    reingestion: bool = False,
) -> Message:
    """Build the report of a provider's run.

    Args:
        dag_id: The DAG.
        task_id: The task that reports.
        reports: Rows of `ingestion_report` of the run; their counts are added up.
        window: The half-open time window of the pull; None if it covers everything.
        reingestion: True for a run that pulls many days.
    """
    covers = "_multiple time periods_" if reingestion else "_all_"
    if window:
        covers = f"{utc(window[0]):%Y-%m-%d} -> {utc(window[1]):%Y-%m-%d}"
    days = {r["day_shift"]: r["pull_seconds"] or 0 for r in reports}  # two media types share one pull
    partial = any(not r["complete"] and not r["shortfalls"] for r in reports)
    short = list(dict.fromkeys(text for r in reports for text in r["shortfalls"]))
    lines = []
    if reingestion:
        lines.append("_The duration is the sum over all pull tasks; it does not include loading._")
    if partial:
        lines.append(
            "*Partial*: a pull did not reach its end; what it had read is loaded. "
            "Clear the failed pull, with its downstream tasks, to continue it."
        )
    if short:
        accepted = all(r["accepted"] for r in reports if r["shortfalls"])
        lines.append("*Not whole, but accepted*:" if accepted else "*Not whole*, and not counted as fresh:")
        lines += _bullets(short, _SHORTFALLS)
        if not accepted:
            lines.append(escaped(accepting()))
    if any(r["complete"] and not r["whole"] and not r["shortfalls"] for r in reports):
        lines.append("*Limited*: this run asked for a part only, and does not count as fresh.")
    lines.append("*Number of records upserted per media type*:")
    for media_type in dict.fromkeys(r["media_type"] for r in reports):
        lines += _media_lines(media_type, [r for r in reports if r["media_type"] == media_type])
    upserted = sum(r["inserted"] + r["updated"] for r in reports)
    return Message(
        f"{dag_id}: {upserted:,} records upserted",
        "Airflow DAG Load Data Complete",
        dag_id,
        task_id,
        summary=", ".join(dict.fromkeys(words for r in reports if (words := flags_of(r)))),
        fields={
            "DAG": f"`{dag_id}`" + (" (REPLAY)" if any(r["replayed"] for r in reports) else ""),
            "Date range": covers,
            "Duration of data pull tasks": duration(sum(days.values()) if days else None),
            **{name.capitalize(): f"{sum(r[name] for r in reports):,}" for name in COUNTS},
        },
        lines=tuple(lines),
        completion=all(r["complete"] and (r["accepted"] or not r["shortfalls"]) for r in reports),
    )


def _media_lines(media_type: str, reports: Sequence[Report]) -> list[str]:
    def total(name: str) -> int:
        return sum(r[name] for r in reports)

    upserted = total("inserted") + total("updated")
    extras = [f"{total(n):,} {n}" for n in COUNTS[1:] if total(n)]
    reasons = added_up(*(r[kind] for r in reports for kind in ("skipped_reasons", "rejected_reasons")))
    detail = f" _({', '.join(extras)} of {total('fetched'):,} fetched)_" if extras else ""
    lines = [f"  - `{media_type}`: {f'{upserted:,}' if upserted else '_No data_'}{detail}"]
    lines += [f"      {number:,} {escaped(reason)}" for reason, number in sorted(reasons.items())]
    return [*lines, *([f"      _{URL_TAKEN_HINT}_"] if URL_TAKEN in reasons else [])]


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


def engine_state(dag_id: str, task_id: str, engine: str, state: EngineState, before: str | None) -> Message:
    """Build an alert about a search engine whose state has changed.

    Args:
        dag_id: The DAG that watches it.
        task_id: The task that watches it.
        engine: Its name, such as `production`.
        state: Its state.
        before: The state that was reported last; None at the first check.
    """
    fields = {"Before": before or "not checked", "Now": state.about}
    lines = _bullets([without_secrets(problem.text) for problem in state.problems], _PROBLEMS)
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


def flickr_suggestions(dag_id: str, task_id: str, suggestions: Sequence[Suggestion]) -> Message:
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


def stale_entries(dag_id: str, task_id: str, variable: str, closed: Sequence[StaleEntry]) -> Message:
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


def _of_entry(entry: StaleEntry) -> str:
    label = entry.dag_id + (f" ({entry.pattern})" if entry.pattern else "") + f": '{entry.predicate}'"
    shown = link(entry.issue, label) if entry.issue.startswith("https://") else escaped(label)
    return f"  - {shown}" + (f" ({escaped(entry.note)})" if entry.note else "")
