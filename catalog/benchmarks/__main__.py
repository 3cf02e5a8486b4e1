"""`./just bench [name …]`: each benchmark prints its results and their ratio to a floor."""

import sys
from importlib import import_module
from pathlib import Path

from catalog.cli import program
from catalog.core.errors import Refused

KNOWN = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
QUICK = ("ingest", "load", "parse")  # the default


def main(names: list[str]) -> None:
    """Run the benchmarks of these names; without names, the quick ones."""
    for name in names:
        if name not in KNOWN:
            raise Refused(f"there is no benchmark {name!r}; there are {', '.join(KNOWN)}.")
    for name in names or QUICK:
        import_module(f"catalog.benchmarks.{name}").main()


if __name__ == "__main__":
    program.run(lambda: main(sys.argv[1:]), "just bench")
