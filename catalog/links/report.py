"""What a run has found, for people."""

from typing import Any

import msgspec

from catalog.core.session import Connection
from catalog.links.estimate import Estimate
from catalog.links.removal import ANSWERS, MOVED


class Line(msgspec.Struct, frozen=True):
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
    back: int
    still: int
    reasons: dict[str, int]


def lines(connection: Connection, run_id: str) -> list[Line]:
    """Return what a run has found so far, those with the most gone links first.

    Args:
        connection: Connection to the catalog database.
        run_id: The DAG run.
    """
    rows = connection.execute(
        """
        select s.provider, s.media_type, max(s.slice), count(s.concluded_on), count(*),
               coalesce(sum(s.there), 0), coalesce(sum(s.gone), 0), coalesce(sum(s.unclear), 0),
               coalesce(sum(s.resized), 0), max(s.share), max(s.low), max(s.high),
               (select count(*) from link_removal r where r.run_id = %(run_id)s
                   and r.provider = s.provider and r.media_type = s.media_type),
               (select count(*) from link_removal r where r.ended_by = %(run_id)s
                   and r.provider = s.provider and r.media_type = s.media_type
                   and r.ended_because = any(%(back)s)),
               (select count(*) from link_check c join link_removal r using (media_type, identifier)
                 where c.run_id = %(run_id)s and c.provider = s.provider
                   and c.media_type = s.media_type and c.purpose = 'again' and r.ended_on is null),
               (select coalesce(json_object_agg(reason, number), '{}') from (
                   select reason, count(*) as number from link_check c
                    where c.run_id = %(run_id)s and c.provider = s.provider
                      and c.media_type = s.media_type and c.outcome = 'unclear' and c.judged
                      and c.purpose = 'sample'
                    group by reason order by number desc) counted)
          from link_survey s
         where s.run_id = %(run_id)s
         group by s.provider, s.media_type
         order by sum(s.gone) desc nulls last, s.provider, s.media_type
        """,
        {"run_id": run_id, "back": [ANSWERS, MOVED]},
    ).fetchall()
    return [_line(row) for row in rows]


def _line(row: tuple[Any, ...]) -> Line:
    provider, media_type, last_slice, concluded, planned, *numbers = row
    there, gone, unclear, resized, share, low, high, removed, back, still, reasons = numbers
    sampled = last_slice == 0 and share is not None
    return Line(
        provider,
        media_type,
        planned if last_slice else 0,
        concluded,
        planned,
        there,
        gone,
        unclear,
        resized,
        Estimate(share, low, high) if sampled else None,
        removed,
        back,
        max(0, still - removed),
        reasons,
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
    more = [(line.resized, "of another size"), (line.removed, "removed"), (line.back, "back")]
    more.append((line.still, "removed before and still gone"))
    text += "".join(f"; {number:,} {what}" for number, what in more if number)
    if line.reasons:
        text += "; unclear: " + ", ".join(f"{number:,} {why}" for why, number in line.reasons.items())
    return f"  - {name}: {text}"
