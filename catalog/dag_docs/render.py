"""Renderer of DAGs.md: contents by type, contents by DAG, then each DAG's documentation.

One more DAG adds lines and changes no others: cells are not padded, and keys that DAGs share have a section
of their own.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import mdformat

from catalog.dags.dag_factory import DagSpec

WIDTH = 80
HEADING = "**Configuration**\n\n"  # of a table in the documentation of a DAG
PREAMBLE = """\
# DAGs

_This document is generated from the DAGs themselves by `./just dag-docs`; edits made here are lost._

Every workflow of the catalog, first in a table for each type, then with its documentation:

- [DAGs by type](#dags-by-type)
- [DAG documentation](#dag-documentation)
- [Shared configuration](#shared-configuration)
"""
BY_TYPE = """\
## DAGs by type

The type of a DAG is its first tag.
"""
DOCUMENTATION = """\
## DAG documentation

What each DAG does, and what it can be asked to do.
"""
SHARED = """\
## Shared configuration

The keys of DAGs that have the same ones.
"""


def type_name(kind: str) -> str:
    """Return the title of a type: `provider-reingestion` → `Provider Reingestion`."""
    return re.sub("[_-]", " ", kind).title()


def anchor_of(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return title.lower().replace(" ", "-").replace("`", "")


def render(specs: Iterable[DagSpec]) -> str:
    """Return the whole document, with one newline at its end."""
    specs = sorted(specs, key=lambda s: s.dag_id)
    kinds = sorted({s.kind for s in specs})
    documented = [s for s in specs if s.text]
    blocks = [
        _format(PREAMBLE),
        _format(BY_TYPE),
        _ordered([f"[{type_name(k)}](#{anchor_of(type_name(k))})" for k in kinds]),
    ]
    blocks += [
        f"### {type_name(kind)}\n\n{_table(kind, [s for s in specs if s.kind == kind])}" for kind in kinds
    ]
    blocks += [_format(DOCUMENTATION), _ordered([f"[`{s.dag_id}`](#{s.dag_id})" for s in documented])]
    shared = _shared(documented)
    blocks += [_section(spec, shared) for spec in documented]
    blocks += [_format(SHARED)]
    blocks += [f"### {title}\n\n{table.removeprefix(HEADING)}" for table, title in shared.items()]
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _shared(specs: Iterable[DagSpec]) -> dict[str, str]:
    """Return the configuration tables of several DAGs, with the titles of their sections.

    A title names the type of the DAGs; if several tables are of one type, it names the DAGs.
    """
    of: dict[str, list[DagSpec]] = {}
    for spec in specs:
        of.setdefault(spec.configuration, []).append(spec)
    several = {table: found for table, found in of.items() if table and len(found) > 1}
    by_type = {
        table: f"{' and '.join(sorted({type_name(spec.kind) for spec in found}))} DAGs"
        for table, found in several.items()
    }
    return {
        table: f"Keys of {name if list(by_type.values()).count(name) == 1 else _ids(several[table])}"
        for table, name in by_type.items()
    }


def _ids(specs: Iterable[DagSpec]) -> str:
    return " and ".join(f"`{spec.dag_id}`" for spec in specs)


def _section(spec: DagSpec, shared: Mapping[str, str]) -> str:
    """Return the section of a DAG.

    Args:
        spec: The DAG.
        shared: The titles of sections by configuration table; DAGs with such a table refer to its section.
    """
    configuration = spec.configuration
    if title := shared.get(spec.configuration):
        configuration = f"Configuration: [{title}](#{anchor_of(title)})."
    parts = _format(_demote_headings(spec.text)), configuration, spec.example
    return f"### `{spec.dag_id}`\n\n" + "\n\n".join(part.strip("\n") for part in parts if part)


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
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
