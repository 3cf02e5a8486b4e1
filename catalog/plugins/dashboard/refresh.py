"""Data refreshes: stages of the last runs, documents by source, aliases, tag policy and its preview."""

import json
from typing import Annotated, Any

import msgspec
from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from catalog.core.errors import Fatal
from catalog.core.media import MediaType
from catalog.core.settings import TAG_POLICY
from catalog.data_refresh import policy_diff
from catalog.data_refresh.search import Indexes
from catalog.data_refresh.tag_policy import DEFAULT, RULES, built_with, policy_from
from catalog.monitoring import popularity, refreshes
from catalog.monitoring.refreshes import Refreshed
from catalog.plugins.dashboard import airflow_state, sources
from catalog.plugins.dashboard.access import ReadableDags
from catalog.plugins.dashboard.airflow_state import Run, Step
from catalog.plugins.dashboard.rendering import Page

router = APIRouter()
HISTORY = 10  # refreshes
TIMELINES = 3
SAMPLE = 2_000  # records


class Timeline(msgspec.Struct, frozen=True):
    """A refresh and the tasks of its run.

    Attributes:
        refresh: The refresh.
        run: Its run; None if Airflow has forgotten it, or the user may not read it.
        steps: Its tasks, in the order in which they started.
    """

    refresh: Refreshed
    run: Run | None
    steps: list[Step]


@router.get("/refresh", response_class=HTMLResponse)
def show(session: SessionDep, readable: ReadableDags, media: MediaType = "image") -> HTMLResponse:
    """Show the refreshes of one media type, and what is live."""
    page = Page()
    shown: dict[str, Any] = {"aliases": [], "metrics": []}
    history: list[Refreshed] = []
    with sources.part(page.problems, "the catalog database"), sources.database(sources.CATALOG) as connection:
        history = refreshes.refreshes(connection, media, HISTORY)
        shown["metrics"] = popularity.metrics(connection)
    runs: dict[tuple[str, str], Run] = {}
    steps: dict[tuple[str, str], list[Step]] = {}
    with sources.part(page.problems, "Airflow's database"):
        visible = [(one.dag_id, one.run_id) for one in history if one.dag_id in readable]
        runs = airflow_state.runs(session, visible)
        for key in visible[:TIMELINES]:
            if key in runs:
                steps[key] = airflow_state.steps(session, runs[key])
    documents: dict[str, int] = {}
    with sources.part(page.problems, "the search engine"):
        client = sources.engine()
        shown["aliases"] = refreshes.aliases(client)
        documents = Indexes(client, patience=0).sources(media)
    policy = None
    with sources.part(page.problems, TAG_POLICY.name):
        policy = policy_from(sources.value_of(TAG_POLICY, page.problems))
    timelines = [
        Timeline(one, runs.get(key := (one.dag_id, one.run_id)), steps.get(key, [])) for one in history
    ]
    before = next((one.documents for one in history if one.stage == "promoted"), {})
    return page.render(
        "refresh.html",
        media=media,
        timelines=timelines,
        documents={name: (before.get(name, 0), documents.get(name, 0)) for name in {**documents, **before}},
        policy=policy,
        **shown,
    )


@router.get("/refresh/policy", response_class=HTMLResponse)
def policy(
    media: MediaType = "image",
    policy: Annotated[str, Query(max_length=20_000)] = "",
    rows: Annotated[int, Query(ge=1, le=10_000)] = SAMPLE,
) -> HTMLResponse:
    """Preview what a policy would do to a sample of the records; nothing is changed."""
    page, problem, diff = Page(), "", None
    old = new = DEFAULT
    try:
        new = policy_from(json.loads(policy) if policy else sources.value_of(TAG_POLICY, page.problems))
    except json.JSONDecodeError as error:
        problem = f"The policy is not JSON: {error}."
    except Fatal as error:
        problem = str(error)
    with sources.part(page.problems, "the search engine"):
        old = built_with(Indexes(sources.engine(), patience=0).meta(media)) or DEFAULT
    if not problem:
        with sources.part(page.problems, "the API database"), sources.database(sources.API) as api:
            diff = policy_diff.compare(policy_diff.sample(api, media, rows), old, new)
    return page.render(
        "policy.html",
        media=media,
        old=old,
        new=new,
        diff=diff,
        problem=problem,
        rules=("kept", *RULES),
        text=policy or msgspec.json.format(msgspec.json.encode(new), indent=2).decode(),
    )
