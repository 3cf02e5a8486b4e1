"""SQL that is stored in files beside the code that executes it."""

from functools import cache
from pathlib import Path
from typing import LiteralString


@cache
def read_sql(path: Path) -> LiteralString:
    """Return the SQL in a file. It is a literal, as in the source, so it may be composed and executed."""
    text: LiteralString = path.read_text(encoding="utf-8")
    return text
