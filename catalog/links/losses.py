"""What a provider would lose beyond the usual: then none of its records is removed until somebody accepts it.

Files that were moved, a path that a CDN has lost, and a host that answers 404 to this program only look, one
by one, like files that are gone. Only the numbers tell.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import sql

from catalog.core.accepting import accepting
from catalog.core.errors import Fatal, Refused
from catalog.core.loss_limits import FEW, SOME, lost_too_many, tolerable
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.links.judging import Concluded, Losses
from catalog.links.plan import AGAIN, MOST_AGAIN, Survey
from catalog.links.removal import count_gone
from catalog.links.report import Line

WITHIN = timedelta(weeks=52)  # in which removals add up
ACCEPT = "accept_removals"  # in the conf of a run
REPORTED = timedelta(days=31)  # for which what a survey has reported can be accepted


def check_accepted(*, accept: bool, provider: str | None, mark: bool) -> None:
    """Refuse a form that accepts removals of no provider in particular, or of a run that makes none."""
    if accept and not provider:
        raise Refused("accept_removals: it needs a provider; set it, too.")
    if accept and not mark:
        raise Refused("accept_removals: without mark, nothing is removed; correct one of them.")


def losses(
    connection: Connection,
    survey: Survey,
    found: Concluded,
    gone: int,
    *,
    now: datetime,
    most: float,
    accept: bool = False,
) -> Losses:
    """Return what a survey would remove, and what of it is beyond the usual.

    Args:
        connection: Connection to the catalog database.
        survey: The survey, which is judged.
        found: What it has found.
        gone: Number of its records that would be removed.
        now: The time.
        most: Share of a provider's records that may be removed within a year.
        accept: More than that is accepted, if about as much was reported before.
    """
    if not gone:
        # While a host fails, its files are neither gone nor there: what others have found still waits.
        waits = count_gone(connection, survey, now, of_slice=bool(survey.slices)) > 0
        return Losses(says_nothing=waits)
    due = count_gone(connection, survey, now)
    of_sample = [*_of_sample(connection, survey, found, now, most)]
    findings = [
        *_of_provider(connection, survey, due, now, most),
        *_of_slice(survey, found, gone, most),
        *of_sample,
    ]
    if accept and findings:
        reported = _reported(connection, survey, now)
        unseen = [*_unseen(survey, found, gone, due, reported, sampled=bool(of_sample))]
        return Losses(gone, due, [*findings, *unseen]) if unseen else Losses(gone, due, accepted=findings)
    return Losses(gone, due, findings)


class _Reported(NamedTuple):
    """What a survey of the same records has reported, and has not removed."""

    gone: int  # records that it would have removed
    due: int  # those of the provider
    high: float | None  # upper end of its estimate; None if it made none
    when: datetime


def _reported(connection: Connection, survey: Survey, now: datetime) -> _Reported | None:
    """Return what was last reported before the run was triggered, or by the run before its task was cleared.

    What somebody has accepted since, or a later check has not found, is not reported any more.
    """
    query = sql.SQL("""
        with own as (select * from link_survey where {of_survey}),
             newest as (
                 select s.*
                   from link_survey s join own using (provider, media_type, slices, slice)
                  where s.concluded_on <= %(now)s
                    and s.too_many is not null
                    and case when s.run_id = own.run_id then s.too_many
                        else s.concluded_on between own.planned_on - %(reported)s and own.planned_on end
                  order by s.planned_on desc limit 1)
        select s.left_gone, coalesce(s.left_due, s.left_gone), s.high, s.concluded_on
          from newest s, own
         where s.too_many
           and not exists (
               select from link_survey a
                where a.provider = s.provider and a.media_type = s.media_type
                  and a.slices = s.slices and a.slice = s.slice
                  and a.run_id <> own.run_id and a.accepted_on between s.concluded_on and %(now)s)
    """).format(**survey.names)
    row = connection.execute(query, {**survey.key, "now": now, "reported": REPORTED}).fetchone()
    return _Reported(*row) if row else None


def _unseen(
    survey: Survey, found: Concluded, gone: int, due: int, reported: _Reported | None, *, sampled: bool
) -> Iterator[str]:
    """Yield what is beyond that which was reported, and which nobody can have accepted.

    A task that accepts a slice removes the records of the slice only. The files that a sample finds to be
    gone vary by chance, within the interval of its estimate.
    """
    if reported is None:
        yield "no check has reported this before, so nobody can have accepted it"
        return
    when = f"when that was reported ({reported.when:%Y-%m-%d})"
    now, then = (gone, reported.gone) if survey.slices else (due, reported.due)
    if now > then + tolerable(then):
        yield f"{now:,} records would be removed, but {then:,} {when}"
    low, high = found.estimate.low if found.estimate else 0.0, reported.high or 0.0
    if sampled and low > high:
        yield f"at least {low:.1%} of the files are gone, but at most {high:.1%} {when}"


def refuse_losses(survey: Survey, found: Losses, conf: Mapping[str, Any]) -> None:
    """Raise Fatal if there are findings.

    Args:
        survey: The survey, which is judged.
        found: What it would remove.
        conf: The conf of the run, as it was given.
    """
    if found.findings:
        way_out = (
            "clear this task, which accepts what it has reported"
            if conf.get(ACCEPT)
            else _trigger(accepting_removals(conf, survey.provider, found.due))
        )
        raise Fatal(f"{survey}: {'; '.join(found.findings)}. {_advice(way_out)}")


def refuse_silence(survey: Survey, found: Losses, *, accept: bool) -> None:
    """Raise Fatal if a run that accepts removals has not seen what waits for it, and so removes nothing."""
    if accept and found.says_nothing:
        raise Fatal(
            f"{survey}: nothing is removed. The files whose removal was reported are neither gone nor there "
            "for this run, because their hosts fail, or too few other files of theirs were asked or answer. "
            "The report stands: trigger a run with the same conf when they do."
        )


def refuse_slices(found: Iterable[Line], conf: Mapping[str, Any]) -> None:
    """Raise Fatal, once for a run, if slices would lose too many records; their logs have the findings.

    Args:
        found: What the run has found.
        conf: The conf of the run, as it was given.
    """
    refused = [line for line in found if line.slices and line.too_many]
    if refused:
        provider = refused[0].provider
        numbers = "; ".join(f"{line.media_type}: {line.left:,}" for line in refused)
        what, way_out = "than usual", _trigger(accepting_removals(conf, provider))
        if conf.get(ACCEPT):
            what = "than usual, and than were reported before,"
            way_out = "clear the tasks `judge` and `report`, which accept what they have reported"
        raise Fatal(
            f"{provider}: far more records of slices {what} would be removed because their files are gone "
            f"({numbers}). {_advice(way_out)}"
        )


def accepting_removals(conf: Mapping[str, Any], provider: str, due: int = 0) -> str:
    """Return the conf of a run that finds the same and accepts it, as JSON.

    Another `failing` or `margin` would find something else.

    Args:
        conf: The conf of the run that has found it, as it was given.
        provider: Name of the provider in the catalog.
        due: Records that a run of samples would remove.
    """
    chosen = {key: given for key, given in conf.items() if key != "mark"} | {"provider": provider}
    if not conf.get("slices") and due >= AGAIN:  # as many would not all be checked by that run
        chosen["again"] = MOST_AGAIN
    return accepting(chosen, ACCEPT)


def _trigger(conf: str) -> str:
    return f"trigger a run with the conf {conf}"


def _advice(way_out: str) -> str:
    return (
        "Nothing is removed. Look at some of these files. If they are there, correct the URLs of those that "
        "were moved, or ask the operators of the host why it says 404 to this program. If they are gone, "
        f"{way_out}."
    )


def note_accepted(connection: Connection, survey: Survey, now: datetime) -> None:
    """Note that the losses of a provider are accepted: neither earlier ones count, nor those of the run."""
    statement = sql.SQL("update link_survey set accepted_on = %(now)s where {of_survey}")
    connection.execute(statement.format(**survey.names), {**survey.key, "now": now})


def note_left(connection: Connection, survey: Survey, left: Losses) -> None:
    """Note how many records a survey would remove and has not: that is reported, and can be accepted.

    Whether they are too many is left open by a survey that says nothing; the report before it stands.
    """
    statement = sql.SQL(
        "update link_survey set left_gone = %(gone)s, left_due = %(due)s, too_many = %(too_many)s"
        " where {of_survey}"
    )
    too_many = None if left.says_nothing else bool(left.findings)
    values = {**survey.key, "gone": left.gone, "due": left.due, "too_many": too_many}
    connection.execute(statement.format(**survey.names), values)


def _of_provider(
    connection: Connection, survey: Survey, due: int, now: datetime, most: float
) -> Iterator[str]:
    """Compare what the provider has with what it would lose, and has lost since that was last accepted.

    All that is due counts, whichever run has found it: what one run has not removed because it was too much,
    later ones do not remove in parts.
    """
    since, removed = _removed(connection, survey, now)
    lost = due + removed
    if lost < SOME:
        return
    enough = math.floor(lost / most) - removed + 1  # of a provider with as many, the share is smaller
    query = sql.SQL("""
        select count(*) from (
            select from {table} where provider = %(provider)s and not removed_from_source limit %(enough)s
        ) shown
    """).format(**survey.names)
    shown = value(connection, query, {**survey.key, "enough": enough})
    before = shown + removed
    if shown < enough and lost_too_many(before, before - lost, most):
        earlier = f", after {removed:,} since {since:%Y-%m-%d}" if removed else ""
        yield (
            f"{due:,} records would be removed because their files are gone{earlier}: {lost / before:.1%} of "
            f"{before:,}, where at most {most:.0%} a year is usual"
        )


def _removed(connection: Connection, survey: Survey, now: datetime) -> tuple[datetime, int]:
    """Return how many records of the provider were removed since that was last accepted, and since when.

    A removal that has ended does not count, and neither does one by a run whose removals were accepted: such
    a run may be killed, and go on. A moment to come does not count as accepted.
    """
    since = value(
        connection,
        """
        select greatest(%(earliest)s, max(accepted_on)) from link_survey
         where provider = %(provider)s and media_type = %(media)s and accepted_on <= %(now)s
        """,
        {**survey.key, "earliest": now - WITHIN, "now": now},
    )
    removed = value(
        connection,
        """
        select count(*) from link_removal r
         where provider = %(provider)s and media_type = %(media)s and ended_on is null
           and removed_on > %(since)s
           and not exists (
               select from link_survey s
                where s.run_id = r.run_id and s.media_type = r.media_type and s.provider = r.provider
                  and s.accepted_on is not null)
        """,
        {**survey.key, "since": since},
    )
    return since, int(removed)


def _of_slice(survey: Survey, found: Concluded, gone: int, most: float) -> Iterator[str]:
    """Compare what a slice has with what it would lose: it is a random part of what the provider has.

    Otherwise, the slices that are judged first would lose as much as all of them may lose together.
    """
    checked = max(found.there + found.gone + found.unclear, gone)  # controls may be gone, too
    if survey.slices and lost_too_many(checked, checked - gone, most):
        yield (
            f"{gone:,} records of the slice would be removed: {gone / checked:.1%} of {checked:,}, where at "
            f"most {most:.0%} is usual"
        )


def _of_sample(
    connection: Connection, survey: Survey, found: Concluded, now: datetime, most: float
) -> Iterator[str]:
    """Look at what the sample tells of all records: of a large provider, a run checks and removes only few.

    A share that was accepted is no news: the others that were gone then are removed by and by.
    """
    if survey.slices or found.estimate is None or found.gone < FEW:
        return
    row = connection.execute(
        """
        select share, accepted_on from link_survey
         where provider = %(provider)s and media_type = %(media)s and slices = 0
           and share is not null and accepted_on <= %(now)s
         order by accepted_on desc limit 1
        """,
        {**survey.key, "now": now},
    ).fetchone()
    share, low, high = found.estimate
    accepted = row[0] if row else 0.0
    if low > accepted + most:
        besides = f", besides {accepted:.1%} that were accepted on {row[1]:%Y-%m-%d}" if row else ""
        yield (
            f"by its sample, {share:.1%} of the files are gone (95%: {low:.1%} to {high:.1%}), where at most "
            f"{most:.0%} is usual{besides}"
        )
