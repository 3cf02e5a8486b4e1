"""Tasks of every provider DAG: pull into TSV parts, load each media type, report. They fetch what is Airflow's and call the library."""

import logging
import re
from datetime import date, timedelta
from hashlib import sha256
from time import monotonic
from typing import Any

from airflow.sdk import Param, Variable, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from catalog.dags.operators.oauth2 import credentials_for
from catalog.dags.operators.running import stop_asked, task_failures
from catalog.dags.operators.settings import (
    Lease,
    TaskStateCheckpoint,
    catalog_connection,
    check_conf,
    json_variable,
    secret_for,
    storage,
    throttle_for,
)
from catalog.dags.operators.slack import send
from catalog.ingestion.assemble import client_for, replay_of
from catalog.ingestion.client import Client, answers_tls
from catalog.ingestion.errors import IngestionError, Interrupted, Retry, SkippedErrors
from catalog.ingestion.parts import Manifest, Parts
from catalog.ingestion.provider import Provider, provider_class
from catalog.ingestion.pull import Pull
from catalog.ingestion.records import MediaType
from catalog.ingestion.replay import ReplayAdapter
from catalog.ingestion.state import Options
from catalog.ingestion.windows import Window, day_window, run_window

log = logging.getLogger(__name__)
_DAY = r"^\d{4}-\d{2}-\d{2}$"


REPLAY = Param(
    None, type=["null", "string"], minLength=1, title="Replay",
    description_md="Folder of a recording to answer from instead of the network; nothing is requested.",
)  # fmt: skip


def provider_params() -> dict[str, Param]:
    """What the trigger form of a provider DAG asks; nothing is required."""
    return {
        "date": Param(
            None, type=["null", "string"], format="date", pattern=_DAY, title="Date",
            description_md="The UTC day to pull, for dated providers (Freesound: everything since that day). Empty: the run's own day.",
        ),
        "limit": Param(0, type="integer", minimum=0, title="Limit", description_md="Stop after so many records. 0: no limit."),
        "initial_query_params": Param(
            None, type=["null", "object"], title="Start here",
            description_md="Query parameters of the first request, for example `{\"page\": 120}`; the pull goes on from there.",
        ),
        "query_params_list": Param(
            None, type=["null", "array"], items={"type": "object"}, title="Only these",
            description_md="A list of query parameters: one request for each, and nothing else.",
        ),
        "additional_query_params": Param(
            {}, type=["null", "object"], title="Add to each request", description_md="Query parameters that are added to every request.",
        ),
        "skip_ingestion_errors": Param(
            False, type="boolean", title="Pass over errors",
            description_md="Go on with the next page when one fails; all failures are reported at the end.",
        ),
        "include_deleted": Param(
            False, type="boolean", title="Include deleted", description_md="Bring back records that were deleted from the catalog.",
        ),
        "replay": REPLAY,
    }  # fmt: skip


@task(retries=0)
def check_configuration(dag: Any = None, dag_run: Any = None) -> None:
    """Refuses a conf with unknown keys before anything is done."""
    check_conf(dag_run.conf, dag.params)


@task(retries=0)
def skip_when_fresh(provider: str, days: int, dag: Any = None, dag_run: Any = None) -> None:
    """Refuses unknown keys; skips a scheduled run when a complete, whole pull of the provider was loaded in the last days."""
    check_conf(dag_run.conf, dag.params)
    if is_manual(dag_run):
        return
    query = """
        select finished_on from ingestion_report
         where provider = any(%s) and complete and whole and not replayed and finished_on > now() - make_interval(days => %s)
         order by finished_on desc
    """
    with catalog_connection(autocommit=True) as connection:
        found = connection.execute(query, [list(provider_class(provider).strings.values()), days]).fetchone()
    if found:
        raise AirflowSkipException(
            f"a complete pull was loaded on {found[0]:%Y-%m-%d}, less than {days} days ago."
        )


def is_manual(dag_run: Any) -> bool:
    return bool(getattr(dag_run.run_type, "value", dag_run.run_type) == "manual")


def ingest(
    provider: str, *, pull_timeout: timedelta | None = None, name: str = "ingest_data", checked: Any = None
) -> Any:
    """The group of tasks that pulls and loads. Returns the group, to be called, or to be mapped over day shifts.

    checked: the task that checks the conf of a reingestion; its days are mapped, and report their failures together.
    """
    cls, days = provider_class(provider), checked is not None
    media = list(cls.strings)
    mixed = media[0] if len(media) == 1 else "mixed"
    alerts: dict[str, Any] = (
        {"on_failure_callback": []} if days else {}
    )  # a reingestion reports its failed days together

    @task_group(group_id=name)
    def group(day_shift: int = 0) -> None:
        template: dict[str, Any] = {"map_index_template": "{{ covers }}"} if days else {}
        common = {**alerts, **template}
        pull_task = task(
            task_id=f"pull_{mixed}_data", execution_timeout=pull_timeout or cls.pull_timeout, **common
        )(pull)
        pulled = pull_task(provider=provider, day_shift=day_shift)
        if days:
            checked >> pulled
        # What a failed pull had read is loaded; but nothing is when the conf was refused.
        rule = "all_done_min_one_success" if days else "all_done"
        for medium in media:
            load_task = task(
                task_id=f"load_{medium}_data", execution_timeout=cls.load_timeout, trigger_rule=rule, **common
            )(load)
            ([pulled, checked] if days else pulled) >> load_task(
                provider=provider, media_type=medium, day_shift=day_shift
            )

    return group


