"""Tasks of every provider DAG: pull into TSV parts, load each media type, report. They fetch what is Airflow's and call the library."""

import logging
import re
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from time import monotonic
from typing import Any

from airflow.sdk import Param, get_current_context, task, task_group
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
)

from catalog.core.dates import utc
from catalog.core.errors import CatalogError, Interrupted, QuotaExhausted, Retry, SkippedErrors
from catalog.core.media import MediaType
from catalog.core.settings import (
    CONTACT_EMAIL,
    INGESTION_LIMIT,
    PRIVATE_HOSTS,
    PROBE_HTTPS,
    SKIPPED_INGESTION_ERRORS,
)
from catalog.dags.operators.conf import END
from catalog.dags.operators.oauth2 import credentials_for
from catalog.dags.operators.running import stop_asked, task_failures
from catalog.dags.operators.settings import (
    TaskStateCheckpoint,
    catalog_connection,
    secret_for,
    storage,
    throttle_for,
)
from catalog.dags.operators.slack import send
from catalog.dags.operators.variables import value_of
from catalog.ingestion.assemble import client_for, replay_of
from catalog.ingestion.client import Client
from catalog.ingestion.lease import Lease
from catalog.ingestion.parts import Manifest, Parts
from catalog.ingestion.provider import Provider, provider_class
from catalog.ingestion.pull import Pull
from catalog.ingestion.replay import ReplayAdapter
from catalog.ingestion.state import Options
from catalog.ingestion.transport import tls_probe
from catalog.ingestion.windows import Window, day_window, run_window

log = logging.getLogger(__name__)
_DAY = r"^\d{4}-\d{2}-\d{2}" + END


REPLAY = Param(
    None, type=["null", "string"], minLength=1, title="Replay",
    description_md="Folder of a recording to answer from instead of the network; nothing is requested.",
)  # fmt: skip


ACCEPT_SHORTFALL = Param(
    False,
    type="boolean",
    title="Accept as whole",
    description_md="Count the pull as whole although it brings less than the API announces, or than is usual. "
    "For when an alert said that a pull is not whole, and you have found that the provider really has less now.",
)


def provider_params() -> dict[str, Param]:
    """What the trigger form of a provider DAG asks; nothing is required."""
    return {
        "date": Param(
            None, type=["null", "string"], format="date", pattern=_DAY, title="Date",
            description_md="The UTC day to pull, for dated providers (Freesound: everything since that day). Empty: the run's own day.",
        ),
        "limit": Param(
            0, type="integer", minimum=0, maximum=10**12, title="Limit", description_md="Stop after this number of records. 0: no limit.",
        ),
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
        "accept_shortfall": ACCEPT_SHORTFALL,
        "replay": REPLAY,
    }  # fmt: skip


@task
def check_configuration() -> None:
    """Nothing but the check of the conf, which comes before every first task."""


