"""What the rules find in the rows of a database that is not adopted yet, or that others have written to."""

from psycopg import sql

from catalog.cleaning.rule import JSON_COLUMNS, Rule
from catalog.cleaning.rules import RULES
from catalog.cleaning.survey import Survey, survey
from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.queries import value
from catalog.core.session import Connection, settle
from catalog.database.computed_update import column_types
from catalog.database.estimates import planned_rows
from catalog.database.locks import limit_lock_wait

SAMPLE = 200_000  # rows of a table that are read


class Finding(Survey, kw_only=True):
    """What a rule finds in the rows of a table; see `Survey`.

    Attributes:
        table: The media table.
        rule: Name of the rule.
        about: What the rule changes.
        exact: Whether all rows were read. Otherwise the numbers of rows are estimates from a sample, and a
            rare value may be missing.
        read: Number of rows that were read.
    """

    table: str
    rule: str
    about: str
    exact: bool
    read: int


def inspect_rows(connection: Connection, sample: int = SAMPLE) -> list[Finding]:
    """Return what the rules find, at most `sample` rows of each table being read; changes nothing.

    Args:
        connection: Connection to the catalog database, in autocommit.
        sample: About the number of rows of a larger table to read; all of a smaller one are.
    """
    settle(connection)
    limit_lock_wait(connection)
    return [found for media in MEDIA_TYPES for found in _inspect(connection, media, sample)]


def _inspect(connection: Connection, media: MediaType, sample: int) -> list[Finding]:
    types = column_types(connection, media)
    rules = [rule for rule in RULES.values() if _applies(rule, media, types)]
    if not rules:
        return []
    rows = planned_rows(connection, media)
    share = min(100.0, 100 * sample / max(1, rows))
    part = sql.SQL("" if share >= 100 else " tablesample system ({}) repeatable (1)").format(share)
    query = sql.SQL("select count(*) from {}{}").format(sql.Identifier("public", media), part)
    read = value(connection, query)
    factor = 100 / share  # the sample is a share of the pages, whatever the estimate of the rows is
    found = survey(connection, rules, media, share=share)
    return [
        Finding(
            rows=round(one.rows * factor),
            examples=one.examples,
            left={reason: round(number * factor) for reason, number in one.left.items()},
            left_examples=one.left_examples,
            table=media,
            rule=rule.name,
            about=rule.about,
            exact=share >= 100,
            read=read,
        )
        for rule in rules
        if (one := found[rule.name]).rows or one.left
    ]


def _applies(rule: Rule, media: MediaType, types: dict[str, str]) -> bool:
    """Return whether a table has the columns of a rule, with the types that it expects."""
    needs = rule.needs(media)
    return all(name in types for name in (*needs, "identifier")) and all(
        types[name] == "jsonb" for name in JSON_COLUMNS.intersection(needs)
    )
