"""An index that another program has rewritten is neither copied nor pointed at, on a real search engine."""

import pytest

from catalog.core.errors import Refused
from catalog.dags.common.environments import PRODUCTION
from catalog.data_refresh.search.moderation import follow
from catalog.moderation.decisions import EVER
from catalog.tests.data_refresh.test_changed_documents import INDEX
from catalog.tests.data_refresh.test_exchange import api_dsn, filled, pair  # noqa: F401 - fixtures
from catalog.tests.data_refresh.test_index_writes import (
    change_titles,
    decide,
    exchange,
    left,  # noqa: F401 - a fixture
)

pytestmark = [pytest.mark.airflow, pytest.mark.database, pytest.mark.enable_socket]


@pytest.fixture
def refuse(left, pair, monkeypatch):  # noqa: F811 - the fixtures
    """Asks whether the index of a finished refresh is refused."""
    from catalog.dags.groups import index_checks

    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", pair[0])
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_API", pair[1])
    monkeypatch.setattr(index_checks, "indexes", lambda conn_id: left.search)
    left.catalog.execute("update refresh set stage = 'promoted'")
    return lambda: index_checks.refuse_rewritten(
        PRODUCTION, "image", left.search.require(INDEX), field="index"
    )


@pytest.mark.parametrize("change", [exchange, change_titles])
def test_an_index_that_another_program_has_rewritten(left, refuse, change):  # noqa: F811 - the fixture
    refuse()
    before = left.search.count(INDEX)
    change(left, INDEX)
    assert left.search.count(INDEX) == before
    with pytest.raises(Refused, match=r"index: another program has written documents .*make another one"):
        refuse()


def test_decisions_of_moderators_rewrite_nothing(left, refuse):  # noqa: F811 - the fixture
    key, other = left.keys(INDEX, 2)
    decide(left, "mature", key)
    decide(left, "deleted", other)
    follow(left.api, left.search, INDEX, "image", EVER)
    refuse()


def test_an_index_of_an_earlier_release_is_not_compared(left, refuse):  # noqa: F811 - the fixture
    left.catalog.execute("update refresh set indexes = indexes #- %s", [["image-a", "writes"]])
    change_titles(left, INDEX)
    refuse()