@task
def skip_when_fresh(provider: str, days: int, dag_run: Any = None) -> None:
    """Skips a scheduled run when a whole pull of the provider was loaded in the last days."""
    if is_manual(dag_run):
        return
    from catalog.loading.history import last_whole

    with catalog_connection(autocommit=True) as connection:
        found = last_whole(connection, list(provider_class(provider).strings.values()))
    if found and found > datetime.now(UTC) - timedelta(days=days):
        raise AirflowSkipException(
            f"a whole pull was loaded on {utc(found):%Y-%m-%d}, less than {days} days ago."
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
    contact = value_of(CONTACT_EMAIL)
    if cls.needs_contact and not contact and not replay:
        log.warning("%s asks for the operator's address; set the Variable CONTACT_EMAIL.", cls.name)
    return client_for(
        cls,
        secret_for(cls),
        replay=replay,
        throttle=None if replay else throttle_for(cls),
        tokens=None if replay else credentials_for(cls),
        contact=contact,
        private_hosts=private_hosts(),
    )


def private_hosts() -> list[str]:
    """Hosts whose addresses need not be global: those inside the operator's network."""
    return value_of(PRIVATE_HOSTS)


def parts_of(provider: str, context: Any, window: Window | None, day_shift: int, attempt: int = 0) -> Parts:
    """The folder of this run's parts: the same for each attempt, and for pull and load."""
    run = context["dag_run"]
    key = sha256(f"{run.dag_id}/{run.run_id}/{day_shift}".encode()).hexdigest()[:8]
    return Parts(storage(), provider, run.run_after, window, key, attempt)


def pull(provider: str, day_shift: int) -> dict[str, Any]:
    """Pulls into TSV parts; goes on where an earlier try stopped. Returns counts for XCom."""
    context: Any = get_current_context()
    params, run, ti = context["params"], context["dag_run"], context["ti"]
    cls, options = provider_class(provider), _options(params, run.dag_id)
    stop = stop_asked()
    try:
        replay, window = _covers(cls, context, day_shift)
        client = client_of(cls, replay)
        lease = Lease(
            f"{run.dag_id}/{run.run_id}/{ti.task_id}/{ti.map_index}",
            lambda: catalog_connection(autocommit=True),
            above=parts_of(provider, context, window, day_shift).newest_attempt(),
        )
        parts = parts_of(provider, context, window, day_shift, lease.number)
        manifest = Pull(
            cls(),
            client,
            parts,
            run_id=run.run_id,
            window=window,
            options=options,
            checkpoint=TaskStateCheckpoint(context),
            fence=lease,
            should_stop=stop,
            progress=_Progress(),
            probe=_probe(),
        ).run()
        lease.release()
    except QuotaExhausted as error:
        log.warning("WAITING: %s", error)
        raise AirflowRescheduleException(error.resumes_at) from None  # type: ignore[no-untyped-call]
    except (Retry, Interrupted) as error:
        raise AirflowException(f"{error} The next try goes on at the last whole page.") from None
    except SkippedErrors as error:
        raise AirflowFailException(str(error)) from None
    except CatalogError as error:
        raise AirflowFailException(f"{type(error).__name__}: {error}") from None
    return _summary(manifest)


def log_link(own: str | None, task_id: str, map_index: int) -> str | None:
    """Address of another task's log in the same run, made from this task's own."""
    run, found, _ = (own or "").rpartition("/tasks/")
    return f"{run}/tasks/{task_id}/mapped/{map_index}" if found else None


def _probe() -> Any:
    return tls_probe(private_hosts()) if value_of(PROBE_HTTPS) else None


def _options(params: Any, dag_id: str) -> Options:
    entries = value_of(SKIPPED_INGESTION_ERRORS).get(dag_id, [])
    return Options(
        limit=params.get("limit") or value_of(INGESTION_LIMIT),
        initial_query_params=params.get("initial_query_params") or None,
        query_params_list=params.get("query_params_list") or None,  # the form shows "none" as an empty list
        additional_query_params=params.get("additional_query_params") or {},
        skip_errors=bool(params.get("skip_ingestion_errors")),
        skip_predicates=tuple(entry.predicate for entry in entries),
        accept_shortfall=bool(params.get("accept_shortfall")),
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
    """Load what the pull wrote, also when it failed; skip when it wrote nothing at all.

    Returns:
        The report, for XCom.

    Raises:
        AirflowFailException: All is loaded, but it is less than usual; or nothing is, because the parts are not what
            the manifest says.
    """
    import msgspec

    from catalog.ingestion.completeness import not_whole
    from catalog.loading.load import Load, RunKey

    context: Any = get_current_context()
    params, run, cls = context["params"], context["dag_run"], provider_class(provider)
    try:
        _, window = _covers(cls, context, day_shift)
    except CatalogError as error:
        raise AirflowSkipException(f"nothing was pulled: {error}") from None
    parts = parts_of(provider, context, window, day_shift)
    manifest = parts.load()
    if manifest is None or not (manifest.pages or manifest.complete):
        raise AirflowSkipException("the pull left nothing to load.")
    if not manifest.complete:
        log.warning(
            "%s; loading the %d pages it read.", manifest.error or "The pull was killed", manifest.pages
        )
    with catalog_connection() as connection, task_failures():
        report = Load(
            connection,
            media_type,
            cls.strings[media_type],
            parts.tsv_files(media_type, manifest),
            manifest,
            RunKey(run.dag_id, run.run_id, day_shift),
            include_deleted=bool(params.get("include_deleted")),
            rejects=parts.folder / f"load_{media_type}.rejects.jsonl",
            expected=cls.expectations(),
        ).run()
    log.info("loaded: %s", report)
    if report.unusual and not manifest.accepted:
        raise AirflowFailException(not_whole(cls.strings[media_type], media_type, report.unusual))
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
    from catalog.notifications.messages import flags_of, load_completion

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
    flags = "".join(f" {word}" for word in dict.fromkeys(flags_of(report) for report in reports) if word)
    ti.xcom_push(key="summary", value=summary + flags)
    log.info("summary: %s%s", summary, flags)
    return message.text


@task(trigger_rule="all_done")
def report_aggregate_reingestion_errors(provider: str, lists: dict[str, list[int]]) -> str:
    """One alert that names every day whose pull or load failed, newest first; skips when none did. lists: group id → its days back."""
    from catalog.notifications.messages import reingestion_errors

    context: Any = get_current_context()
    run, ti, cls = context["dag_run"], context["ti"], provider_class(provider)
    states = ti.get_task_states(run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
    failed: dict[int, str | None] = {}
    for name, state in states.items():  # a mapped task is named `<task id>_<map index>` here
        found = re.fullmatch(r"(?P<task>(?P<group>.+)\.(?:pull|load)_.+_data)_(?P<index>\d+)", name)
        if found and str(state) == "failed":
            task_id = found["task"]
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
