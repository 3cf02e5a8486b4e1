"""Texts for Slack. Pure functions: who sends them, and whether, is decided elsewhere."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from catalog.core.dates import utc
from catalog.ingestion.completeness import URL_TAKEN, URL_TAKEN_HINT, accepting, flags

_UNITS = (("week", 604_800), ("day", 86_400), ("hour", 3_600), ("min", 60), ("sec", 1))


_SHORTFALLS = 10


def flags_of(report: Mapping[str, Any]) -> str:
    """What limits a load, in words: see `completeness.flags`. report: a row of ingestion_report."""
    names = ("complete", "whole", "replayed", "shortfalls", "accepted")
    return flags(**{name: report[name] for name in names})


class Message(msgspec.Struct, frozen=True):
    """A text for a channel. alert: it goes to slack_alerts instead of slack_notifications."""

    text: str
    username: str
    dag_id: str
    task_id: str | None = None
    alert: bool = False


def escaped(text: object) -> str:
    """Foreign text that cannot become a mention or a link in Slack."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def duration(seconds: float | None) -> str:
    """Human words: `1 hour, 3 mins`; `less than 1 sec`; `_No data_` when unknown."""
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


def load_completion(
    dag_id: str,
    task_id: str,
    reports: Sequence[Mapping[str, Any]],
    *,
    window: tuple[datetime, datetime] | None,
    reingestion: bool = False,
) -> Message:
    """Report a provider's run from its rows of ingestion_report; the days of a reingestion are added up."""
    covers = "_multiple time periods_" if reingestion else "_all_"
    if window:
        covers = f"{utc(window[0]):%Y-%m-%d} -> {utc(window[1]):%Y-%m-%d}"
    days = {r["day_shift"]: r["pull_seconds"] or 0 for r in reports}  # two media types share one pull
    partial = any(not r["complete"] and not r["shortfalls"] for r in reports)
    short = list(dict.fromkeys(text for r in reports for text in r["shortfalls"]))
    lines = [
        f"*DAG*: `{dag_id}`" + (" (REPLAY)" if any(r["replayed"] for r in reports) else ""),
        f"*Date range*: {covers}",
        f"*Duration of data pull tasks*: {duration(sum(days.values()) if days else None)}",
    ]
    if reingestion:
        lines.append("_The duration is the sum over all pull tasks; it does not include loading._")
    if partial:
        lines.append(
            "*Partial*: a pull did not reach its end; what it had read is loaded. "
            "Clear the failed pull to go on."
        )
    if short:
        accepted = all(r["accepted"] for r in reports if r["shortfalls"])
        lines.append("*Not whole, but accepted*:" if accepted else "*Not whole*, and not counted as fresh:")
        lines += [f"  - {escaped(text)}" for text in short[:_SHORTFALLS]]
        if not accepted:
            lines.append(escaped(accepting()))
    if any(r["complete"] and not r["whole"] and not r["shortfalls"] for r in reports):
        lines.append("*Limited*: this run asked for a part only, and does not count as fresh.")
    lines.append("*Number of records upserted per media type*:")
    for media_type in dict.fromkeys(r["media_type"] for r in reports):
        lines.append(_media_line(media_type, [r for r in reports if r["media_type"] == media_type]))
    return Message("\n".join(lines), "Airflow DAG Load Data Complete", dag_id, task_id)


def _media_line(media_type: str, reports: Sequence[Mapping[str, Any]]) -> str:
    def total(name: str) -> int:
        return sum(r[name] for r in reports)

    upserted = total("inserted") + total("updated")
    extras = [
        f"{total(n):,} {n}" for n in ("inserted", "updated", "unchanged", "skipped", "rejected") if total(n)
    ]
    reasons: dict[str, int] = {}
    for report in reports:
        for kind in ("skipped_reasons", "rejected_reasons"):
            for reason, number in report[kind].items():
                reasons[reason] = reasons.get(reason, 0) + number
    detail = f" _({', '.join(extras)} of {total('fetched'):,} fetched)_" if extras else ""
    line = f"  - `{media_type}`: {f'{upserted:,}' if upserted else '_No data_'}{detail}"
    line += "".join(f"\n      {number:,} {escaped(reason)}" for reason, number in sorted(reasons.items()))
    return line + (f"\n      _{URL_TAKEN_HINT}_" if URL_TAKEN in reasons else "")


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
    """An alert about one failed task. attempt: which try it was."""
    lines = [f"*DAG*: `{dag_id}`", f"*Task*: `{task_id}`" + (f", try {attempt}" if attempt else "")]
    if run_id:
        lines.append(f"*Run*: `{escaped(run_id)}`")
    if when:
        lines.append(f"*Logical Date*: {utc(when):%Y-%m-%dT%H:%M:%SZ}")
    if log_url:
        lines.append(f"*Log*: <{log_url}|View Logs>")
    if exception is not None:
        kind = type(exception)
        text = " ".join(escaped(exception).split())[:2000]
        lines += [f"*Exception Type*: `{kind.__module__}.{kind.__name__}`", f"*Exception*: {text}"]
    return Message("\n".join(lines), "Airflow DAG Failure", dag_id, task_id, alert=True)


