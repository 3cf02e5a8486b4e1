"""What a file lacks, or would take from images: too much of either is merged only if somebody accepts it.

Only what was reported of the same file can be accepted: by then, another one may be at its address.

A file of the wrong images, of another service, of an older run, or one whose end is missing, looks like any
other, line by line. Only the numbers tell.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec
from psycopg import sql
from psycopg.rows import class_row

from catalog.core.errors import Refused
from catalog.core.loss_limits import lost_too_many
from catalog.core.sql_files import read_sql
from catalog.core.wording import join_first
from catalog.database.refusals import Finding, Judge
from catalog.ingestion.completeness import NOTICEABLE, USUAL_REJECTS
from catalog.labels.run import LabelRun, State
from catalog.labels.unmerged import UnmergedLines

log = logging.getLogger(__name__)
USUAL = f"where {USUAL_REJECTS:.0%} is the most that is usual"
LOOKED_UP = 100_000  # images, which tell enough: identifiers are random, so the lowest are a fair sample
_COUNTS = read_sql(Path(__file__).parent / "sql" / "counts.sql")


class Counts(msgspec.Struct, frozen=True):
    """What the catalog has of the images of a run, or of some of them.

    Attributes:
        known: Number of the images that are in the catalog.
        before: Number of labels of the provider that they have.
        after: Number that they would have.
    """

    known: int
    before: int
    after: int


def refuse_shortfall(run: LabelRun, state: State, unmerged: UnmergedLines, judge: Judge) -> None:
    """Refuse a file of which much cannot be used, or that would take many labels away.

    Args:
        run: The run, whose lines are staged.
        state: Its file.
        unmerged: What of the file is not staged.
        judge: Says whether that is accepted.

    Raises:
        Refused: The file ends within its last line, or more than a fifth of its lines cannot be used, of its
            images are not in the catalog, or of the labels that these images have would go, and that is not
            accepted. Of many images, only `LOOKED_UP` are looked up, and none if the lines are refused.
    """
    _refuse(state.kind("lines"), _of_lines(run, unmerged), judge)
    _refuse(state.kind("images"), _of_images(run), judge)


def _refuse(kind: str, found: Iterator[Finding], judge: Judge) -> None:
    judged = judge({kind: [*found]})
    if judged.refused:
        raise Refused(
            judged.message(
                f"file: {judged.problems}. Nothing was merged, and labels of earlier runs stay.",
                "Have it written again if it is wrong.",
            )
        )


def counts_of(run: LabelRun, most: int | None = None) -> Counts:
    """Return what the catalog has of the images whose labels are staged.

    Args:
        run: The run, whose lines are staged.
        most: Look only this many up, those with the lowest identifiers; None for all.
    """
    staged: sql.Composable = run.table
    if most is not None:
        lowest = sql.SQL("(select image_uuid, tags from {} order by image_uuid limit {})")
        staged = lowest.format(run.table, sql.Literal(most))
    query = sql.SQL(_COUNTS).format(staged=staged, provider=sql.Literal(run.provider))
    with run.connection.cursor(row_factory=class_row(Counts)) as cursor:
        [found] = cursor.execute(query).fetchall()
        return found


def _of_lines(run: LabelRun, unmerged: UnmergedLines) -> Iterator[Finding]:
    """Yield what is wrong with the lines, as in a pull, or with the last one."""
    if unmerged.unusable >= NOTICEABLE and unmerged.unusable > USUAL_REJECTS * unmerged.read:
        examples = join_first(
            [f"{reason}: {shown[0]}" for reason, shown in unmerged.examples.items() if shown], most=5
        )
        yield Finding(
            "usable",
            unmerged.read,
            unmerged.read - unmerged.unusable,
            f"{unmerged.unusable:,} of {unmerged.read:,} lines of {run.url} cannot be used "
            f"({unmerged.unusable / unmerged.read:.0%}), {USUAL} ({examples})",
        )
    if unmerged.cut:
        text = f"{run.url} ends within its last line, so more may be missing ({unmerged.cut})"
        yield Finding("end", unmerged.read, unmerged.read, text)


def _of_images(run: LabelRun) -> Iterator[Finding]:
    """Yield what is wrong with the images of the lines, and with their labels."""
    staged, counts = run.count("select count(*) from {table}"), counts_of(run, LOOKED_UP)
    images = min(staged, LOOKED_UP)
    file = f"{run.url} with the lowest identifiers" if images < staged else run.url
    log.info(
        "%s of %s images of %s are in the catalog; they have %s labels of %s, and would have %s.",
        *(f"{counts.known:,}", f"{images:,}", file, f"{counts.before:,}", run.provider, f"{counts.after:,}"),
    )
    if lost_too_many(images, counts.known, USUAL_REJECTS) or (images and not counts.known):
        unknown = images - counts.known
        audio = run.count(
            "select count(*) from (select image_uuid from {table} order by image_uuid limit {most}) as lowest"
            " join audio on identifier = image_uuid",
            most=sql.Literal(LOOKED_UP),
        )
        yield Finding(
            "known",
            images,
            counts.known,
            f"{unknown:,} of {images:,} images of {file} are not in the catalog ({unknown / images:.0%}), "
            + USUAL
            + (f"; {audio:,} of them are audio files" if audio else ""),
        )
    if lost_too_many(counts.before, counts.after, USUAL_REJECTS):
        yield Finding(
            "labels",
            counts.before,
            counts.after,
            f"the images of {file} have {counts.before:,} labels of {run.provider}, and would have "
            f"{counts.after:,} ({1 - counts.after / counts.before:.0%} fewer), {USUAL}",
        )
