"""What a run has found, for people."""

from typing import Any

import msgspec
from psycopg.rows import dict_row

from catalog.core.session import Connection
from catalog.links.estimate import Estimate
from catalog.links.removal import ANSWERS, MOVED


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What a run found of one provider and media type.

    Attributes:
        provider: Name of the provider in the catalog.
        media_type: Media type.
        slices: Slices that were checked; 0 for a sample.
        concluded: Surveys that are concluded.
        planned: Surveys that were planned.
        there: Links whose file is there.
        gone: Links whose file is gone.
        unclear: Links that say neither.
        resized: Files whose size is not the stored one.
        estimate: Share of gone ones of a sample; None for slices, or if none was clear.
        removed: Records that were removed.
        left: Records that would be removed, and were not.
        too_many: Whether that is because they are too many.
        accepted: Whether removals beyond the usual were accepted.
        back: Records that were brought back.
        still: Records that were removed before, were checked again, and stay removed.
        reasons: Why outcomes are unclear → number of links.
    """

    provider: str
    media_type: str
    slices: int
    concluded: int
    planned: int
    there: int
    gone: int
    unclear: int
    resized: int
    estimate: Estimate | None
    removed: int
    left: int
    too_many: bool
    accepted: bool
    back: int
    still: int
    reasons: dict[str, int]


def lines(connection: Connection, run_id: str) -> list[Line]:
    """Return what a run has found so far, those with the most gone links first.

    Args:
        connection: Connection to the catalog database.
        run_id: The DAG run.
    """
    query = """
        select s.provider, s.media_type, case when max(s.slice) > 0 then count(*) else 0 end as slices,
               count(s.concluded_on) as concluded, count(*) as planned,
               coalesce(sum(s.there), 0) as there, coalesce(sum(s.gone), 0) as gone,
               coalesce(sum(s.unclear), 0) as unclear, coalesce(sum(s.resized), 0) as resized,
               max(s.share) as share, max(s.low) as low, max(s.high) as high,
               coalesce(sum(s.left_gone), 0) as left, coalesce(bool_or(s.too_many), false) as too_many,
               count(s.accepted_on) > 0 as accepted,
               (select count(*) from link_removal r where r.run_id = %(run_id)s
                   and r.provider = s.provider and r.media_type = s.media_type) as removed,
               (select count(*) from link_removal r where r.ended_by = %(run_id)s
                   and r.provider = s.provider and r.media_type = s.media_type
                   and r.ended_because = any(%(back)s)) as back,
               (select count(*) from link_check c join link_removal r using (media_type, identifier)
                 where c.run_id = %(run_id)s and c.provider = s.provider
                   and c.media_type = s.media_type and c.purpose = 'again' and r.ended_on is null) as kept,
               (select coalesce(json_object_agg(reason, number), '{}') from (
                   select reason, count(*) as number from link_check c
                    where c.run_id = %(run_id)s and c.provider = s.provider
                      and c.media_type = s.media_type and c.outcome = 'unclear' and c.judged
                      and c.purpose = 'sample'
                    group by reason order by number desc) counted) as reasons
          from link_survey s
         where s.run_id = %(run_id)s
         group by s.provider, s.media_type
         order by sum(s.gone) desc nulls last, s.provider, s.media_type
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_line(**row) for row in cursor.execute(query, {"run_id": run_id, "back": [ANSWERS, MOVED]})]


def _line(share: float | None, low: float, high: float, kept: int, removed: int, **others: Any) -> Line:
    return Line(
        estimate=None if others["slices"] or share is None else Estimate(share, low, high),
        removed=removed,
        still=max(0, kept - removed),
        **others,
    )


def sentence(line: Line) -> str:
    """Return a line of the report."""
    name = f"{line.provider}, {line.media_type}"
    if line.concluded < line.planned:
        return f"  - {name}: {line.planned - line.concluded:,} of {line.planned:,} parts are not concluded"
    text = f"{line.gone:,} gone, {line.there:,} there, {line.unclear:,} unclear"
    if line.estimate:
        share, low, high = (f"{100 * value:.1f}" for value in line.estimate)
        text = f"{share} % gone (95 %: {low} to {high}); {text}"
    left = f"would be removed{', which is more than usual' if line.too_many else ''}"
    removed = f"removed{', more than usual, which was accepted' if line.accepted else ''}"
    more = [(line.resized, "of another size"), (line.removed, removed), (line.left, left)]
    more.append((line.back, "back"))
    more.append((line.still, "removed before and still gone"))
    text += "".join(f"; {number:,} {what}" for number, what in more if number)
    if line.reasons:
        text += "; unclear: " + ", ".join(f"{number:,} {why}" for why, number in line.reasons.items())
    return f"  - {name}: {text}"
