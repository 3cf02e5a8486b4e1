"""SQL statements that are stored in files."""

from functools import cache
from pathlib import Path
from typing import LiteralString

_FOLDER = Path(__file__).parent / "sql"


@cache
def statement(name: str) -> LiteralString:
    """Return the statement in the file `sql/<name>.sql`."""
    text: LiteralString = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    return text
