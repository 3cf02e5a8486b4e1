"""`./just bench [name …]`: each prints figures and its ratio to a floor."""

import sys
from importlib import import_module
from pathlib import Path

from catalog.cli import program

KNOWN = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
QUICK = ("ingest", "load", "parse")  # what runs when none is named


def main(names: list[str]) -> int:
    unknown = [n for n in names if n not in KNOWN]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(KNOWN)}", file=sys.stderr)
        return 2
    for name in names or QUICK:
        import_module(f"catalog.benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    program.run(lambda: main(sys.argv[1:]), "just bench")
