"""Makes the filtered index anew: the documents without those whose text holds a sensitive term.

It is for a changed list of terms; a data refresh makes one anyway.
"""

from typing import Any
from uuid import uuid4

from airflow.sdk import Param, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.indexing import LONG, Plan, fill_filtered, indexes, media_plan
from catalog.dags.operators.conflicts import refuse_conflicts
from catalog.dags.operators.running import task_failures
from catalog.dags.operators.settings import API_DB, SEARCH, check_conf, search_connection
from catalog.dags.operators.slack import say
from catalog.ingestion.records import MEDIA_TYPES, MediaType

SUFFIX = r"^[a-z0-9][a-z0-9_-]{0,63}$"
DOC = """
{about}

The documents of `{media_type}-<origin_index_suffix>`, or without one of what the alias `{media_type}` points at, are copied on the server
into `{media_type}-<destination_index_suffix>-filtered`. A term of one word must be a word of title, description or a tag (of any tag,
also of those that the tag policy keeps out of the document); a term of several words must occur as a phrase. When the documents have been
counted, the alias `{media_type}-filtered` is moved and the index it pointed at is deleted.

The terms come from the HTTP connection `sensitive_terms` or the Variable `SENSITIVE_TERMS_URL`; an empty list is refused. While a data
refresh of {media_type} runs, this DAG fails at once, because the refresh deletes the index that is copied from.
"""


@task
def plan_filtered_index(media_type: MediaType) -> Plan:
    """From which index into which; nothing is made yet."""
    context: Any = get_current_context()
    conf, engine = context["params"], indexes()
    check_conf(context["dag_run"].conf, context["dag"].params)
    origin = f"{media_type}-{conf['origin_index_suffix']}" if conf["origin_index_suffix"] else media_type
    destination = f"{media_type}-{conf['destination_index_suffix'] or uuid4().hex}-filtered"
    with task_failures():
        if not engine.exists(origin):
            raise AirflowFailException(
                f"there is no index {origin}; look for it with GET _cat/indices/{media_type}-*."
            )
        if aliases := engine.aliases(destination):
            raise AirflowFailException(
                f"{destination} is there and {', '.join(aliases)} points at it; choose another suffix."
            )
        before = engine.behind(f"{media_type}-filtered")
        plan = media_plan(media_type, API_DB, SEARCH, media_type, destination)
        policy = (
            engine.meta(origin).get("tag_policy") or plan["policy"]
        )  # its documents were made under that one
    return {**plan, "policy": policy, "origin": origin, "before": before}


@task(execution_timeout=LONG, retries=4)
def create_filtered_index(plan: Plan) -> dict[str, int]:
    return fill_filtered(plan, plan["origin"])


@task
def promote_filtered_index(plan: Plan, filtered: dict[str, int]) -> str:
    """Move the alias, delete the index it pointed at."""
    engine, alias = indexes(), f"{plan['media_type']}-filtered"
    with task_failures("The old filtered index is still live."):
        engine.open(plan["index"], search_connection().replicas, 6 * 3600.0)
        engine.point({alias: plan["index"]})
        if (old := plan["before"]) and old != plan["index"]:
            engine.retire(old)
    text = f"`{alias}` is `{plan['index']}` now: {filtered['documents']:,} documents, {filtered['hidden']:,} hidden."
    say(text, "Filtered index")
    return text


def filtered_dag(media_type: MediaType) -> None:
    def suffix(title: str, meaning: str) -> Param:
        return Param(None, type=["string", "null"], pattern=SUFFIX, title=title, description_md=meaning)

    with catalog_dag(
        f"create_filtered_{media_type}_index",
        "data_refresh",
        schedule=None,
        doc=DOC.format(media_type=media_type, about=" ".join((__doc__ or "").split())).strip(),
        params={
            "origin_index_suffix": suffix(
                "Origin", f"Copy from `{media_type}-<suffix>`; none: from what the alias points at."
            ),
            "destination_index_suffix": suffix(
                "Destination", f"Make `{media_type}-<suffix>-filtered`; none: a new name."
            ),
        },
        example={"destination_index_suffix": "with-new-terms"},
        conflicts=(f"{media_type}_data_refresh",),
    ):
        plan: Any = plan_filtered_index(media_type)
        chain(refuse_conflicts(), plan)
        promote_filtered_index(plan, create_filtered_index(plan))  # type: ignore[arg-type]


for medium in MEDIA_TYPES:
    filtered_dag(medium)