def window_for(cls: type[Provider], context: Any, day_shift: int, replay_date: str | None) -> Window | None:
    """The day(s) a run covers; see run_window. A reingestion counts back from the first day of its interval.

    A manual run on a recording, without a date, covers the recording's day; scheduled runs and backfills have an interval of their own.
    """
    run, day = context["dag_run"], context["params"].get("date")
    if not cls.dated:
        return day_window(date.fromisoformat(day)) if day and cls.since else None
    if day is None and is_manual(run):
        day = replay_date
    interval = (run.data_interval_start, run.data_interval_end)
    window = run_window(run.run_after, date.fromisoformat(day) if day else None, interval)
    return (
        window
        if window == day_window(window.day) and not day_shift
        else run_window(run.run_after, window.day, days_back=day_shift)
    )


def _covers(cls: type[Provider], context: Any, day_shift: int) -> tuple[ReplayAdapter | None, Window | None]:
    """The recording and the window of a task, which is named by the latter in the UI. Raises Fatal when there is no such recording."""
    replay = replay_of(cls.name, context["params"].get("replay"))
    window = window_for(cls, context, day_shift, replay.date if replay else None)
    context["covers"] = f"{window}" if window else cls.name
    return replay, window


def client_of(cls: type[Provider], replay: ReplayAdapter | None) -> Client:
    """The provider's client as tasks have it: its key or tokens, and the rate limit that all share; neither for a replay."""
    if replay:
        log.warning(
            "REPLAY: answers come from %s; nothing is requested.", get_current_context()["params"]["replay"]
        )
    return client_for(
        cls, secret_for(cls), replay=replay, throttle=None if replay else throttle_for(cls),
        tokens=None if replay else credentials_for(cls), contact=Variable.get("CONTACT_EMAIL", default=None),
    )  # fmt: skip


def parts_of(provider: str, context: Any, window: Window | None, day_shift: int) -> Parts:
    """The folder of this run's parts: the same for each try, and for pull and load."""
    run = context["dag_run"]
    key = sha256(f"{run.dag_id}/{run.run_id}/{day_shift}".encode()).hexdigest()[:8]
    return Parts(storage(), provider, run.run_after, window, key)


def pull(provider: str, day_shift: int) -> dict[str, Any]:
    """Pulls into TSV parts; goes on where an earlier try stopped. Returns counts for XCom."""
    context: Any = get_current_context()
    params, run, ti = context["params"], context["dag_run"], context["ti"]
    check_conf(run.conf, context["dag"].params)  # `params` holds whatever conf held
    cls, options = provider_class(provider), _options(params, run.dag_id)
    stop = stop_asked()
    try:
        replay, window = _covers(cls, context, day_shift)
        client = client_of(cls, replay)
        lease = Lease(
            f"{run.dag_id}/{run.run_id}/{ti.task_id}/{ti.map_index}",
            lambda: catalog_connection(autocommit=True),
        )
        checkpoint = TaskStateCheckpoint(context["task_state_store"])
        manifest = Pull(
            cls(), client, parts_of(provider, context, window, day_shift), run_id=run.run_id, window=window, options=options,
            checkpoint=checkpoint, fence=lease, should_stop=stop, progress=_Progress(), probe=_probe(),
        ).run()  # fmt: skip
        lease.release()
    except (Retry, Interrupted) as error:
        raise AirflowException(f"{error} The next try goes on at the last whole page.") from None
    except SkippedErrors as error:
        raise AirflowFailException(str(error)) from None
    except IngestionError as error:
        raise AirflowFailException(f"{type(error).__name__}: {error}") from None
    return _summary(manifest)


def log_link(own: str | None, task_id: str, map_index: int) -> str | None:
    """Address of another task's log in the same run, made from this task's own."""
    run, found, _ = (own or "").rpartition("/tasks/")
    return f"{run}/tasks/{task_id}/mapped/{map_index}" if found else None


def _probe() -> Any:
    return answers_tls if json_variable("PROBE_HTTPS", True) else None


def _options(params: Any, dag_id: str) -> Options:
    entries = json_variable("SKIPPED_INGESTION_ERRORS", {}).get(dag_id, [])
    return Options(
        limit=params.get("limit") or int(json_variable("INGESTION_LIMIT", 0) or 0),
        initial_query_params=params.get("initial_query_params") or None,
        query_params_list=params.get("query_params_list") or None,  # the form shows "none" as an empty list
        additional_query_params=params.get("additional_query_params") or {},
        skip_errors=bool(params.get("skip_ingestion_errors")),
        skip_predicates=tuple(str(e["predicate"]) for e in entries if e.get("predicate")),
    )


