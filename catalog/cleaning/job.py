"""The cleaning of a table by one rule: a batched update whose values the rule computes."""

from typing import Unpack

from catalog.cleaning.rule import Rule
from catalog.cleaning.survey import judge_all
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.database.batch_job import BatchOptions
from catalog.database.computed_update import ComputedUpdate, Row


class CleaningJob(ComputedUpdate):
    """The cleaning of a table by one rule; see `ComputedUpdate`.

    Args:
        connection: Connection to the catalog database, in autocommit, used by nothing else.
        run_id: The DAG run.
        rule: The rule.
        media: The media table.
        options: See `StripedUpdate`.
    """

    assignments_field = "a rule"
    row_advice = ""

    def __init__(
        self,
        connection: Connection,
        run_id: str,
        rule: Rule,
        media: MediaType,
        **options: Unpack[BatchOptions],
    ) -> None:
        def compute(rows: list[Row]) -> list[Row]:
            return [found.changes for found in judge_all(connection, rule, media, rows)]

        super().__init__(
            connection,
            name_of(rule, media),
            run_id,
            media,
            f"clean {media}: {rule.about}",
            rule.where(media),
            writes=rule.columns(media),
            reads=rule.needs(media),
            compute=compute,
            **options,
        )


def name_of(rule: Rule, media: MediaType) -> str:
    """Return the query_id of the cleaning of a table by a rule."""
    return f"clean_{media}_{rule.name}"


def selection(rule: Rule, media: MediaType) -> str:
    """Return the table of the rows that a cleaning has selected."""
    return f"{name_of(rule, media)}_rows_to_update"
