"""What checks have refused: a run accepts only what was reported before.

A person who triggers a run that accepts a loss has read about one. By the time that its tasks work, far more
may be gone, or something else that nobody has read about. So what a check refuses is noted, and an acceptance
covers as much of it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from psycopg.pq import TransactionStatus

from catalog.core.loss_limits import tolerable
from catalog.core.session import Connection
from catalog.core.wording import join_first

log = logging.getLogger(__name__)
DAYS = 31  # for which a report can be accepted
MOST = 20  # findings that a message names


class Finding(msgspec.Struct, frozen=True):
    """Something of which too much is lost.

    Attributes:
        subject: What has lost it, such as a source. If no numbers tell what it is compared with, it names
            that: once a run has accepted the loss, the next one is another.
        before: How much there was.
        remains: What is left. Less is worse, and so is as much of more: a file has what it has, while what it
            replaces grows.
        text: Both numbers, in words, without a full stop.
        may_be_away: What is lost may only be away, such as a disk that is not mounted. So a run that is
            cleared after a repair does not accept what it has reported itself.
    """

    subject: str
    before: int
    remains: int
    text: str
    may_be_away: bool = False

    @property
    def lost(self) -> int:
        return max(self.before - self.remains, 0)


Found = Mapping[str, Sequence[Finding]]  # kind of loss, and of what, such as `image rows` → its findings


class Acceptance(msgspec.Struct, frozen=True):
    """Whether a run accepts what was reported, and how one does.

    Attributes:
        given: The conf of the run accepts.
        dag_id: Its DAG.
        run_id: Its id.
        cleared: How often it was cleared. What it has reported itself counts only when somebody has cleared
            a task of it since: the next attempt after a killed one accepts nothing.
        began: When this attempt of the task began, by the clock of the catalog database.
        conf: The conf with which a run accepts, as JSON; see `accepting`.
    """

    given: bool
    dag_id: str
    run_id: str
    cleared: int
    began: datetime
    conf: str

    @property
    def run(self) -> str:
        return f"{self.dag_id} {self.run_id}"


class Judged(msgspec.Struct, frozen=True):
    """What becomes of findings.

    Attributes:
        accepted: Texts of those that are accepted, for the report.
        refused: Texts of the others; if there are any, the caller must raise an error with them.
        way_out: What to do if these are right, in whole sentences; "" if there are none.
    """

    accepted: Sequence[str] = ()
    refused: Sequence[str] = ()
    way_out: str = ""

    @property
    def problems(self) -> str:
        """What is refused, for a message; "" if nothing is."""
        return join_first(self.refused, most=MOST, separator="; ")

    def message(self, *sentences: str) -> str:
        """Return sentences and the way out, as the message of an error; empty ones are left out."""
        return " ".join(filter(None, (*sentences, self.way_out)))


class _Report(NamedTuple):
    """What was reported of a subject."""

    remains: int
    lost: int | None  # None: an earlier release has not kept it
    refused_on: datetime
    own: bool  # by the run that is judged


Judge = Callable[[Found], Judged]  # of one attempt of a task


def refuse_all(found: Found) -> Judged:
    """Judge that nothing is accepted, without a note."""
    return Judged(refused=[finding.text for findings in found.values() for finding in findings])


def accept_all(found: Found) -> Judged:
    """Judge that everything is accepted, whether reported or not; for trials and tests."""
    return Judged(accepted=[finding.text for findings in found.values() for finding in findings])


def judge(
    catalog: Connection, found: Found, acceptance: Acceptance, follows: Mapping[str, str] | None = None
) -> Judged:
    """Judge what checks have found, each kind apart, and note what is refused.

    A kind is accepted if the run accepts, and each of its findings was reported before, with about as much
    lost and left. If nothing is found of a kind, earlier reports of it are deleted: they do not cover a new
    loss.

    Args:
        catalog: Connection to the catalog database, in autocommit and outside of a transaction, so that what
            is noted stays when the work of the caller is rolled back.
        found: What was found, by kind.
        acceptance: Whether the run accepts what was reported.
        follows: Kind → another one of which it is the consequence: what the run has accepted of that counts
            as reported, too.
    """
    assert catalog.info.transaction_status == TransactionStatus.IDLE
    accepted: list[str] = []
    refused: list[str] = []
    away = False
    with catalog.transaction():
        catalog.execute("select pg_advisory_xact_lock(hashtext('refusal'))")
        catalog.execute("delete from refusal where refused_on < now() - make_interval(days => %s)", [DAYS])
        for scope, findings in found.items():
            reported = _reported(catalog, scope, acceptance, (follows or {}).get(scope))
            news = [
                _news(finding, reported.get(finding.subject, ())) if acceptance.given else ""
                for finding in findings
            ]
            if not findings:
                _forget(catalog, scope, acceptance)
            elif acceptance.given and not any(news):
                accepted += [finding.text for finding in findings]
                _note_accepted(catalog, scope, findings, acceptance)
            else:
                away = away or any(finding.may_be_away for finding in findings)
                refused += [_with_news(one.text, new) for one, new in zip(findings, news, strict=True)]
                _note_refused(catalog, scope, findings, acceptance)
    for text in accepted:
        log.warning("accepted, as it was reported before: %s", text)
    for text in refused:  # the error names the first ones
        log.warning("refused: %s", text)
    return Judged(accepted, refused, _way_out(acceptance, away) if refused else "")


def accepted_by(catalog: Connection, dag_id: str, run_id: str) -> list[str]:
    """Return what a run has accepted, in sentences, for its report."""
    query = "select says from refusal where accepted_by = %s order by scope, subject"
    return [says for (says,) in catalog.execute(query, [f"{dag_id} {run_id}"])]


def _reported(
    catalog: Connection, scope: str, acceptance: Acceptance, followed: str | None
) -> dict[str, list[_Report]]:
    """Return what was reported of a kind of loss, by subject: of itself, and of the one that it follows."""
    rows = catalog.execute(
        """
        select subject, remains, lost, refused_on,
               dag_id = %(dag_id)s and run_id = %(run_id)s as own
          from refusal
         where not healed
           and (scope = %(scope)s and refused_on < %(began)s
                and not (dag_id = %(dag_id)s and run_id = %(run_id)s and cleared >= %(cleared)s)
                or scope = %(followed)s and accepted_by = %(run)s)
         order by scope = %(scope)s
        """,
        {**msgspec.structs.asdict(acceptance), "run": acceptance.run, "scope": scope, "followed": followed},
    )
    reported: dict[str, list[_Report]] = {}
    for subject, *report in rows:
        reported.setdefault(subject, []).append(_Report(*report))
    return reported


def _news(finding: Finding, reported: Sequence[_Report]) -> str:
    """Say what of a finding was not reported; "" if one report covers all of it."""
    news = [_beyond(finding, report) for report in reported] or ["not reported before"]
    return news[-1] if all(news) else ""


def _beyond(finding: Finding, report: _Report) -> str:
    if report.lost is None:
        return "not reported before"
    if report.own and finding.may_be_away:
        return "not reported by another run"
    if finding.remains < report.remains - tolerable(report.remains):
        return f"but {report.remains:,} when it was reported on {report.refused_on:%Y-%m-%d}"
    if finding.lost > report.lost + tolerable(report.lost):
        return f"but {report.lost:,} fewer when it was reported on {report.refused_on:%Y-%m-%d}"
    return ""


def _with_news(text: str, news: str) -> str:
    return f"{text} ({news})" if news else text


def _forget(catalog: Connection, scope: str, acceptance: Acceptance) -> None:
    """Delete the reports of a kind; what the run has accepted is kept for its report, and covers nothing."""
    catalog.execute(
        "delete from refusal where scope = %s and accepted_by is distinct from %s", [scope, acceptance.run]
    )
    catalog.execute("update refusal set healed = true where scope = %s", [scope])


def _note_accepted(
    catalog: Connection, scope: str, findings: Sequence[Finding], acceptance: Acceptance
) -> None:
    """Note what is accepted. What was left when it was reported stays, for tasks that ask again."""
    for finding in findings:
        catalog.execute(
            "update refusal set accepted_by = %s, says = %s where scope = %s and subject = %s",
            [acceptance.run, finding.text, scope, finding.subject],
        )


def _note_refused(
    catalog: Connection, scope: str, findings: Sequence[Finding], acceptance: Acceptance
) -> None:
    """Note what is refused, in place of what was reported before."""
    catalog.execute("delete from refusal where scope = %s", [scope])
    for finding in findings:
        catalog.execute(
            """
            insert into refusal (scope, subject, remains, lost, says, dag_id, run_id, cleared)
            values (%(scope)s, %(subject)s, %(remains)s, %(lost)s, %(text)s,
                    %(dag_id)s, %(run_id)s, %(cleared)s)
            on conflict (scope, subject) do update
               set remains = least(refusal.remains, excluded.remains),
                   lost = greatest(refusal.lost, excluded.lost),
                   says = concat_ws('; ', refusal.says, excluded.says)
            """,
            {
                **msgspec.structs.asdict(acceptance),
                **msgspec.structs.asdict(finding),
                "lost": finding.lost,
                "scope": scope,
            },
        )


def _way_out(acceptance: Acceptance, away: bool) -> str:
    if acceptance.given and not away:
        return (
            "Nobody can have accepted what was not reported. If this loss is right, clear this task: it then "
            "accepts what is reported now, and no more."
        )
    again = " again" if acceptance.given else ""
    return (
        f"If this loss is right, trigger {acceptance.dag_id}{again} with the conf {acceptance.conf}: it "
        "accepts what is reported here, and no more."
    )
