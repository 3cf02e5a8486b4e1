"""SQL that is not written where it is executed: in files beside the code, or made of trusted text."""

from functools import cache
from pathlib import Path
from typing import LiteralString

from psycopg import sql


@cache
def read_sql(path: Path) -> LiteralString:
    """Return the SQL in a file. It is a literal, as in the source, so it may be composed and executed."""
    text: LiteralString = path.read_text(encoding="utf-8")
    return text


def trusted(text: str) -> sql.SQL:
    """Return text as SQL, without quotes.

    Only for text that was written from a parse tree, that the server's own catalogs hold, such as the name of
    a type, or that is a constant of the source.
    """
    return sql.SQL(text)
