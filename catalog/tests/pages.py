"""Commands in the pages of docs/."""

import re
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Return language, kind and content of each fenced block of a page; the kind may be empty."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))
