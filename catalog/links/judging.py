"""Which outcomes of a survey are reliable, and the estimate that follows from them."""

from datetime import datetime

import msgspec
from psycopg import sql

from catalog.core.session import Connection
from catalog.links.answers import INVALID, LONG_ROBOTS, PRIVATE, ROBOTS, SLOW_ROBOTS
from catalog.links.estimate import Estimate, wilson
from catalog.links.plan import Survey

MIN_CONTROLS = 3  # other records without which nothing is known of a host or provider
SHARED_TARGET = "redirects to what other records redirect to"
SAME_SIZE = "has one size with others, and not the stored one"
HOST_FAILS, PROVIDER_FAILS = "too few controls of its host answer", "its provider fails as a whole"
IN_A_ROW = "its host said so to everything for a while"
STOPPED = "its host no longer answers for files that were there"
# Such outcomes may hide files that are gone.
UNRELIABLE = [SHARED_TARGET, SAME_SIZE, HOST_FAILS, PROVIDER_FAILS, IN_A_ROW, STOPPED]
MAX_UNRELIABLE = 0.05  # share of a sample; with more of them there is no estimate
# Share of the files of a host of which as many may have one size by chance: of a million, dozens do.
SAME_BY_CHANCE = 0.001
CHANCE = 0.001  # that as many gone files follow each other in a random order; below it, they are unclear
NOT_ASKED = [ROBOTS, SLOW_ROBOTS, LONG_ROBOTS, PRIVATE, INVALID]  # such records say nothing about their host


class Losses(msgspec.Struct, frozen=True):
    """What a survey would remove.

    Attributes:
        gone: Its records that are gone for long enough.
        due: The same of the provider, by the checks of any run; not counted if `gone` is 0.
        findings: What of it is beyond the usual, and is not accepted; one sentence with the numbers each.
        accepted: What of it is beyond the usual, and is accepted.
        says_nothing: None of its records is, although others have found some to be: these wait as before.
    """

    gone: int = 0
    due: int = 0
    findings: list[str] = []
    accepted: list[str] = []
    says_nothing: bool = False


class Concluded(msgspec.Struct, frozen=True):
    """What a survey found.

    Attributes:
        there: Links of the sample whose file is there.
        gone: Links of the sample whose file is gone.
        unclear: Links of the sample that say neither.
        resized: Files of any purpose whose size is not the stored one.
        estimate: Share of gone ones among the clear ones; None if none is clear, or too many are unreliable.
        removed: Records that were removed by this call.
        back: Records that were brought back by this call.
        left: What would be removed, and was not.
    """

    there: int
    gone: int
    unclear: int
    resized: int
    estimate: Estimate | None
    removed: int = 0
    back: int = 0
    left: Losses = Losses()


def judge(connection: Connection, survey: Survey, failing: float) -> None:
    """Make outcomes unclear that say less than they seem to, then mark all outcomes as judged.

    Args:
        connection: Connection to the catalog database.
        survey: The survey; all its links are checked.
        failing: Share of other records of a host, or of a provider, that may fail without making its gone
            ones unclear.
    """
    connection.execute(
        sql.SQL("""
        update link_check c set outcome = 'unclear', reason = %(reason)s
         where {of_survey} and outcome = 'there' and redirect is not null and not judged
           and exists (select from link_check other where md5(other.redirect) = md5(c.redirect)
                          and other.redirect = c.redirect and other.url <> c.url)
        """).format(**survey.names),
        {**survey.key, "reason": SHARED_TARGET},
    )
    connection.execute(
        survey.statement("same_size"),
        {**survey.key, "reason": SAME_SIZE, "least": MIN_CONTROLS, "share": SAME_BY_CHANCE},
    )
    connection.execute(survey.statement("in_a_row"), {**survey.key, "reason": IN_A_ROW, "chance": CHANCE})
    for reason, group in ((HOST_FAILS, "host"), (PROVIDER_FAILS, "provider")):
        connection.execute(
            survey.statement("failing", group=sql.Identifier(group)),
            {
                **survey.key,
                "reason": reason,
                "not_asked": NOT_ASKED,
                "least": MIN_CONTROLS,
                "failing": failing,
            },
        )
    connection.execute(
        sql.SQL("update link_check set judged = true where not judged and {of_survey}").format(
            **survey.names
        ),
        survey.key,
    )


def store_numbers(connection: Connection, survey: Survey, now: datetime) -> Concluded:
    """Store the numbers of a survey and its estimate, and return them."""
    query = sql.SQL("""
        select count(*) filter (where outcome = 'there' and purpose = 'sample'),
               count(*) filter (where outcome = 'gone' and purpose = 'sample'),
               count(*) filter (where outcome = 'unclear' and purpose = 'sample'),
               count(*) filter (where outcome = 'there' and size <> known_size),
               count(*) filter (where outcome = 'unclear' and purpose = 'sample'
                                  and reason = any(%(unreliable)s))
          from link_check where {of_survey}
    """).format(**survey.names)
    [row] = connection.execute(query, {**survey.key, "unreliable": UNRELIABLE}).fetchall()
    there, gone, unclear, resized, unreliable = row
    found = Concluded(there, gone, unclear, resized, _estimate(there, gone, unreliable))
    share, low, high = found.estimate or (None, None, None)
    statement = sql.SQL("""
        update link_survey
           set concluded_on = coalesce(concluded_on, %(now)s), there = %(there)s, gone = %(gone)s,
               unclear = %(unclear)s, resized = %(resized)s, share = %(share)s, low = %(low)s, high = %(high)s
         where {of_survey}
    """).format(**survey.names)
    numbers = {"there": there, "gone": gone, "unclear": unclear, "resized": resized}
    estimated = {"share": share, "low": low, "high": high}
    connection.execute(statement, {**survey.key, **numbers, **estimated, "now": now})
    return found


def _estimate(there: int, gone: int, unreliable: int) -> Estimate | None:
    """Estimate the share of gone files; unreliable outcomes may all be of gone ones."""
    links = there + gone + unreliable
    if unreliable > MAX_UNRELIABLE * links:
        return None
    low, high = wilson(gone, links), wilson(gone + unreliable, links)
    return Estimate(low.share, low.low, high.high) if low and high else None
