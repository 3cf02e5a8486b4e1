"""All providers: names, classes, DAGs and documentation, and what is wrong with the broken ones."""

import traceback
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path

from catalog.core.errors import Fatal
from catalog.core.secrets import without_secrets
from catalog.core.wording import meant_or_all
from catalog.ingestion.provider import Provider

FOLDER = Path(__file__).parent.parent / "providers"
_ROOT = FOLDER.parent.parent


class BrokenProvider(Fatal):
    """A provider's module cannot be imported; the message names file, line and error."""


@cache
def provider_class(name: str) -> type[Provider]:
    """Import a provider's module and return its class.

    Raises:
        Fatal: There is no such provider.
        BrokenProvider: Its module cannot be imported, or does not define exactly one.
    """
    if name not in provider_names():
        raise unknown_provider(name)
    try:
        module = import_module(f"catalog.providers.{name}.provider")
    except Exception as error:
        raise BrokenProvider(
            without_secrets(
                f"the provider {name} cannot be imported: {type(error).__name__}: "
                f"{getattr(error, 'msg', error)} ({_where(error)})"
            )
        ) from error
    classes = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Provider) and c.__module__ == module.__name__
    ]
    if len(classes) != 1 or classes[0].name != name:
        raise BrokenProvider(f"{module.__name__} must define one Provider whose name is {name!r}.")
    return classes[0]


def unknown_provider(name: str) -> Fatal:
    """Return the error that no provider has a name, with the provider that the catalog calls by it."""
    folders = {short: cls.name for cls in provider_classes() for short in cls.catalog_names.values()}
    if name in folders:
        return Fatal(f"{name!r} is a name in the catalog; its provider is {folders[name]!r}.")
    return Fatal(f"there is no provider {name!r}; {meant_or_all(name, provider_names()).rstrip('.')}.")


def provider_names() -> tuple[str, ...]:
    """Return the names of all providers, in order. Folders are read each time: a new one needs no restart."""
    return tuple(sorted(p.parent.name for p in FOLDER.glob("*/provider.py")))


def provider_classes(among: Iterable[str] | None = None) -> list[type[Provider]]:
    """Return the providers that can be imported, ordered by name; see `broken_providers`.

    Args:
        among: Names of providers, the only ones to import; default: all.
    """
    names = sorted(provider_names() if among is None else among)
    broken = broken_providers(names)
    return [provider_class(name) for name in names if name not in broken]


def broken_providers(among: Iterable[str] | None = None) -> dict[str, BrokenProvider]:
    """Return the errors of the providers that cannot be imported, by name.

    Args:
        among: Names of providers, the only ones to import; default: all.
    """
    broken = {}
    for name in provider_names() if among is None else among:
        try:
            provider_class(name)
        except BrokenProvider as error:
            broken[name] = error
    return broken


def api_names(among: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return the names of providers that have an API instead of a dump, and can be imported.

    Args:
        among: Names of providers, the only ones to import; default: all.
    """
    return tuple(cls.name for cls in provider_classes(among) if not cls.dump)


def place_of(error: BaseException) -> tuple[Path, int] | None:
    """Return file and line of the provider's code that raised an error, else of the innermost frame."""
    if isinstance(error, SyntaxError) and error.filename:
        return Path(error.filename), error.lineno or 0
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return None
    frame = ([f for f in frames if FOLDER in Path(f.filename).parents] or frames)[-1]
    return Path(frame.filename), frame.lineno or 0


def _where(error: Exception) -> str:
    file, line = place_of(error) or (FOLDER, 0)
    return f"{file.relative_to(_ROOT) if _ROOT in file.parents else file}, line {line}"


def dag_id_of(name: str) -> str:
    """Return the id of the DAG that pulls from a provider on its schedule.

    Args:
        name: Name of the provider's folder.
    """
    return f"{name}_workflow"


def dag_ids(cls: type[Provider]) -> list[str]:
    """Return the ids of the DAGs that pull from a provider."""
    return [dag_id_of(cls.name), *([cls.reingestion.dag_id] if cls.reingestion else [])]


def documentation(cls: type[Provider]) -> str:
    """Return a provider's module docstring, which Airflow's UI and DAGs.md show."""
    return (import_module(cls.__module__).__doc__ or "").strip()
