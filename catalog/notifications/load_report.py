"""Builds the report of a provider's run."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

from catalog.core.dates import utc
from catalog.core.jsontypes import Json
from catalog.ingestion.reasons import URL_TAKEN, URL_TAKEN_HINT, added_up
from catalog.ingestion.shortfalls import accepting, flags
from catalog.notifications.message import Message, bullets, duration, escaped

_SHORTFALLS = 10  # that a message lists
COUNTS = ("fetched", "inserted", "updated", "unchanged", "skipped", "rejected")

Report = Mapping[str, Json]  # a row of ingestion_report


def load_completion(
    dag_id: str,
    task_id: str,
    reports: Sequence[Report],
    *,
    window: tuple[datetime, datetime] | None,
    reingestion: bool = False,
    accepted_by: str | None = None,
    replay: str | None = None,
) -> Message:
    """Build the report of a provider's run.

    Args:
        dag_id: The DAG.
        task_id: The task that reports.
        reports: Rows of `ingestion_report` of the run; their counts are added up.
        window: The half-open time window of the pull; None if it covers everything.
        reingestion: True for a run that pulls many days.
        accepted_by: The DAG that accepts a shortfall; None for that of the run.
        replay: The recording that was pulled in place of the API.
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
        # In a reingestion, the lists of days that come later are downstream.
        how = "alone when the run has ended" if reingestion else "with its downstream tasks"
        lines.append(
            "*Partial*: a pull did not reach its end; what it had read is loaded. "
            f"Clear the failed pull, {how}, to continue it."
        )
    if short:
        refused = [r for r in reports if r["shortfalls"] and not r["accepted"]]
        fell_short = _days(refused or [r for r in reports if r["shortfalls"]])
        covered = f" for {', '.join(map(str, fell_short))}" if fell_short else ""
        lines.append(
            "*Not whole*, and not counted as fresh:" if refused else f"*Not whole, but accepted*{covered}:"
        )
        lines += bullets(short, _SHORTFALLS)
        if refused:
            lines.append(escaped(accepting(accepted_by, fell_short, replay)))
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
        summary=", ".join(dict.fromkeys(words for r in reports if (words := flags(r)))),
        fields={
            "DAG": f"`{dag_id}`" + (" (REPLAY)" if any(r["replayed"] for r in reports) else ""),
            "Date range": covers,
            "Duration of data pull tasks": duration(sum(days.values()) if days else None),
            **{name.capitalize(): f"{sum(r[name] for r in reports):,}" for name in COUNTS},
        },
        lines=tuple(lines),
        completion=all(r["complete"] and (r["accepted"] or not r["shortfalls"]) for r in reports),
    )


def _days(reports: Sequence[Report]) -> list[date]:
    """Return the days that reports are about; none if they cover everything."""
    return list(dict.fromkeys(r["window_start"].astimezone(UTC).date() for r in reports if r["window_start"]))


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
