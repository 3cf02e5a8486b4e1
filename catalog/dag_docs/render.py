"""Renderer of DAGs.md: contents by type, contents by DAG, then each DAG's documentation."""

import re
from collections.abc import Iterable, Sequence

import mdformat

from catalog.dags.dag_factory import DagSpec

WIDTH = 80
PREAMBLE = """\
# DAGs

_This document is generated from the DAGs themselves by `./just dag-docs`; edits made here are lost._

Every workflow of the catalog, first in a table for each type, then with its documentation:

- [DAGs by type](#dags-by-type)
- [DAG documentation](#dag-documentation)
"""
BY_TYPE = """\
## DAGs by Type

The type of a DAG is its first tag.
"""
DOCUMENTATION = """\
## DAG documentation

What each DAG does, and what it can be asked to do.
"""


def type_name(kind: str) -> str:
    """Return the title of a type: `provider-reingestion` → `Provider Reingestion`."""
    return re.sub("[_-]", " ", kind).title()


def anchor(kind: str) -> str:
    return kind.replace("_", "-")


def render(specs: Iterable[DagSpec]) -> str:
    """Return the whole document, with one newline at its end."""
    specs = sorted(specs, key=lambda s: s.dag_id)
    kinds = sorted({s.kind for s in specs})
    documented = [s for s in specs if s.text]
    blocks = [
        _format(PREAMBLE),
        _format(BY_TYPE),
        _ordered([f"[{type_name(k)}](#{anchor(k)})" for k in kinds]),
    ]
    blocks += [
        f"### {type_name(kind)}\n\n{_table(kind, [s for s in specs if s.kind == kind])}" for kind in kinds
    ]
    blocks += [_format(DOCUMENTATION), _ordered([f"[`{s.dag_id}`](#{s.dag_id})" for s in documented])]
    described: dict[str, str] = {}
    blocks += [_section(spec, described) for spec in documented]
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _section(spec: DagSpec, described: dict[str, str]) -> str:
    """Return the section of a DAG.

    Args:
        spec: The DAG.
        described: DAG ids by configuration table; DAGs with the same table refer to the first one's section.
    """
    configuration = spec.configuration
    if configuration and configuration in described:
        first = described[configuration]
        configuration = f"Configuration: the keys of [`{first}`](#{first})."
    elif configuration:
        described[configuration] = spec.dag_id
    text = "\n\n".join(part for part in (_demote_headings(spec.text), configuration, spec.example) if part)
    return f"### `{spec.dag_id}`\n\n{_format(text)}"


def _demote_headings(markdown: str) -> str:
    """Move headings three levels down, below the DAG's own."""
    return re.sub(r"^(#+)(?= )", r"###\1", markdown, flags=re.MULTILINE)


def _format(markdown: str) -> str:
    return str(mdformat.text(markdown, options={"wrap": WIDTH, "number": True}, extensions={"gfm"}))


def _ordered(items: Sequence[str]) -> str:
    return "\n".join(f"1.  {item}" for item in items)


def _table(kind: str, specs: Sequence[DagSpec]) -> str:
    head = ["DAG ID", "Schedule Interval"] + (["Dated", "Media Type(s)"] if kind == "provider" else [])
    rows = []
    for spec in specs:
        cells = [
            f"[`{spec.dag_id}`](#{spec.dag_id})" if spec.text else f"`{spec.dag_id}`",
            f"`{spec.schedule}`",
        ]
        if kind == "provider":
            cells += [f"`{spec.dated}`", ", ".join(spec.media_types)]
        rows.append(cells)
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in [head, *rows]]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
