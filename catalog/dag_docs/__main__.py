"""`./just dag-docs [--check]`: write DAGs.md, or say whether it has drifted from the DAGs."""

import difflib
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = ROOT / "DAGs.md"


def current() -> str:
    """The document as the DAG files have it now. Raises what a broken DAG file raises."""
    for file in sorted((ROOT / "catalog" / "dags").glob("*.py")):
        if file.stem not in ("__init__", "dag_factory"):
            import_module(f"catalog.dags.{file.stem}")
    from catalog.dag_docs.render import render
    from catalog.dags.dag_factory import REGISTRY

    return render(REGISTRY.values())


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as home:  # Airflow writes a configuration file wherever it is imported
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/none.db"}
        os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
        text = current()
    found = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    if "--check" not in arguments:
        TARGET.write_text(text, encoding="utf-8")
        print(f"DAGs.md: {'unchanged' if text == found else 'written'}")  # noqa: T201
        return 0
    if text == found:
        return 0
    sys.stderr.writelines(difflib.unified_diff(found.splitlines(True), text.splitlines(True), "DAGs.md", "the DAGs", n=1))
    sys.stderr.write("DAGs.md has drifted; run ./just dag-docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
