"""What checks have refused: a run accepts only what was reported before.

Whoever triggers a run that accepts a loss has read about one. By the time that its tasks work, far more may be
gone, or something else that nobody has read about. So what a check refuses is noted, and an acceptance covers
as much of it.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from psycopg.pq import TransactionStatus

from catalog.core.loss_limits import tolerable
from catalog.core.session import Connection

log = logging.getLogger(__name__)
DAYS = 31  # for which a report can be accepted


class Finding(msgspec.Struct, frozen=True):
    """Something of which too much is lost.

    Attributes:
        subject: What has lost it, such as a source; a kind of loss has one finding for each.
        remains: What is left; less of it is worse.
        text: Both numbers, in words, without a full stop.
    """

    subject: str
    remains: int
    text: str


class Acceptance(msgspec.Struct, frozen=True):
    """Whether a run accepts what was reported, and how one does.

    Attributes:
        given: The conf of the run accepts.
        run: The run, and how often it was cleared. What it has reported itself counts only when somebody has
            cleared it since; an attempt of a task that follows a killed one does not count.
        began: When this attempt of the task began, by the clock of the catalog database.
        dag_id: The DAG of the run.
        conf: The conf with which a run accepts, as JSON; see `accepting`.
    """

    given: bool
    run: str
    began: datetime
    dag_id: str
    conf: str


class Judged(msgspec.Struct, frozen=True):
    """What becomes of findings.

    Attributes:
        accepted: Texts of those that are accepted, for the report.
        refused: Texts of the others; if there are any, the caller must raise an error with them.
        way_out: What to do if these are right, as sentences; "" if there are none.
    """

    accepted: Sequence[str] = ()
    refused: Sequence[str] = ()
    way_out: str = ""


def judge(catalog: Connection, found: Mapping[str, Sequence[Finding]], acceptance: Acceptance) -> Judged:
    """Judge what checks have found, each kind apart, and note what is refused.

    A kind is accepted if the run accepts, and each of its findings was reported before, with about as much
    left. If nothing is found of a kind, earlier reports of it are deleted: they do not cover a new loss.

    Args:
        catalog: Connection to the catalog database, in autocommit and outside of a transaction, so that what
            is noted stays when the work of the caller is rolled back.
        found: Kind of loss, and of what, such as `image records` → its findings.
        acceptance: Whether the run accepts what was reported.
    """
    assert catalog.info.transaction_status == TransactionStatus.IDLE
    accepted: list[str] = []
    refused: list[str] = []
    with catalog.transaction():
        catalog.execute("select pg_advisory_xact_lock(hashtext('refusal'))")
        catalog.execute("delete from refusal where refused_on < now() - make_interval(days => %s)", [DAYS])
        for scope, findings in found.items():
            reported = _reported(catalog, scope, acceptance) if acceptance.given else {}
            news = {finding.subject: _news(finding, reported) for finding in findings}
            if acceptance.given and not any(news.values()):
                accepted += [finding.text for finding in findings]
                if findings:
                    continue  # what was reported stays, for tasks that ask again
            else:
                refused += [
                    f"{finding.text}{f' ({news[finding.subject]})' if acceptance.given else ''}"
                    for finding in findings
                ]
            _note(catalog, scope, findings, acceptance)
    for text in accepted:
        log.warning("accepted, as it was reported before: %s", text)
    return Judged(accepted, refused, _way_out(acceptance) if refused else "")


def _reported(catalog: Connection, scope: str, acceptance: Acceptance) -> dict[str, tuple[int, datetime]]:
    """Return what was reported of a kind of loss: subject → what was left, and when."""
    rows = catalog.execute(
        "select subject, remains, refused_on from refusal"
        " where scope = %s and run <> %s and refused_on < %s",
        [scope, acceptance.run, acceptance.began],
    )
    return {subject: (remains, refused_on) for subject, remains, refused_on in rows}


def _news(finding: Finding, reported: Mapping[str, tuple[int, datetime]]) -> str:
    """Say what of a finding was not reported; "" if all of it was."""
    if finding.subject not in reported:
        return "not reported before"
    then, refused_on = reported[finding.subject]
    if finding.remains < then - tolerable(then):
        return f"but {then:,} when it was reported on {refused_on:%Y-%m-%d}"
    return ""


def _note(catalog: Connection, scope: str, findings: Sequence[Finding], acceptance: Acceptance) -> None:
    """Note what is refused, in place of what was reported before."""
    catalog.execute("delete from refusal where scope = %s", [scope])
    for finding in findings:
        catalog.execute(
            "insert into refusal (scope, subject, remains, says, run) values (%s, %s, %s, %s, %s)",
            [scope, finding.subject, finding.remains, finding.text, acceptance.run],
        )


def _way_out(acceptance: Acceptance) -> str:
    if acceptance.given:
        return (
            "Nobody can have accepted what was not reported. If it is right, clear this task: it then accepts "
            "what is reported now, and no more."
        )
    return (
        f"If this is right, trigger {acceptance.dag_id} with the conf {acceptance.conf}: it accepts what is "
        "reported here, and no more."
    )
