"""What the runbook says an alert says, the code says."""

import ast
import re
from functools import cache

from catalog.local.stack import ROOT

PAGE = ROOT / "docs" / "running_in_production.md"
TABLE = re.compile(r"^\| Alert \|.*?\n\| ---.*?\n(.*?)^(?!\|)", re.DOTALL | re.MULTILINE)
QUOTED = re.compile(r"(?<![*\w])\*([^*]+)\*(?!\*)|^`([^`]+)`")
VARIES = re.compile(r"…|\d[\d,]*(?: in)?|\bN\b|[:.,]")
AIRFLOWS = {"up for reschedule"}


def rows():
    """The first cell of each row of the table of alerts."""
    found = TABLE.search(PAGE.read_text(encoding="utf-8") + "\n")
    return [line.split("|")[1].strip() for line in found[1].splitlines()]


@cache
def texts():
    """All texts of the code, with what is put into them left out."""
    found = []
    for path in (ROOT / "catalog").rglob("*.py"):
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return " \n".join(" ".join(text.replace("*", "").split()) for text in found)


def test_the_runbook_quotes_what_is_said():
    quoted = {text for cell in rows() for match in QUOTED.finditer(cell) for text in match.groups() if text}
    assert len(quoted) > 15
    pieces = {piece.strip() for text in quoted for piece in VARIES.split(text)}
    unknown = {piece for piece in pieces if len(piece.split()) > 1 and piece not in texts()} - AIRFLOWS
    assert not unknown
