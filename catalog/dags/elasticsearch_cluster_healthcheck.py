"""Watches a search engine, and sends an alert when its state changes."""

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from airflow.sdk import Variable, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.queries import database_time
from catalog.core.settings import SEARCH_ENGINE_NODES
from catalog.dags.common.connections import (
    catalog_connection,
    database_connection,
    is_configured,
    search_connection,
)
from catalog.dags.common.environments import ENVIRONMENTS, PRODUCTION, Environment
from catalog.dags.common.variables import value_of
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.refreshes import last_count
from catalog.dags.operators.slack import try_to_send
from catalog.monitoring.cluster_state import Cluster, Known, differs, known
from catalog.monitoring.refreshes import promoted
from catalog.notifications.alerts import engine_state

if TYPE_CHECKING:
    from catalog.monitoring.aliases import Alias

DOC = """
{about}

Each run reads the {name} engine (connection `{search}`): the status of the cluster, shards without a node,
the number of nodes (compared with the Variable `SEARCH_ENGINE_NODES`), the watermarks of the disks, blocks of
the cluster, and indexes that are read-only, closed or blocked. Indexes of the catalog without an alias, which
are being built, do not count. A status that is not green gets 20 seconds to become green. In production, each
alias of a media type that was refreshed must lead to its index, which must have most of the documents that it
had when a refresh or another DAG counted them; and the API's search must find some of them by words of their
texts.

An alert is sent when the state, or the list of what is wrong, differs from the one that was reported last,
also when everything is well again. An engine that does not answer is `unreachable`, and a part that cannot be
read is a problem; neither counts as well. The reported state is in the Variable
`search_engine_health_{name}`, which survives clears and retries. It is written after Slack has accepted the
alert: one that cannot be delivered, or is not sent in this environment, is due in each run until it is sent,
and a task that is killed in between repeats its alert. Delete the Variable to have the present problems
reported again.

Without the connection, the task is skipped and says so; if the engine was watched before, one alert reports
that it no longer is.
"""


def _reported(name: str) -> Known | None:
    """Return the state that was reported last; None if there is none, or it cannot be read."""
    try:
        return msgspec.json.decode(Variable.get(name, default=None) or "null", type=Known | None)
    except msgspec.DecodeError:
        return None


def _look(environment: Environment, before: Known | None) -> Cluster:
    from catalog.monitoring.cluster import Readers, look

    if not is_configured(environment.search):
        return Cluster("not configured")
    expected = getattr(value_of(SEARCH_ENGINE_NODES), environment.name)
    client = search_connection(environment.search).client
    readers = Readers(_promoted, partial(_counted, environment)) if environment == PRODUCTION else None
    return look(client, expected, before, readers)


def _promoted() -> list[MediaType]:
    """Return the media types of which a refresh has been promoted: readers use their aliases."""
    with catalog_connection() as connection:
        now = database_time(connection)
        return [media_type for media_type in MEDIA_TYPES if promoted(connection, media_type, now)]


def _counted(environment: Environment, alias: "Alias") -> int | None:
    """Return how many documents an alias had, less those that moderators may have deleted since."""
    from catalog.moderation.decisions import number_deleted

    if (counted := last_count(alias.uuid)) is None:
        return None
    with database_connection(environment.api, autocommit=True) as api:
        return max(0, counted.documents - number_deleted(api, alias.media_type, counted.since))


@task(execution_timeout=timedelta(minutes=10))
def check_cluster(name: str) -> str:
    """Return the state; skipped if there is no connection to the engine."""
    environment = ENVIRONMENTS[name]
    marker = f"search_engine_health_{name}"
    before, unsent = _reported(marker), None
    cluster = _look(environment, before)
    if differs(cluster, before):
        ti = get_current_context()["ti"]
        unsent = try_to_send(
            engine_state(ti.dag_id, ti.task_id, name, cluster, before.state if before else None)
        )
        if unsent and unsent.temporary:
            raise AirflowException(f"{unsent.reason}; the change is reported by the next attempt.")
    if not unsent and known(cluster) != before and (before or cluster.state != "not configured"):
        Variable.set(
            marker,
            msgspec.json.encode(known(cluster)).decode(),
            description="the state that was reported last; written by the healthcheck",
        )
    if cluster.state == "not configured":
        raise AirflowSkipException(
            f"there is no connection {environment.search}, so the {name} search engine is not "
            "checked; make one (type http), or pause this DAG."
        )
    return f"{cluster.state}: {cluster.about}"


def healthcheck_dag(environment: Environment) -> None:
    with catalog_dag(
        f"{environment.name}_elasticsearch_cluster_healthcheck",
        "maintenance",
        schedule="*/15 * * * *",
        doc=DOC.format(about=__doc__, name=environment.name, search=environment.search).strip(),
        dagrun_timeout=timedelta(hours=1),
    ):
        check_cluster(environment.name)


for environment in ENVIRONMENTS.values():
    healthcheck_dag(environment)
