"""Names that look like a setting of the catalog, but are not: what they set has no effect."""

import difflib
from collections.abc import Container, Iterable, Iterator
from typing import Literal, NamedTuple

from catalog.core.setting import Kind
from catalog.core.settings import SETTINGS, airflow_variable, connection_variable
from catalog.monitoring.finding import Finding

Place = Literal["Variable", "connection", "environment variable", "pool"]
ALIKE = 0.85  # how alike two names are, as `difflib` compares them, of which one is a mistyped other
_VARIABLES, _CONNECTIONS = airflow_variable(""), connection_variable("")
_PLACES: dict[Kind, Place] = {
    "Variable": "Variable",
    "Variable, JSON": "Variable",
    "connection": "connection",
    "environment": "environment variable",
    "pool": "pool",
}
# Without those that stand for many names, such as the keys of providers.
_KNOWN = {(_PLACES[setting.kind], setting.name) for setting in SETTINGS if setting.name.isidentifier()}


class Given(NamedTuple):
    """A name that is set.

    Attributes:
        place: Where it is set.
        name: The name that is looked up there.
        shown: The name under which it is set.
    """

    place: Place
    name: str
    shown: str


def from_environment(names: Iterable[str]) -> Iterator[Given]:
    """Yield what environment variables set: Variables, connections, and settings of the catalog itself.

    Args:
        names: Names of all environment variables.
    """
    for name in names:
        if name.startswith(_VARIABLES):
            yield Given("Variable", name.removeprefix(_VARIABLES), name)
        elif name.startswith(_CONNECTIONS):
            yield Given("connection", name.removeprefix(_CONNECTIONS).lower(), name)
        else:
            yield Given("environment variable", name, name)


def misnamed(given: Iterable[Given]) -> Iterator[Finding]:
    """Yield the names that are like a setting of the catalog, or that are one in another place.

    Other programs have settings, too, so a name that is like none of the catalog's is nobody's mistake. One
    that is right elsewhere is a mistake only while it is not set there.

    Args:
        given: All names that are set.
    """
    names = {(one.place, one.name): one for one in given}
    for key in sorted(names.keys() - _KNOWN):
        one = names[key]
        if meant := _alike(one) or _elsewhere(one, names.keys()):
            text = f"the catalog reads no {one.place} of this name; {meant}"
            yield Finding("warning", one.shown, text, "no-such-setting")


def _alike(given: Given) -> str:
    """Return which setting a name may mean; "" if none is like it."""
    alike = {name.upper(): name for place, name in _KNOWN if place == given.place}
    found = difflib.get_close_matches(given.name.upper(), alike, n=1, cutoff=ALIKE)
    return f"did you mean {alike[found[0]]}?" if found else ""


def _elsewhere(given: Given, names: Container[tuple[Place, str]]) -> str:
    """Return where a setting of that name is read, and how to set it there; "" if it is set, or none."""
    for place, name in _KNOWN:
        if name.upper() == given.name.upper() and (place, name) not in names:
            as_variable = f" (in the environment, {airflow_variable(name)})" if place == "Variable" else ""
            return f"{name} is {'an' if place.startswith('e') else 'a'} {place}{as_variable}"
    return ""
