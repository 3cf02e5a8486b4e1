"""Whether a file of labels is older than the one from which labels of its images come.

Such a file has about as many labels for the same images, so nothing but its age tells it. The storage knows
when a file was last changed; a run remembers that of its file, by the clock of the storage.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from psycopg import sql

from catalog.core.dates import utc
from catalog.core.errors import Refused
from catalog.core.sql_files import read_sql
from catalog.database.refusals import Finding, Judge
from catalog.labels.run import LabelRun, State
from catalog.labels.shortfall import LOOKED_UP

_REPLACED = read_sql(Path(__file__).parent / "sql" / "replaced.sql")
# A file that was merged last may be merged again, such as with another least confidence.
_NEWER = """
    with own as (
        select run_id, provider, size, version, file_changed_on, merging_since
          from label_run where run_id = %s
    ),
    merged as (
        select other.* from label_run other join own using (provider)
         where other.run_id <> own.run_id
           and (other.merging_since is not null or other.outcome ->> 'merged' = 'true')
    ),
    last as (
        select size, version from merged order by coalesce(merging_since, renewed_on) desc limit 1
    )
    select merged.url, merged.file_changed_on, own.file_changed_on
      from own join merged on merged.file_changed_on > own.file_changed_on
     where own.merging_since is null
       and not exists (select from last where (last.size, last.version) = (own.size, own.version))
     order by merged.file_changed_on desc limit 1
"""


class Newer(NamedTuple):
    """A newer file than that of a run, of which an earlier run has merged labels.

    Attributes:
        url: Its address.
        changed_on: When it was last changed.
        own_changed_on: When the file of the run was.
    """

    url: str
    changed_on: datetime
    own_changed_on: datetime


def refuse_older(run: LabelRun, state: State, judge: Judge) -> None:
    """Refuse a file that would put older labels in the place of newer ones.

    Nothing is known of the file of a run that an earlier release has made.

    Args:
        run: The run, whose lines are staged. One that has begun to merge is not refused any more.
        state: Its file.
        judge: Says whether it is accepted; what was reported of one newer file is not accepted of another.

    Raises:
        Refused: A newer file of the provider was merged, and images would get other labels than they have,
            and that is not accepted. Of many images, only `LOOKED_UP` are looked up.
    """
    judged = judge({state.kind("older"): [*_of_newer(run, state)]})
    if judged.refused:
        raise Refused(
            judged.message(
                f"file: {judged.problems}. Nothing was merged, and labels of earlier runs stay.",
                "Give the newer file, unless the older labels are right.",
            )
        )


def _of_newer(run: LabelRun, state: State) -> Iterator[Finding]:
    """Yield the newest file that is newer, if labels of it would be replaced."""
    row = run.connection.execute(_NEWER, [run.run_id]).fetchone()
    if row and (replaced := _replaced(run)):
        newer, images = Newer(*row), min(state.staged, LOOKED_UP)
        yield Finding(
            f"{newer.url}, {_shown(newer.changed_on)}",
            images,
            images - replaced,
            f"{run.url} was last changed on {_shown(newer.own_changed_on)}, but labels of {run.provider} "
            f"were merged from {newer.url}, changed on {_shown(newer.changed_on)}; {replaced:,} images "
            "would get other labels than they have",
        )


def _shown(moment: datetime) -> str:
    return f"{utc(moment):%Y-%m-%d %H:%M:%S} UTC"


def _replaced(run: LabelRun) -> int:
    """Return how many of the images with the lowest identifiers would get other labels than they have."""
    return run.count(_REPLACED, provider=sql.Literal(run.provider), most=sql.Literal(LOOKED_UP))
