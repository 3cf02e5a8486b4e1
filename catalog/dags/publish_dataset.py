"""Publishes the catalog as a dataset: Parquet files in object storage, with a manifest and metadata.

[docs/dataset.md](docs/dataset.md) shows how to query it. Each run writes a version, `v<N>/`, below the folder
that the Variable `DATASET_STORAGE` names:

1. The first task deletes the folders of versions that were given up, and plans the parts: ranges of pages,
   and providers with few records.
2. Mapped tasks (Variable `DATASET_TASKS`) share the parts. All read one snapshot of the catalog, so a version
   is the state of one moment. A task that is killed or cleared writes only what is missing. If no task holds
   the snapshot any more, parts whose rows are the same in a new one are kept, and the others are written
   again.
3. All files are read back and compared with their checksums. The identifiers that were added, changed or
   removed since the version before are written, except of a media type of which a file of that version is
   missing or altered.
4. The version gets its manifest, [Croissant](https://docs.mlcommons.org/croissant/) metadata and a card with
   numbers by source and license. `latest.json` names the newest version and is written last. Each of these
   files is read back. A version without records, with far fewer than the one before, or without many of its
   records, is refused. So is one of which this is not known, because a file of the version before is
   missing or altered, one whose list of sensitive terms is another one and finds far fewer records, and one
   where `latest.json` is gone, or names a version of another catalog. `accept_shrinkage` accepts what an
   earlier run has reported of this, each kind of loss apart.
5. All but the newest `DATASET_VERSIONS` versions are deleted, except those of another catalog.

Records are left out if they were deleted from the catalog or by moderators, if their source has removed them,
or if they are sensitive: they contain a term of the list, or moderators or their provider call them mature.
The Variable `DATASET_INCLUDE_SENSITIVE` includes sensitive ones. Nothing is published if many decisions of
moderators are gone since the version before, or since this one was begun.

After a failure, a kill or a deployment, clear the failed task with its downstream tasks. Until `latest.json`
is written, readers find the version before.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk import Param, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from catalog.core.accepting import accepting
from catalog.core.errors import Refused
from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.queries import database_time
from catalog.core.settings import API_DB, DATASET_INCLUDE_SENSITIVE, DATASET_TASKS, DATASET_VERSIONS
from catalog.dags.common.acceptance import RunJudge, acceptance, accepted_lines
from catalog.dags.common.assets import CATALOG, DATASET, POPULARITY, note_written
from catalog.dags.common.connections import (
    api_connection,
    catalog_connection,
    connect_to_catalog,
    is_configured,
)
from catalog.dags.common.context import GIVEN, DagRun, Params
from catalog.dags.common.progress import Meter, sigterm_flag
from catalog.dags.common.sensitive_terms import sensitive_terms, unchanged_terms
from catalog.dags.common.state import FirstTime
from catalog.dags.common.storage import dataset_storage
from catalog.dags.common.variables import value_of
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.slack import notify
from catalog.data_refresh.search.sensitive import digest_of
from catalog.database.refusals import Found, Judge, Judged, refuse_all
from catalog.moderation.decisions import all_decided
from catalog.moderation.remembered import Remembered, judge_lost, lost, remember
from catalog.moderation.tables import KINDS, Decision

if TYPE_CHECKING:
    from catalog.publishing.versions import Version

log = logging.getLogger(__name__)
SENDER = "Dataset"
MAX_DURATION = timedelta(days=3)
RECENT = timedelta(days=1)  # within which a version that was begun need not follow decisions of moderators


@task
def begin_version(dag_run: DagRun = GIVEN, params: Params = GIVEN) -> list[int]:
    """Give the run a version and plan its parts; return the numbers of the tasks that write them.

    Versions that were given up are deleted.
    """
    from catalog.publishing import new_version, part_states, parts, versions

    judge, first_time, root = _judge(params), FirstTime(), dataset_storage()
    settings: dict[str, Any] = {
        "include_sensitive": value_of(DATASET_INCLUDE_SENSITIVE),
        versions.MODERATED: is_configured(API_DB),
    }
    if not settings["include_sensitive"]:
        settings[versions.TERMS] = digest_of(sensitive_terms())
    with catalog_connection(autocommit=True) as catalog, first_time as first:
        if settings[versions.MODERATED]:
            known = versions.newest_settings(catalog, root)
            _refuse_lost_decisions(known, _kinds(settings), judge)
            settings[versions.DECISIONS] = _remembered()
        version = new_version.begin(
            catalog,
            root,
            dag_run.run_id,
            settings,
            lambda: parts.plan(catalog),
            first=first,
            successor=params["successor"],
        )
        planned = part_states.parts_of(catalog, version.number)
    log.info("version %s: %s parts", version.number, f"{len(planned):,}")
    # After a restore, a version that is published may have no parts; without a session, all would be skipped.
    return list(range(1, max(1, min(value_of(DATASET_TASKS), len(planned))) + 1))


def _judge(params: Mapping[str, Any]) -> Judge:
    """Return what a run accepts, to be made when an attempt begins.

    With `accept_only`, it accepts losses of this media type only; which kinds are those, the name tells.

    Raises:
        Refused: The conf is half of one.
    """
    from catalog.publishing import losses

    only = params["accept_only"]
    if only and not params["accept_shrinkage"]:
        raise Refused("accept_only: it says of what accept_shrinkage accepts losses; set that as well.")
    asked = acceptance()
    accepts = RunJudge(asked=asked)
    if not only:
        return accepts
    # Each kind is accepted apart in any case, so a run that is to accept these, too, needs no such field.
    conf = {**(get_current_context()["dag_run"].conf or {}), "accept_only": None}
    refuses = RunJudge(
        asked=msgspec.structs.replace(asked, given=False, conf=accepting(conf, "accept_shrinkage"))
    )

    def judge(found: Found) -> Judged:
        ours = {kind: one for kind, one in found.items() if kind.startswith(losses.kind("", only))}
        theirs = {kind: one for kind, one in found.items() if kind not in ours}
        first, second = accepts(ours), refuses(theirs)
        return Judged(
            [*first.accepted, *second.accepted],
            [*first.refused, *second.refused],
            " ".join(filter(None, (first.way_out, second.way_out))),
        )

    return judge


def _remembered() -> Any:
    """Return what the settings of a version keep of decisions of moderators."""
    with api_connection(autocommit=True) as api:
        return msgspec.to_builtins({m: remember(api, m) for m in MEDIA_TYPES})


def _refuse_lost_decisions(
    settings: Mapping[str, Any], kinds: Sequence[Decision], judge: Judge = refuse_all, *, newest: bool = True
) -> None:
    """Refuse to publish without many of the decisions that were made before a version. Raises Fatal.

    Args:
        settings: Settings of that version.
        kinds: The kinds of decisions that apply.
        judge: Says whether it is accepted that they are gone.
        newest: As of `lost`.
    """
    from catalog.publishing import losses

    with api_connection(autocommit=True) as api:
        found = {
            losses.kind("decisions", media_type): lost(api, media_type, before, newest=newest)
            for media_type, before in _decisions(settings, kinds).items()
        }
    # Without the newest ones, what was reported of them is not looked at.
    judge_lost({kind: findings for kind, findings in found.items() if findings or newest}, judge)


def _decisions(
    settings: Mapping[str, Any], kinds: Sequence[Decision]
) -> dict[MediaType, dict[Decision, Remembered]]:
    """Return what the settings of a version keep of decisions of some kinds; empty if nothing."""
    from catalog.publishing import versions

    known = msgspec.convert(settings.get(versions.DECISIONS, {}), dict[MediaType, dict[Decision, Remembered]])
    return {
        media_type: {kind: remembered[kind] for kind in kinds if kind in remembered}
        for media_type, remembered in known.items()
    }


@task(map_index_template="session {{ task.op_kwargs.session }}")
def write_parts(session: int, dag_run: DagRun = GIVEN) -> int:
    """Write parts, together with the other sessions; return the number of rows that this one has read."""
    from catalog.data_refresh.search.normal_form import normal_form
    from catalog.publishing import run_version, versions, writing
    from catalog.publishing.sensitive import Sensitive

    root, meter = dataset_storage(), Meter("rows")
    with connect_to_catalog(autocommit=True) as catalog, connect_to_catalog(autocommit=True) as holder:
        version = run_version.working(catalog, root, dag_run.run_id)
        if version.stage == "published":
            return 0
        versions.require_sensitive(version, value_of(DATASET_INCLUDE_SENSITIVE))
        versions.require_moderated(version)
        sensitive = None
        if not version.settings["include_sensitive"]:
            sensitive = Sensitive(unchanged_terms(version.settings[versions.TERMS]), normal_form)
        moderated = {}
        if version.settings[versions.MODERATED]:
            with api_connection(autocommit=True) as api:
                moderated = all_decided(api, _kinds(version.settings))
        rows = writing.write_parts(
            catalog,
            holder,
            root,
            version.number,
            sensitive=sensitive,
            moderated=moderated,
            should_stop=sigterm_flag(),
            progress=meter,
        )
    log.info("session %s has written %s rows", session, f"{rows:,}")
    return rows


def _kinds(settings: Mapping[str, Any]) -> Sequence[Decision]:
    """Return the kinds of decisions of moderators by which records are left out of a version."""
    return ("deleted",) if settings["include_sensitive"] else KINDS


@task
def compare_versions(dag_run: DagRun = GIVEN) -> dict[str, Any] | None:
    """Write the change set against the version before; return its numbers, or None without one before."""
    from catalog.publishing import release, run_version

    root = dataset_storage()
    with catalog_connection(autocommit=True) as catalog:
        found = release.compare_with_newest(catalog, root, run_version.working(catalog, root, dag_run.run_id))
    return msgspec.to_builtins(found) if found else None


def _require_current(version: "Version", now: datetime, judge: Judge = refuse_all) -> None:
    """Refuse a version whose parts were written by another list of terms, or long before decisions.

    Args:
        version: The version.
        now: The time by the clock of the catalog database, which has dated the version.
        judge: Says whether it is accepted that many decisions are gone since it was begun.
    """
    from catalog.publishing import versions

    if not version.settings["include_sensitive"]:
        unchanged_terms(version.settings[versions.TERMS])
    if not version.settings.get(versions.MODERATED):
        return
    _refuse_lost_decisions(version.settings, _kinds(version.settings), judge, newest=False)
    if now - version.begun_on <= RECENT:
        return
    if _decided_since(version):
        raise AirflowFailException(
            f"moderators have decided about records since version {version.number} was begun, more than a "
            f"day ago, so that it may have some of them; {versions.AGAIN}"
        )


def _decided_since(version: "Version") -> bool:
    """Return whether moderators have decided about records since a version was begun.

    By the times of the decisions, or by their number, as the clock of the API may be wrong.
    """
    kinds = _kinds(version.settings)
    with api_connection(autocommit=True) as api:
        if any(all_decided(api, kinds, version.begun_on).values()):
            return True
        return any(
            now[kind].number > then.number
            for media_type, before in _decisions(version.settings, kinds).items()
            for now in [remember(api, media_type)]
            for kind, then in before.items()
        )


@task
def publish_version(dag_run: DagRun = GIVEN, params: Params = GIVEN) -> dict[str, Any]:
    """Make the version the newest one, and return its numbers."""
    from catalog.publishing import release, run_version, versions

    judge, root = _judge(params), dataset_storage()
    with catalog_connection(autocommit=True) as catalog:
        version = run_version.working(catalog, root, dag_run.run_id)
        versions.require_sensitive(version, value_of(DATASET_INCLUDE_SENSITIVE))
        if version.stage != "published":
            _require_current(version, database_time(catalog), judge)
        summary = release.publish(catalog, root, version, judge=judge, successor=params["successor"])
    if summary["newest"] == summary["version"]:
        note_written(DATASET, version=summary["version"], **summary["rows"])
    return summary


@task
def delete_old_versions() -> list[int]:
    """Delete old versions and those that were never published; return their numbers."""
    from catalog.publishing import retention

    root = dataset_storage()
    with catalog_connection(autocommit=True) as catalog:
        return retention.delete_old(catalog, root, value_of(DATASET_VERSIONS))


@task
def report(summary: dict[str, Any] | None, deleted: list[int] | None) -> str:
    """Report the numbers of the version by media type."""
    from humanize import naturalsize

    if summary is None:
        raise AirflowFailException(
            "publish_version was marked as success by hand, so it is not known what was published; clear it "
            "with its downstream tasks."
        )
    if summary["newest"] != summary["version"]:
        text = f"Version {summary['version']} was published before; {summary['newest']} is the newest."
        return notify("Dataset unchanged", SENDER, text, completion=True)
    changes = summary["changes"]
    lines = []
    for media_type, rows in summary["rows"].items():
        before = summary["before"].get(media_type)
        was = f", {before:,} before" if before is not None else ""
        counts = [
            f"{numbers[media_type]:,} {kind}" for kind, numbers in changes.items() if media_type in numbers
        ]
        differs = f": {', '.join(counts)}" if counts else ""
        lines.append(f"  - {media_type}: {rows:,} records{was}{differs}")
    if summary.get("lost"):
        lines.append(
            f"  - no change set of its media type: {summary['lost']} of the version before is missing or "
            "altered"
        )
    lines += accepted_lines()
    if deleted:
        lines.append(f"  - deleted: {', '.join(f'v{number}' for number in deleted)}")
    text = (
        f"Version {summary['version']}: {sum(summary['rows'].values()):,} records "
        f"in {summary['files']:,} files, {naturalsize(summary['bytes'])}."
    )
    return notify("Dataset published", SENDER, text, lines=lines, completion=True)


with catalog_dag(
    "publish_dataset",
    "database",
    schedule="@monthly",
    doc=(__doc__ or "").strip(),
    params={
        "accept_shrinkage": Param(
            False,
            type="boolean",
            title="Accept far fewer records",
            description_md="Publish even if far fewer records than in the version before are left, or "
            "contain a sensitive term, if files of that version are lost, so that this is not known, if "
            "many decisions of moderators are gone, or if `latest.json`, which "
            "names it, was deleted. Each of these only if an earlier run has reported it, and no less than "
            "was left then.",
        ),
        "accept_only": Param(
            None,
            type=["null", "string"],
            enum=[None, *MEDIA_TYPES],
            title="Accept them only of",
            description_md="The media type to which *Accept far fewer records* applies. Empty: all.",
        ),
        "successor": Param(
            False,
            type="boolean",
            title="Take over the folder",
            description_md="Publish although another catalog database has published the newest version: this "
            "catalog replaces it, for example after a restore.",
        ),
    },
    example={},
    media_types=MEDIA_TYPES,
    max_active_tasks=32,
    dagrun_timeout=MAX_DURATION + timedelta(days=4),
):
    # It counts the records of each provider.
    sessions: Any = begin_version.override(execution_timeout=timedelta(hours=12))()
    written = write_parts.override(execution_timeout=MAX_DURATION, retries=4).expand(session=sessions)
    compared = compare_versions.override(execution_timeout=timedelta(days=1))()
    published: Any = publish_version.override(
        inlets=[*CATALOG.values(), *POPULARITY.values()], outlets=[DATASET]
    )()
    deleted: Any = delete_old_versions()
    chain(written, compared, published, deleted)
    report(published, deleted)
