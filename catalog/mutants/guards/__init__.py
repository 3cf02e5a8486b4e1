"""The list of guards: what the modules of this folder, one for each area, hold as `GUARDS`."""

from importlib import import_module
from pathlib import Path

from catalog.mutants.guard import Guard

_AREAS = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
GUARDS: tuple[Guard, ...] = sum((import_module(f"{__name__}.{area}").GUARDS for area in _AREAS), ())