class _Progress:
    """A line in the task log every ten seconds: pages, items, rate, what remains where the API announces it."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, manifest: Manifest, total: int | None) -> None:
        if monotonic() - self._last < 10:
            return
        self._last = monotonic()
        fetched = sum(c.fetched for c in manifest.counts.values())
        announced = f" of {total:,} announced for this round" if total else ""
        log.info(
            "page %d: %d items%s, %.0f items/s",
            manifest.pages,
            fetched,
            announced,
            fetched / max(manifest.seconds, 0.001),
        )


def _summary(manifest: Manifest) -> dict[str, Any]:
    counts = manifest.counts
    summary = {
        "pages": manifest.pages,
        "seconds": manifest.seconds,
        "replayed": manifest.replayed,
        "fetched": sum(c.fetched for c in counts.values()),
        "written": {m: c.written for m, c in counts.items()},
    }
    log.info("pulled: %s", summary)
    return summary


def load(provider: str, media_type: MediaType, day_shift: int) -> dict[str, Any]:
    """Loads what the pull wrote, also when it failed; skips when it wrote nothing at all. Returns the report for XCom."""
    import msgspec

    from catalog.loading.load import Load, RunKey

    context: Any = get_current_context()
    params, run, cls = context["params"], context["dag_run"], provider_class(provider)
    try:
        _, window = _covers(cls, context, day_shift)
    except IngestionError as error:
        raise AirflowSkipException(f"nothing was pulled: {error}") from None
    parts = parts_of(provider, context, window, day_shift)
    manifest = parts.load()
    if manifest is None:
        raise AirflowSkipException("the pull left nothing to load.")
    if not manifest.complete:
        log.warning(
            "PARTIAL: the pull ended early (%s); loading the %d pages it read.",
            manifest.error or "killed",
            manifest.pages,
        )
    with catalog_connection() as connection, task_failures():
        report = Load(
            connection, media_type, cls.strings[media_type], parts.tsv_files(media_type, manifest.pages), manifest,
            RunKey(run.dag_id, run.run_id, day_shift), include_deleted=bool(params.get("include_deleted")),
            rejects=parts.folder / f"load_{media_type}.rejects.jsonl",
        ).run()  # fmt: skip
    log.info("loaded: %s", report)
    return msgspec.to_builtins(report)  # type: ignore[no-any-return]


def _reports() -> list[dict[str, Any]]:
    from psycopg.rows import dict_row

    run = get_current_context()["dag_run"]
    with catalog_connection(autocommit=True) as connection, connection.cursor(row_factory=dict_row) as cursor:
        query = (
            "select * from ingestion_report where dag_id = %s and run_id = %s order by day_shift, media_type"
        )
        return cursor.execute(query, [run.dag_id, run.run_id]).fetchall()


@task(trigger_rule="all_done")
def report_load_completion(reingestion: bool = False, dated: bool = False) -> str:
    """One message about the whole run; skips when nothing was pulled. Pushes the XCom `summary`, one line."""
    from catalog.notifications.messages import load_completion

    context: Any = get_current_context()
    run, ti = context["dag_run"], context["ti"]
    reports = _reports()
    if not reports:
        raise AirflowSkipException("nothing was loaded.")
    covered = [(r["window_start"], r["window_end"]) for r in reports if r["window_start"]]
    message = load_completion(
        run.dag_id,
        ti.task_id,
        reports,
        window=covered[0] if dated and covered else None,
        reingestion=reingestion,
    )
    send(message)
    names = ("fetched", "inserted", "updated", "unchanged", "skipped", "rejected")
    summary = ", ".join(f"{name} {sum(r[name] for r in reports):,}" for name in names)
    flags = (" PARTIAL" if any(not r["complete"] for r in reports) else "") + (
        " REPLAY" if any(r["replayed"] for r in reports) else ""
    )
    ti.xcom_push(key="summary", value=summary + flags)
    log.info("summary: %s%s", summary, flags)
    return message.text


@task(trigger_rule="all_done")
def report_aggregate_reingestion_errors(provider: str, lists: dict[str, list[int]]) -> str:
    """One alert that names every day whose pull failed, newest first; skips when none did. lists: group id → its days back."""
    from catalog.notifications.messages import reingestion_errors

    context: Any = get_current_context()
    run, ti, cls = context["dag_run"], context["ti"], provider_class(provider)
    states = ti.get_task_states(run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
    failed: dict[int, str | None] = {}
    for name, state in states.items():  # a mapped task is named `<task id>_<map index>` here
        found = re.fullmatch(r"(?P<group>.+)\.pull_(?P<media>.+)_data_(?P<index>\d+)", name)
        if found and str(state) == "failed":
            task_id = f"{found['group']}.pull_{found['media']}_data"
            failed[lists[found["group"]][int(found["index"])]] = log_link(
                ti.log_url, task_id, int(found["index"])
            )
    if not failed:
        raise AirflowSkipException("no day failed.")
    replay = replay_of(provider, context["params"].get("replay"))
    days = [
        (f"{window_for(cls, context, shift, replay.date if replay else None)}", failed[shift])
        for shift in sorted(failed)
    ]
    message = reingestion_errors(run.dag_id, ti.task_id, days)
    send(message)
    return message.text
