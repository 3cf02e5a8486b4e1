"""Messages about pulls and loads that are not whole: what is missing, and what to do."""

import json
from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from catalog.core.jsontypes import Json, JsonObject
from catalog.core.wording import join_first


class Advice(msgspec.Struct, frozen=True):
    """What to do about a pull with gaps, which depends on what runs it.

    Attributes:
        short: The API returned less than it should: what became of what came, and what to do.
        skipped: The same for pages that failed and were skipped as configured.
        accept: How to accept what the API returned.
    """

    short: str
    skipped: str
    accept: str = ""


def summary(gaps: Sequence[str], provider: str, *, short: bool, advice: Advice) -> str:
    """Build the message of a pull that reached its end with gaps: what is missing, and what to do.

    Args:
        gaps: Descriptions of what is missing.
        provider: The provider's name.
        short: The API returned less than it should; otherwise pages failed and were skipped as configured.
        advice: What to do.
    """
    shown = join_first(gaps, most=5, separator="; ")
    if not short:
        return f"{len(gaps)} page(s) were passed over: {shown}. {advice.skipped}"
    return f"{provider} is NOT WHOLE: {shown}. {advice.short} {advice.accept}".rstrip()


def not_whole(provider: str, media_type: str, found: Sequence[str], accept: str) -> str:
    """Build the alert for a load that is smaller than usual.

    Args:
        provider: The provider's name in the catalog.
        media_type: The media type that was loaded.
        found: The findings of `completeness.unusual`.
        accept: How to accept it; see `accepting`.
    """
    return (
        f"{provider} {media_type} is NOT WHOLE: {'; '.join(found)}. What came is loaded, nothing is deleted, "
        f"and the pull does not count as fresh. Look at the provider's API and at the run's rejects. "
        f"{accept}"
    )


def accepting(dag_id: str | None = None, days: Sequence[date] = (), replay: str | None = None) -> str:
    """Return the sentence of an alert that says how to accept a shortfall.

    The conf names the day: without it, a run would pull another day, and accept that unseen.

    Args:
        dag_id: The DAG to trigger; None for that of the run.
        days: The days that fell short; none if everything is pulled.
        replay: The recording that was pulled in place of the API.
    """
    conf: JsonObject = {"date": f"{days[0]}"} if days else {}
    conf |= ({"replay": replay} if replay else {}) | {"accept_shortfall": True}
    each = f", and once for each of {join_first(map(str, days[1:]))}" if days[1:] else ""
    return (
        f"If this is right, trigger {dag_id or 'the DAG'} with the conf {json.dumps(conf)}{each}: "
        "the pull then counts as whole."
    )


def flags(report: Mapping[str, Json]) -> str:
    """Return the limitations of a load, such as `PARTIAL, REPLAY`; "" for a whole pull.

    Args:
        report: A row of `ingestion_report`.
    """
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


IN_A_TASK = Advice(
    short="What came is kept and loaded, nothing is deleted. Look at the provider's API; clear this task "
    "when its run has ended, to read and load what is missing.",
    skipped="The pull went on after each; clear this task when its run has ended, to read and load what is "
    "missing. Only then are their lists compared with the announced totals.",
    accept=accepting(),
)
