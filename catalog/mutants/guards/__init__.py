"""All guards: those of the modules of this folder, one module per area."""

from importlib import import_module
from pathlib import Path

from catalog.mutants.guard import Guard

_AREAS = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
GUARDS: tuple[Guard, ...] = sum((import_module(f"{__name__}.{area}").GUARDS for area in _AREAS), ())
