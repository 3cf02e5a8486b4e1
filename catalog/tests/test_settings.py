"""Every setting that the code reads is declared, and every declared setting is read."""

import re
from pathlib import Path

import pytest

from catalog.core import settings
from catalog.core.settings import ES_INDEX_THROTTLING_RATE, SETTINGS

CATALOG = Path(__file__).parent.parent
# Names of the stacks and of benchmarks are not settings.
IGNORED = {"tests", "benchmarks", "containers", "local", "scaffold"}
REGISTRY = CATALOG / "core" / "settings.py"
BY_A_STRING = re.compile(r"""Variable\.(?:get|set|delete)\(\s*f?["\']""")
ENVIRONMENT = re.compile(r"""environ(?:\.get\(|\[)\s*"([A-Z_]+)""")
CONNECTION = re.compile(r""""((?:postgres_openledger|elasticsearch_http|slack)_[a-z_]+)\"""")


def sources():
    """Return the code that reads settings, without the registry itself."""
    paths = [p for p in CATALOG.rglob("*.py") if p.relative_to(CATALOG).parts[0] not in IGNORED]
    return [p.read_text() for p in paths if p != REGISTRY]


def names(pattern):
    """Return the names in the code that match a pattern."""
    return {name for source in sources() for name in pattern.findall(source)}


def declared(*kinds):
    return {s.name for s in SETTINGS if s.kind in kinds}


def imported():
    code = "".join(sources())
    return {name for name in vars(settings) if name.isupper() and re.search(rf"\b{name}\b", code)}


def test_variables_are_read_by_their_declaration():
    wanted = {n for n in declared("Variable", "Variable, JSON") if "…" not in n and "<" not in n}
    assert wanted - imported() == set()
    assert not [source for source in sources() if BY_A_STRING.search(source)]
    assert all(getattr(settings, name).name == name for name in wanted)


def test_environment():
    undeclared = ("CATALOG_DSN", "AIRFLOW_")  # the command line's, and Airflow's own
    found = {n for n in names(ENVIRONMENT) if not n.startswith(undeclared)}
    # The command line reads two Variables from the environment.
    expected = declared("environment") | {"CONTACT_EMAIL", "PRIVATE_HOSTS"}
    assert found | (imported() & declared("environment")) == expected


def test_connections_are_named_by_their_declaration():
    read = {value for name in imported() if isinstance(value := getattr(settings, name), str)}
    assert read | {settings.AWS_RDS_CONN_ID.value} == declared("connection")
    assert names(CONNECTION) == set()


def test_pools():
    from catalog.containers.bootstrap import POOLS

    assert {name for name, _, _ in POOLS} == declared("pool")


def test_each_is_declared_once():
    assert len({s.name for s in SETTINGS}) == len(SETTINGS)


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.value is not None], ids=lambda s: s.name)
def test_a_default_can_be_written(setting):
    assert setting.decode(setting.encode(setting.value)) == (setting.value, None)


@pytest.mark.parametrize(
    ("text", "rate"), [("1500", 1500), ("0.5", 0.5), ("-1", -1), ("0", None), ("-2", None), ("-0.5", None)]
)
def test_a_rate_is_a_positive_number_or_minus_one(text, rate):
    value, problem = ES_INDEX_THROTTLING_RATE.decode(text)
    assert (value, problem is None) == (rate or ES_INDEX_THROTTLING_RATE.value, rate is not None)
