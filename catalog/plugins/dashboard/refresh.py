"""Data refreshes: stages of the last runs, documents by source, aliases, tag policy and its preview."""

from collections.abc import Set as AbstractSet
from typing import Annotated

import msgspec
from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from catalog.core.errors import Fatal
from catalog.core.media import MediaType
from catalog.core.setting import Malformed
from catalog.core.settings import API_DB, CATALOG_DB, TAG_POLICY
from catalog.data_refresh.search import policy_diff
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.tag_policy import DEFAULT, RULES, built_with, policy_from
from catalog.monitoring import aliases, popularity, refreshes
from catalog.monitoring.aliases import Live
from catalog.monitoring.popularity import Popularity
from catalog.monitoring.refreshes import Refreshed
from catalog.plugins.dashboard import airflow_state, connections
from catalog.plugins.dashboard.access import HiddenDags
from catalog.plugins.dashboard.airflow_state import Run, Step, Waiting
from catalog.plugins.dashboard.rendering import Page, refresh_dag

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
def show(session: SessionDep, hidden: HiddenDags, media: MediaType = "image") -> HTMLResponse:
    """Show the refreshes of one media type, and what is live. What cannot be read is None."""
    page = Page()
    history: list[Refreshed] | None = None
    metrics: list[Popularity] | None = None
    last: Refreshed | None = None
    with page.part("the catalog database"), connections.database(CATALOG_DB) as connection:
        metrics = popularity.metrics(connection)
        history = [
            refresh
            for refresh in refreshes.refreshes(connection, media, HISTORY)
            if refresh.dag_id not in hidden
        ]
        last = next(iter(refreshes.promoted(connection, media, page.now)), None)
    runs: dict[tuple[str, str], Run] | None = None
    steps: dict[tuple[str, str], list[Step]] = {}
    waiting: list[Waiting] = []
    with page.part("Airflow's database"):
        keys = [(refresh.dag_id, refresh.run_id) for refresh in history or ()]
        runs = airflow_state.runs(session, keys)
        steps = {key: airflow_state.steps(session, runs[key]) for key in keys[:TIMELINES] if key in runs}
        if (dag_id := refresh_dag(media)) not in hidden:
            waiting = [_visible(one, hidden) for one in airflow_state.waiting(session, dag_id)]
    live: Live | None = None
    with page.part("the search engine"):
        live = aliases.live(connections.engine(), [media])
    policy = None
    with page.part(TAG_POLICY.name):
        policy = policy_from(page.value_of(TAG_POLICY))
    known = runs or {}
    return page.render(
        "refresh.html",
        media=media,
        timelines=None
        if history is None
        else [
            Timeline(refresh, known.get(key := (refresh.dag_id, refresh.run_id)), steps.get(key, []))
            for refresh in history
        ],
        waiting=waiting,
        promoted=last is not None,
        runs_known=runs is not None,
        aliases=live.aliases if live else None,
        documents=_compared(last.documents if last else None, live.documents.get(media) if live else None),
        policy=policy,
        metrics=metrics,
    )


def _visible(waiting: Waiting, hidden: AbstractSet[str]) -> Waiting:
    """Leave out which runs those are of DAGs that the user may not read."""
    names = [other.partition(" (run ")[0] for other in waiting.others.split(", ")]
    if hidden.isdisjoint(names):
        return waiting
    return msgspec.structs.replace(waiting, others="a run of a DAG that you may not read")


def _compared(
    before: dict[str, int] | None, live: dict[str, int] | None
) -> dict[str, tuple[int | None, int | None]] | None:
    """Return source → documents before the last promoted refresh, and now; None for what is not known."""
    if live is None and not before:
        return None
    return {
        source: (
            None if before is None else before.get(source, 0),
            None if live is None else live.get(source, 0),
        )
        for source in {**(live or {}), **(before or {})}
    }


@router.get("/refresh/policy", response_class=HTMLResponse)
def policy(
    media: MediaType = "image",
    policy: Annotated[str, Query(max_length=20_000)] = "",
    rows: Annotated[int, Query(ge=1, le=10_000)] = SAMPLE,
) -> HTMLResponse:
    """Preview what a policy would do to a sample of the records; nothing is changed."""
    page, problem, diff = Page(), "", None
    built = old = new = None
    try:
        value = msgspec.json.decode(policy) if policy else page.value_of(TAG_POLICY)
        new = policy_from(value)
    except (msgspec.DecodeError, RecursionError) as error:
        problem = f"The policy is not JSON: {error}."
    except (Fatal, Malformed) as error:
        problem = str(error)
    with page.part("the search engine"):
        built = built_with(Indexes(connections.engine(), patience=0).live_meta(media))
        old = built or DEFAULT
    if new and old:
        with page.part("the API database"), connections.database(API_DB) as api:
            diff = policy_diff.compare(policy_diff.sample(api, media, rows), old, new)
    return page.render(
        "policy.html",
        media=media,
        old=old,
        built=built,
        new=new,
        diff=diff,
        problem=problem,
        rules=("kept", *RULES),
        text=policy or msgspec.json.format(msgspec.json.encode(new or DEFAULT), indent=2).decode(),
    )
