"""`./just bench [name …]`: each benchmark prints its results and their ratio to a floor."""

import sys
from importlib import import_module
from pathlib import Path

from catalog.cli import program

KNOWN = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if not path.stem.startswith("_") and path.stem != "photos"
)
QUICK = ("ingest", "load", "parse")  # the default


def main(names: list[str]) -> int:
    unknown = [n for n in names if n not in KNOWN]
    if unknown:
        print(f"unknown benchmark {', '.join(unknown)}; choose from {', '.join(KNOWN)}", file=sys.stderr)
        return 2
    for name in names or QUICK:
        import_module(f"catalog.benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    program.run(lambda: main(sys.argv[1:]), "just bench")