def run_problem(dag_id: str, run_id: str, text: str) -> Message:
    """An alert about a run as a whole."""
    return Message(
        f"*DAG*: `{dag_id}`\n*Run*: `{escaped(run_id)}`\n{text}", "Airflow DAG Failure", dag_id, alert=True
    )


def malformed_setting(dag_id: str, task_id: str, problem: str) -> Message:
    """Return an alert about a malformed setting; `problem` says what was expected and what is used."""
    text = f"*Malformed setting*: {escaped(problem)}\nFound by `{dag_id}`, task `{task_id}`."
    return Message(text, "Malformed Setting", dag_id, task_id, alert=True)


def reingestion_errors(dag_id: str, task_id: str, failed: Sequence[tuple[str, str | None]]) -> Message:
    """Return one alert for all failed days of a reingestion: (day, URL of the log) pairs."""
    lines = [f"*{len(failed)} ingestion days failed* in `{dag_id}`; the other days were loaded."]
    lines += [f"  - <{url}|{name}>" if url else f"  - {name}" for name, url in failed]
    return Message("\n".join(lines), "Aggregate Reingestion Error", dag_id, task_id, alert=True)


def flickr_suggestions(dag_id: str, task_id: str, suggestions: Sequence[Any]) -> Message:
    """Return an alert that suggests accounts as sub-providers; each has name, nsid and photos."""
    lines = ["*Consider adding these institutions as sub-providers of Flickr:*"]
    lines += [
        f"  - {escaped(s.name)}: {escaped(s.nsid)} _({s.photos:,} CC-licensed images)_" for s in suggestions
    ]
    return Message("\n".join(lines), "Flickr SubProvider Suggestions", dag_id, task_id, alert=True)


def pending_media(
    dag_id: str, task_id: str, counts: Mapping[str, Mapping[str, int]], admin_url: str
) -> Message:
    """Return a message about reported media.

    Args:
        dag_id: Of the sender.
        task_id: Of the sender.
        counts: Media type → reason → number of reported media.
        admin_url: Address of the admin pages.
    """
    if not any(reasons for reasons in counts.values()):
        return Message(
            "No reported media wait for review. :tada:", "Reported Media Check-In", dag_id, task_id
        )
    lines = ["The following media have been reported and wait for review:"]
    for media_type, reasons in counts.items():
        if reasons:
            page = f"{admin_url.rstrip('/')}/api/{media_type}report/?status__exact=pending_review"
            detail = ", ".join(f"{number:,} {escaped(reason)}" for reason, number in sorted(reasons.items()))
            lines.append(f"  - *<{page}|{media_type}: {sum(reasons.values()):,}>* _({detail})_")
    return Message("\n".join(lines), "Reported Media Requires Review", dag_id, task_id, alert=True)


def stale_entries(dag_id: str, task_id: str, variable: str, closed: Sequence[Any]) -> Message:
    """Return an alert about entries whose issue is closed, with dag_id, issue, predicate, pattern, note."""
    lines = [
        f"These entries of `{variable}` have lost their reason; remove them, or give them another issue:"
    ]
    for entry in closed:
        name = entry.dag_id + (f" ({entry.pattern})" if entry.pattern else "")
        label = escaped(f"{name}: '{entry.predicate}'").replace("|", " ")
        shown = f"<{escaped(entry.issue)}|{label}>" if entry.issue.startswith("https://") else label
        lines.append(f"  - {shown}" + (f" ({escaped(entry.note)})" if entry.note else ""))
    return Message("\n".join(lines), "Silenced DAG Check", dag_id, task_id, alert=True)
