"""Makes a new search index from another one, with other settings, another mapping, or fewer documents."""

from typing import Any

from airflow.sdk import Param, chain, task

from catalog.core.errors import Fatal, Refused
from catalog.core.media import MEDIA_TYPES
from catalog.dags.common.connections import search_connection
from catalog.dags.common.context import GIVEN, Params
from catalog.dags.common.environments import ENVIRONMENTS, Environment
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.copies import begin_copy, copy_documents, copy_params, finish_index
from catalog.dags.groups.indexing import indexes
from catalog.dags.operators.turns import refuse_conflicts
from catalog.data_refresh.refresh import Copy
from catalog.data_refresh.search.mapping import SHARDS

DOC = """
{about}

The engine itself copies the documents of `{name}` (connection `{search}`); a killed task waits for the
request that it has begun. The new index is `<media_type>-<index_suffix>`, and ends with `-filtered` if the
origin does: an index with sensitive media never has the name of a filtered one. Its settings and mapping are
the catalog's own of this release, not those of the origin. `settings` and `mapping` change them as a JSON
merge patch: objects are merged at every level, `null` removes a key, and everything else, also a list,
replaces what is there. The fields `id`, `identifier`, `mature` and `source`, with which documents are counted
and moderated, must stay.

The first task refuses a name that exists, an origin that is missing, incomplete or of another media type, and
lets the engine check the query, the settings and the mapping; until then nothing is created. The documents
are counted at the end, and must be as many as the query matches in the origin. Documents that do not fit the
mapping fail the run. Then the decisions of moderators are applied, and the index gets its replicas.

No alias is moved: `point_{name}_es_alias` does that, and applies the decisions that moderators have made
meanwhile. The index stays until somebody deletes it (`DELETE <index>`), or points an alias at it and a later
run replaces it. An index that a failed run has left incomplete is deleted by the next one. A filtered index
is not made from a copy, which lacks the words in which only sensitive terms are searched. A copy is as old as
its origin. If the origin is older than the last data refresh, no alias of production is pointed at the copy.
The run fails at once while another DAG changes indexes of {name}; those wait or fail while it runs.
"""


@task
def plan_index(environment: str, params: Params = GIVEN) -> str:
    """Check conf, origin, query, settings and mapping, and record the plan, once; return the new name."""
    from catalog.data_refresh.search.customizing import customized, rehearse, require_customizable
    from catalog.data_refresh.search.mapping import index_body, index_meta
    from catalog.data_refresh.search.tag_policy import DEFAULT

    where, media_type = ENVIRONMENTS[environment], params["media_type"]
    settings, mapping = params["settings"] or {}, params["mapping"] or {}
    query = params["query"] or {"match_all": {}}
    engine = indexes(where.search)

    def copy(origin: str, uuid: str) -> Copy:
        require_customizable(media_type, settings, mapping)
        try:
            matched = engine.count(origin, query)
        except Fatal as error:
            raise Refused(f"query: {error}") from None
        if not matched:
            raise Refused(f"query: it matches none of the {engine.count(origin):,} documents of {origin}.")
        meta = index_meta(media_type, f"create_new_{environment}_es_index", "", DEFAULT)
        shards = search_connection(where.search).shards or SHARDS[media_type]
        body = customized(index_body(media_type, meta, shards), settings, mapping)
        try:
            rehearse(engine, media_type, body)
        except Fatal as error:
            raise Refused(f"settings, mapping: {error}") from None
        return Copy(origin, uuid, query, settings, mapping)

    return begin_copy(where, media_type, params["origin"] or media_type, params["index_suffix"], copy)


def index_dag(environment: Environment) -> None:
    dag_id = f"create_new_{environment.name}_es_index"
    with catalog_dag(
        dag_id,
        "database",
        schedule=None,
        doc=DOC.format(about=__doc__, name=environment.name, search=environment.search).strip(),
        params={
            **copy_params("Index or alias whose documents are copied. Empty: the alias `<media_type>`."),
            "query": Param(
                None,
                type=["null", "object"],
                title="Query",
                description_md='Copy only what it matches, for example `{"term": {"source": "met"}}`. '
                "Empty: everything.",
            ),
            "settings": Param(
                None,
                type=["null", "object"],
                title="Settings",
                description_md="Merged over the catalog's own; `null` removes a key. For example "
                '`{"index": {"number_of_shards": 3}}`.',
            ),
            "mapping": Param(
                None,
                type=["null", "object"],
                title="Mapping",
                description_md="Merged over the catalog's own; `null` removes a key. For example "
                '`{"properties": {"title": {"similarity": "BM25"}}}`.',
            ),
        },
        example={"media_type": "image", "index_suffix": "bm25", "query": {"term": {"source": "met"}}},
        media_types=MEDIA_TYPES,
        conflicts=environment.conflicts(dag_id),
    ):
        copied: Any = copy_documents()
        chain(refuse_conflicts(), plan_index(environment.name), copied)
        finish_index(copied)


for environment in ENVIRONMENTS.values():
    index_dag(environment)
