"""Every name that the code reads is declared, and every declared name is read."""

import re
from pathlib import Path

from catalog.core import settings
from catalog.core.settings import SETTINGS

CATALOG = Path(__file__).parent.parent
ELSEWHERE = (
    "tests",
    "benchmarks",
    "containers",
    "local",
    "scaffold",
    "settings.py",
)  # names of the stacks and of measurements are not settings
BY_A_TEXT = re.compile(r"""Variable\.(?:get|set|delete)\(\s*f?["\']""")
ENVIRONMENT = re.compile(r"""environ(?:\.get\(|\[)\s*"([A-Z_]+)""")
CONNECTION = re.compile(
    r""""((?:postgres_openledger|elasticsearch_http|slack)_[a-z_]+|sensitive_terms|aws_default)\""""
)


def texts():
    return [p.read_text() for p in CATALOG.rglob("*.py") if p.relative_to(CATALOG).parts[0] not in ELSEWHERE]


def names(pattern):
    """What the library and the DAGs name."""
    return {name for text in texts() for name in pattern.findall(text)}


def declared(*kinds):
    return {s.name for s in SETTINGS if s.kind in kinds}


def imported():
    return {name for name in vars(settings) if name.isupper() and re.search(rf"\b{name}\b", "".join(texts()))}


def test_variables_are_read_by_their_declaration():
    wanted = {n for n in declared("Variable", "Variable, JSON") if "…" not in n and "<" not in n}
    assert wanted - imported() == set()
    assert not [text for text in texts() if BY_A_TEXT.search(text)]
    assert all(getattr(settings, name).name == name for name in wanted)


def test_environment():
    given_by_others = ("CATALOG_DSN", "AIRFLOW_")  # the command line's, and Airflow's own
    found = {n for n in names(ENVIRONMENT) if not n.startswith(given_by_others)} | (
        imported() & declared("environment")
    )
    assert found == declared("environment") | {
        "CONTACT_EMAIL",
        "PRIVATE_HOSTS",
    }  # Variables, for the command line


def test_connections_and_pools():
    assert names(CONNECTION) == declared("connection")
    from catalog.containers.bootstrap import POOLS

    assert {name for name, _, _ in POOLS} == declared("pool")


def test_each_is_declared_once():
    assert len({s.name for s in SETTINGS}) == len(SETTINGS)
