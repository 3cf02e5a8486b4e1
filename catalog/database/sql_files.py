"""The SQL statements of this package that are stored in files."""

from pathlib import Path
from typing import LiteralString

from catalog.core.sql_files import read_sql

_FOLDER = Path(__file__).parent / "sql"


def sql_file(name: str) -> LiteralString:
    """Return the statement in the file `sql/<name>.sql`."""
    return read_sql(_FOLDER / f"{name}.sql")
