"""`./just dag-docs [--check]`: generate DAGs.md, tables in docs/, and numbers in the README.

The tables are those of providers, settings and metrics, the numbers those of DAGs and providers.

With `--check`, nothing is written: the exit status is 1 if a document has drifted from the code.
"""

import difflib
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from catalog.cli import program
from catalog.core.errors import Refused
from catalog.core.metrics import METRICS
from catalog.core.settings import SETTINGS
from catalog.ingestion.overview import overview
from catalog.ingestion.registry import FOLDER, provider_names

ROOT = Path(__file__).resolve().parent.parent.parent


def dags_md() -> str:
    """Import all DAG files and return DAGs.md; an exception of a DAG file propagates."""
    for file in sorted((ROOT / "catalog" / "dags").glob("*.py")):
        if file.stem not in ("__init__", "dag_factory"):
            import_module(f"catalog.dags.{file.stem}")
    from catalog.dag_docs.render import render
    from catalog.dags.dag_factory import REGISTRY

    return render(REGISTRY.values())


def providers_table(found: str) -> str:
    """Return the text of docs/providers.md with the table of providers as they are declared now."""
    rows = [
        (
            f"[{p.name}](../catalog/providers/{p.name}/provider.py)",
            p.media,
            p.schedule,
            p.dated,
            p.key,
            p.rate,
        )
        for p in overview()
    ]
    return _replaced(found, "providers", ("Provider", "Media", "Schedule", "Dated", "Key", "Requests"), rows)


def settings_table(found: str) -> str:
    """Return the text of docs/configuration.md with the table of settings as they are declared now."""
    rows = [(f"`{s.name}`", s.kind, s.shown, s.meaning) for s in SETTINGS]
    return _replaced(found, "settings", ("Name", "Kind", "Without it", "Meaning"), rows)


def metrics_table(found: str) -> str:
    """Return the text of docs/metrics.md with the table of metrics as they are declared now."""
    rows = [
        (
            f"`{m.name}`",
            m.kind,
            m.unit,
            ", ".join(f"`{tag}`" for tag in m.tags),
            m.meaning,
            f"`{m.prometheus}`",
        )
        for m in METRICS
    ]
    head = ("Metric", "Kind", "Unit", "Tags", "Meaning", "In Prometheus")
    return _replaced(found, "metrics", head, rows)


def _replaced(found: str, name: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Replace the table between the two marker lines of a name; cells are not padded, see `render`."""
    first, last = f"<!-- {name}: written by ./just dag-docs -->", f"<!-- end of {name} -->"
    before, begin, rest = found.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the lines {first!r} and {last!r} are missing")
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n\n".join([f"{before}{begin}", "\n".join(lines), f"{end}{after}"])


def readme(found: str, dags: str) -> str:
    """Return the text of the README with the numbers of DAGs, providers and their lines as they are now.

    Args:
        found: The text.
        dags: DAGs.md as it is generated.
    """
    count = len(re.findall("^### `", dags, re.MULTILINE))
    lines = [
        len((FOLDER / name / "provider.py").read_text("utf-8").splitlines()) for name in provider_names()
    ]
    for pattern, numbers in (
        (r"metadata from (\d+)\s+provider APIs", [len(lines)]),
        (r"\*\*(\d+) DAGs\*\*", [count]),
        (
            r"\*\*(\d+) providers\*\* as small declarations of (\d+) to (\d+) lines",
            [len(lines), min(lines), max(lines)],
        ),
    ):
        found = _renumbered(found, pattern, numbers)
    return found


def _renumbered(found: str, pattern: str, numbers: Sequence[int]) -> str:
    """Replace the groups of a pattern, which describes one place of a text, by numbers."""
    place = re.search(pattern, found)
    if not place:
        raise ValueError(f"README.md: nothing is {pattern!r}, where a number is written")
    for group, number in reversed(list(enumerate(numbers, 1))):
        start, end = place.span(group)
        found = f"{found[:start]}{number}{found[end:]}"
    return found


class Document(NamedTuple):
    """A document, as stored and as the code has it."""

    path: Path
    stored: str
    generated: str


def documents() -> Iterator[Document]:
    path = ROOT / "DAGs.md"
    dags = dags_md()
    yield Document(path, path.read_text(encoding="utf-8") if path.exists() else "", dags)
    path = ROOT / "README.md"
    found = path.read_text(encoding="utf-8")
    yield Document(path, found, readme(found, dags))
    tables = (("providers", providers_table), ("configuration", settings_table), ("metrics", metrics_table))
    for name, table in tables:
        path = ROOT / "docs" / f"{name}.md"
        found = path.read_text(encoding="utf-8")
        yield Document(path, found, table(found))


def main(arguments: list[str]) -> int:
    if unknown := [argument for argument in arguments if argument != "--check"]:
        raise Refused(f"{unknown[0]} is unknown; --check is the only option.")
    with tempfile.TemporaryDirectory() as home:  # importing Airflow writes a configuration file
        os.environ |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/none.db",
        }
        os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
        found = list(documents())
    if "--check" not in arguments:
        for path, stored, generated in found:
            path.write_text(generated, encoding="utf-8")
            print(f"{path.name}: {'unchanged' if generated == stored else 'written'}")  # noqa: T201
        return 0
    drifted = [document for document in found if document.stored != document.generated]
    for path, stored, generated in drifted:
        lines = stored.splitlines(True), generated.splitlines(True)
        sys.stderr.writelines(difflib.unified_diff(*lines, path.name, "the code", n=1))
        sys.stderr.write(f"{path.name} has drifted; run ./just dag-docs\n")
    return 1 if drifted else 0


if __name__ == "__main__":
    program.run(lambda: main(sys.argv[1:]), "just dag-docs")
