"""Makes a small staging index that keeps production's proportions of sources.

A relevance experiment on a few percent of the documents then shows the sources as often as production does.
Production's documents are counted by source, behind its alias `<media_type>`. The wanted number, given as
such or as a percentage of production's, is divided among the sources by the largest remainders, so that it
is met exactly. Of each source, the engine copies a random sample of the full staging index
(`<media_type>-full`, or `origin`). The same conf chooses the same documents of an index, and a larger
number chooses them, too. If the staging index has fewer documents of a source than it should have, all of
them are copied, and the report names the source.

The new index is `<media_type>-<index_suffix>`. No alias is moved: `point_staging_es_alias` does that, for
example of an alias `<media_type>-proportional`. What is said of `create_new_staging_es_index` about names,
failed runs, moderators and other DAGs applies here as well.
"""

from typing import Any

from airflow.sdk import Param, chain, task

from catalog.core.errors import Refused
from catalog.core.media import MEDIA_TYPES
from catalog.dags.common.context import GIVEN, Params
from catalog.dags.common.environments import PRODUCTION, STAGING
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.copies import begin_copy, copy_documents, copy_params, finish_index
from catalog.dags.groups.indexing import indexes
from catalog.dags.operators.turns import refuse_conflicts
from catalog.data_refresh.refresh import Copy

DAG_ID = "create_proportional_by_source_staging_index"


@task
def plan_proportions(params: Params = GIVEN) -> str:
    """Check the conf, choose the documents, and record both, once; return the name of the new index."""
    from catalog.data_refresh.search.proportions import proportional, select, share_of
    from catalog.data_refresh.tables.shrinkage import NO_SOURCE

    media_type, percentage, number = params["media_type"], params["percentage"], params["documents"]
    if (percentage is None) == (number is None):
        raise Refused("percentage, documents: give exactly one of them.")

    def copy(origin: str, uuid: str) -> Copy:
        sources = indexes(PRODUCTION.search).sources(media_type)
        if not sources:
            raise Refused(f"production has no documents behind the alias {media_type}.")
        total = share_of(sources, percentage) if number is None else number
        wanted = proportional(sources, total, each=params["each_source"])
        selection = select(indexes(STAGING.search), origin, wanted)
        notes = [
            f"  - {source or NO_SOURCE}: {selection.documents.get(source, 0):,} of {wanted[source]:,}, "
            f"{origin} has no more"
            for source in sorted(selection.missing)
        ]
        return Copy(origin, uuid, selection.query, notes=notes)

    origin = params["origin"] or f"{media_type}-full"
    return begin_copy(STAGING, media_type, origin, params["index_suffix"], copy)


with catalog_dag(
    DAG_ID,
    "database",
    schedule=None,
    doc=(__doc__ or "").strip(),
    params={
        **copy_params("Staging index or alias to choose from. Empty: the alias `<media_type>-full`."),
        "percentage": Param(
            None,
            type=["null", "number"],
            minimum=0.001,
            maximum=100,
            title="Percentage",
            description_md="Of production's documents. Give this or the number of documents.",
        ),
        "documents": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=10**12,
            title="Documents",
            description_md="How many documents the new index has. Give this or a percentage.",
        ),
        "each_source": Param(
            False,
            type="boolean",
            title="Each source",
            description_md="At least one document of each source, at the cost of the others.",
        ),
    },
    example={"media_type": "image", "percentage": 5, "index_suffix": "five-percent"},
    media_types=MEDIA_TYPES,
    conflicts=STAGING.conflicts(DAG_ID),
):
    copied: Any = copy_documents()
    chain(refuse_conflicts(), plan_proportions(), copied)
    finish_index(copied)
