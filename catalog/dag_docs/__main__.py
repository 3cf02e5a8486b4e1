"""`./just dag-docs [--check]`: write DAGs.md and the README's table of providers, or say what has drifted from the code."""

import difflib
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import mdformat

from catalog.ingestion.overview import overview

ROOT = Path(__file__).resolve().parent.parent.parent
BEGIN, END = "<!-- providers: written by ./just dag-docs -->", "<!-- end of providers -->"


def dags_md() -> str:
    """DAGs.md as the DAG files have it now. Raises what a broken DAG file raises."""
    for file in sorted((ROOT / "catalog" / "dags").glob("*.py")):
        if file.stem not in ("__init__", "dag_factory"):
            import_module(f"catalog.dags.{file.stem}")
    from catalog.dag_docs.render import render
    from catalog.dags.dag_factory import REGISTRY

    return render(REGISTRY.values())


def readme(found: str) -> str:
    """README.md with its table of providers as they are declared now."""
    head, begin, rest = found.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md should hold the lines {BEGIN!r} and {END!r}")
    cells = [(f"[{f.name}](catalog/providers/{f.name}/provider.py)", f.media, f.schedule, f.dated, f.key, f.rate) for f in overview()]
    rows = [f"| {' | '.join(row)} |" for row in cells]
    table = "\n".join(["| Provider | Media | Schedule | Dated | Key | Requests |", "| --- | --- | --- | --- | --- | --- |", *rows])
    return f"{head}{begin}\n\n{mdformat.text(table, extensions={'gfm'}).strip()}\n\n{end}{tail}"


def documents() -> Iterator[tuple[Path, str, str]]:
    """(path, as it is, as it should be)."""
    path = ROOT / "DAGs.md"
    yield path, path.read_text(encoding="utf-8") if path.exists() else "", dags_md()
    path = ROOT / "README.md"
    found = path.read_text(encoding="utf-8")
    yield path, found, readme(found)


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as home:  # Airflow writes a configuration file wherever it is imported
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/none.db"}
        os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
        found = list(documents())
    if "--check" not in arguments:
        for path, before, text in found:
            path.write_text(text, encoding="utf-8")
            print(f"{path.name}: {'unchanged' if text == before else 'written'}")  # noqa: T201
        return 0
    drifted = [(path, before, text) for path, before, text in found if before != text]
    for path, before, text in drifted:
        sys.stderr.writelines(difflib.unified_diff(before.splitlines(True), text.splitlines(True), path.name, "the code", n=1))
        sys.stderr.write(f"{path.name} has drifted; run ./just dag-docs\n")
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
