"""The runbook quotes messages as they are in the code."""

import ast
import re
from collections.abc import Iterator
from functools import cache

from catalog.local.stack import ROOT

PAGE = ROOT / "docs" / "runbook.md"
TABLES = re.compile(
    r"^\| (?:Alert|On the page \*Health\*) \|.*?\n\| ---.*?\n(.*?)^(?!\|)", re.DOTALL | re.MULTILINE
)
QUOTED = re.compile(r"(?<![*\w])\*([^*]+)\*(?!\*)|^`([^`]+)`")
VARIES = re.compile(r"…|\d[\d,]*(?: in)?|\bN\b|[:.,]")
AIRFLOW_TEXTS = {"up for reschedule", "Dag … is paused"}


def rows():
    """Return the first cell of each row of the tables of alerts and findings, without their anchors."""
    found = "".join(TABLES.findall(PAGE.read_text(encoding="utf-8") + "\n"))
    return [re.sub(r"<a id=.*?></a>", "", line.split("|")[1]).strip() for line in found.splitlines()]


def parts(string: ast.JoinedStr) -> Iterator[str]:
    """Yield the constant parts of an f-string, and `…` for each interpolated value."""
    for part in string.values:
        yield part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "…"


@cache
def strings():
    """Return all strings of the code, with `…` in place of interpolated values."""
    found = []
    for path in (ROOT / "catalog").rglob("*.py"):
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(parts(node)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return " \n".join(" ".join(string.replace("*", "").split()) for string in found)


def test_quoted_messages_are_in_the_code():
    quoted = {
        quote for cell in rows() for match in QUOTED.finditer(cell) for quote in match.groups() if quote
    }
    assert len(quoted) > 15
    pieces = {piece.strip() for quote in quoted for piece in VARIES.split(quote)}
    unknown = {piece for piece in pieces if len(piece.split()) > 1 and piece not in strings()} - AIRFLOW_TEXTS
    assert not unknown
