"""Search as the API would, and a page for each record."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import HTMLResponse

from catalog.core.media import MediaType
from catalog.core.settings import API_DB, CATALOG_DB, DASHBOARD_THUMBNAILS, TAG_POLICY
from catalog.data_refresh.search.tag_policy import policy_from
from catalog.monitoring import explore
from catalog.monitoring.attribution import attribution
from catalog.monitoring.explore import DEEPEST, FACETS, PAGE, Search
from catalog.plugins.dashboard import connections
from catalog.plugins.dashboard.access import HiddenDags
from catalog.plugins.dashboard.rendering import Page

router = APIRouter()


@router.get("/explore", response_class=HTMLResponse)
def index(
    media: MediaType = "image",
    q: Annotated[str, Query(max_length=500)] = "",
    filtered: bool = False,
    source: Annotated[str, Query(max_length=100)] = "",
    license: Annotated[str, Query(max_length=100)] = "",  # noqa: A002 - name of the parameter
    category: Annotated[str, Query(max_length=100)] = "",
    type: Annotated[str, Query(max_length=100)] = "",  # noqa: A002 - name of the parameter
    page: Annotated[int, Query(ge=1, le=DEEPEST // PAGE)] = 1,
) -> HTMLResponse:
    """Search both indexes by words and filters."""
    shown = Page()
    given = {"source": source, "license": license, "category": category, "type": type}
    wanted = Search(media, q.strip(), filtered, {name: value for name, value in given.items() if value}, page)
    found, rows = None, None
    with shown.part("the search engine"):
        found = explore.find(connections.engine(), wanted)
    if found:
        with shown.part("the catalog database"), connections.database(CATALOG_DB) as c:
            rows = explore.of_identifiers(c, media, list(found.documents))
    return shown.render(
        "explore.html",
        pictures=shown.value_of(DASHBOARD_THUMBNAILS),
        wanted=wanted,
        found=found,
        rows=rows,
        facets=list(FACETS),
        attribution=attribution,
    )


@router.get("/records/{media}/{key}", response_class=HTMLResponse)
def record(media: MediaType, key: UUID, hidden: HiddenDags) -> HTMLResponse:
    """Show a record: fields, tags and what the policy does to them, its way into the index, moderation."""
    page, found, in_api, indexed, verdicts = Page(), None, None, {}, None
    with page.part("the catalog database"), connections.database(CATALOG_DB) as connection:
        found = explore.record(connection, media, key)
    if page.problems:
        raise HTTPException(503, f"The {media} {key} could not be read: {page.problems[0]}")
    if found is None:
        raise HTTPException(404, f"The catalog has no {media} {key}.")
    with page.part(TAG_POLICY.name):
        policy = policy_from(page.value_of(TAG_POLICY))
        verdicts = explore.tags(found.fields["tags"], policy)
    with page.part("the API database"), connections.database(API_DB) as api:
        in_api = explore.in_api(api, media, key)
    with page.part("the search engine"):
        indexed = explore.documents(connections.engine(), media, key)
    return page.render(
        "record.html",
        pictures=page.value_of(DASHBOARD_THUMBNAILS),
        record=found,
        loads=[load for load in found.loads if load.dag_id not in hidden],
        hides=any(load.dag_id in hidden for load in found.loads),
        attribution=attribution(found.fields),
        tags=verdicts,
        in_api=in_api,
        most_reports=explore.REPORTS,
        indexed=indexed,
    )
