"""The runbook, as a page whose rows the findings link to."""

import re
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from markdown_it import MarkdownIt
from markupsafe import Markup

from catalog.plugins.dashboard.rendering import Page

router = APIRouter()
_TO_A_FILE = re.compile(r"\[([^]]+)\]\((?!#|https?:)[^)]*\)")  # a link to a page that is not served
_PACKAGED = Path(__file__).parent / "runbook.md"  # in an installed package
_SOURCE = Path(__file__).parents[3] / "docs" / "runbook.md"  # in a checkout


@router.get("/runbook", response_class=HTMLResponse)
def show() -> HTMLResponse:
    """Show the runbook."""
    heading, text = parts()
    return Page().render("runbook.html", heading=heading, text=text)


@cache
def parts() -> tuple[str, Markup]:
    """Return the heading of the runbook, and the rest as HTML. Its anchors are HTML already."""
    path = _PACKAGED if _PACKAGED.exists() else _SOURCE
    heading, _, text = path.read_text("utf-8").partition("\n")
    text = _TO_A_FILE.sub(r"\1", text)
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return heading.removeprefix("# "), Markup(rendered)  # noqa: S704 - a file of this package
