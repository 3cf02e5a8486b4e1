"""Checks whether the files of stored records are still there, and removes those that are gone for good.

Each week a sample of each provider is checked, and the share of files that are gone, of those that are not
removed yet, is estimated with a Wilson interval of 95 %; the dashboard shows it. The size of a sample follows
from the wanted `margin`. It is drawn by the hash of the identifiers, so that no table is read as a whole.

Requests are polite: HEAD, then a GET for the first byte if HEAD does not say that the file is there, or the
host is not known yet to answer both alike; only the GET for a file that was gone. For each host one at a
time, at most `LINK_CHECK_RATE` a second for all tasks together, and as its robots.txt allows. A host that
does not answer, or asks to wait, is tried again after growing pauses. What it asks for, up to a day, holds
for all tasks; a task that would only wait is rescheduled. Redirects are followed to judge, and noted; the
catalog keeps its URL. Only addresses on the public internet are requested.

An outcome is *gone* (404 or 410), *there*, or *unclear*: a timeout, a server error, a refusal, robots.txt, a
web page in place of a file, a redirect that several records share, one size for several files that had
others. A file is not gone while too few other files of its provider, and of the host that answers, are there
(`failing`), nor if the host says so to everything for a while: the order is random, and some files that were
there are asked for again at the end. So where all files of a host are gone, also of one that is reached by
redirects only, they stay unclear: nobody can tell whether the host only fails. The table `link_check` has
each check, with the database's time.

A record whose file was gone in three checks over at least four weeks, five days apart or more, gets
`removed_from_source`, so that the next data refresh leaves it out, and a row in the table `link_removal`.
Records that were gone are checked again each week. Loads keep the mark although the source sends the record,
unless it sends another URL. A record comes back when its file answers in two checks, five days apart or more,
or gets another URL in the catalog.

If more than `LINK_CHECK_MOST_REMOVED` percent of a provider's records would be removed within a year, and at
least 10, none is, and the provider's task `judge` fails (of slices, the `report`, once). Whatever is gone
for long enough counts, whichever run has found it, and what was removed before. So does what the sample
tells: of a large provider, each run removes only few. The estimate is made, and records come back all the
same. A run with the `provider` and `accept_removals` removes those that it finds to be gone; what was
removed until then, and the share of files that was gone by its sample, count no more. More than an earlier
run has reported is not accepted. If it cannot tell whether these files are gone, it fails.

With `slices`, every record of one `provider` is checked: the records are divided into this number of slices,
and the run checks those from `first_slice` to `last_slice`.

After a failure, a kill or a deployment, clear the failed task: it checks what is left.
"""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from airflow.sdk import Param, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog.core.connections import SharedConnection
from catalog.core.media import MEDIA_TYPES
from catalog.core.session import Connection
from catalog.core.settings import (
    CONTACT_EMAIL,
    LINK_CHECK_MOST_REMOVED,
    LINK_CHECK_PRIVATE_HOSTS,
    LINK_CHECK_RATE,
)
from catalog.dags.common.assets import CATALOG, note_written
from catalog.dags.common.connections import catalog_connection, connect_to_catalog
from catalog.dags.common.context import GIVEN, DagRun, Params
from catalog.dags.common.progress import Meter, sigterm_flag, stoppable
from catalog.dags.common.retries import rescheduled
from catalog.dags.common.state import FirstTime
from catalog.dags.common.variables import value_of
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.slack import notify_end
from catalog.ingestion.user_agent import user_agent
from catalog.links.checker import Checker
from catalog.links.clock import database_clock
from catalog.links.conclude import conclude
from catalog.links.estimate import sample_size
from catalog.links.losses import check_accepted, refuse_losses, refuse_silence, refuse_slices
from catalog.links.pauses import Pauses, PauseTable
from catalog.links.plan import (
    AGAIN,
    MAX_SLICES,
    MOST_AGAIN,
    Survey,
    plan,
    providers,
    rename_earlier_run,
    slices,
)
from catalog.links.removal import follow_renamed
from catalog.links.report import lines, sentence
from catalog.links.retention import forget
from catalog.links.slots import SharedSlots
from catalog.links.survey import check_links
from catalog.links.web import Web

log = logging.getLogger(__name__)
SENDER = "Link Check"
MAX_DURATION = timedelta(days=14)
WORKERS = 16  # hosts that a task visits at the same time


def _form() -> dict[str, Param]:
    sizes = ", ".join(f"{margin:g}: {sample_size(margin / 100):,}" for margin in (1, 3, 5))
    return {
        "provider": Param(
            None,
            type=["null", "string"],
            minLength=1,
            maxLength=80,
            title="Provider",
            description_md="Name of a provider in the catalog, such as `wikimedia_audio`. Empty: all.",
        ),
        "margin": Param(
            3.0,
            type="number",
            minimum=0.5,
            maximum=20,
            title="Margin",
            description_md="Wanted error of the estimate, in percentage points to both sides. It determines "
            f"the number of records that are checked of each provider and media type ({sizes}).",
        ),
        "failing": Param(
            50,
            type="integer",
            minimum=1,
            maximum=99,
            title="Failing",
            description_md="Percentage of other records of a host or provider that may fail; if more do, "
            "none of its files counts as gone.",
        ),
        "again": Param(
            AGAIN,
            type="integer",
            minimum=0,
            maximum=MOST_AGAIN,
            title="Again",
            description_md="Records of a provider that were gone before, and as many removed ones, to check "
            "besides the sample; those that wait longest come first.",
        ),
        "slices": Param(
            0,
            type="integer",
            minimum=0,
            maximum=1_000_000,
            title="Slices",
            description_md="Check every record of the provider, which must be given, in this number of "
            "slices, of at most a million records each. 0: check samples.",
        ),
        "first_slice": Param(
            1,
            type="integer",
            minimum=1,
            maximum=1_000_000,
            title="First slice",
            description_md="The slice to begin with.",
        ),
        "last_slice": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=1_000_000,
            title="Last slice",
            description_md=f"The slice to end with; at most {MAX_SLICES:,} in a run. Empty: the last one.",
        ),
        "mark": Param(
            True,
            type="boolean",
            title="Mark",
            description_md="Remove records that are gone, and bring back those that answer. Otherwise the "
            "run only checks, estimates, and reports how many would be removed.",
        ),
        "accept_removals": Param(
            False,
            type="boolean",
            title="Accept many removals",
            description_md="Remove the records of the provider, which must be given, that are gone, even if "
            "they are far more than usual. For files that are really gone. More than an earlier run has "
            "reported is not accepted.",
        ),
    }


@task
def choose(params: Params = GIVEN, dag_run: DagRun = GIVEN) -> list[dict[str, Any]]:
    """Return what to check: each provider and media type, or their slices."""
    first_time = FirstTime()
    chosen = slices(params["slices"], params["first_slice"], params["last_slice"], params["provider"])
    check_accepted(accept=params["accept_removals"], provider=params["provider"], mark=params["mark"])
    with catalog_connection(autocommit=True) as connection:
        with first_time as first:
            if first:
                rename_earlier_run(connection, dag_run.run_id)
        forget(connection, database_clock(connection)())
        known = providers(connection)
        follow_renamed(connection, known)
    wanted = params["provider"]
    if wanted and wanted not in {name for _, name in known}:
        raise AirflowFailException(
            f"conf: no record in the catalog has the provider {wanted!r}; "
            "correct provider, or leave it empty."
        )
    return [
        msgspec.to_builtins(Survey(dag_run.run_id, media, name, *one))
        for media, name in known
        if wanted in (None, name)
        for one in chosen
    ]


def _checker(connect: Callable[[], Connection], pauses: Pauses) -> Checker:
    agent = user_agent(value_of(CONTACT_EMAIL))
    private_hosts: list[str] = value_of(LINK_CHECK_PRIVATE_HOSTS)
    web = Web(
        SharedSlots(connect, value_of(LINK_CHECK_RATE), pauses), user_agent=agent, private_hosts=private_hosts
    )
    return Checker(web, agent.partition("/")[0])


NAME = (
    "{{ task.op_kwargs.survey.provider }}, {{ task.op_kwargs.survey.media_type }}"
    "{{ ', slice %d' % task.op_kwargs.survey.slice if task.op_kwargs.survey.slice }}"
)


@task(execution_timeout=MAX_DURATION, map_index_template=NAME)
def check(survey: dict[str, Any], params: Params = GIVEN, dag_run: DagRun = GIVEN) -> None:
    """Plan the links of a survey, unless an earlier attempt has, and check those that are not checked."""
    one = msgspec.convert(survey, Survey)
    connect, name = SharedConnection(partial(connect_to_catalog, autocommit=True)), f"{one.run_id}, {one}"
    with rescheduled(), connect_to_catalog(autocommit=True) as connection:
        now = database_clock(connection)
        pauses = Pauses(PauseTable(connect, name), name, now)
        with stoppable(connection):
            plan(
                connection,
                one,
                now=now(),
                size=sample_size(params["margin"] / 100),
                again=params["again"],
                conf=dag_run.conf,
            )
        checker = _checker(connect, pauses)
        check_links(
            connection,
            one,
            checker.check,
            pauses,
            check_again=checker.check_again,
            now=now,
            progress=Meter("links"),
            clock=time.monotonic,
            sleep=time.sleep,
            workers=WORKERS,
            should_stop=sigterm_flag(),
        )


@task(execution_timeout=timedelta(hours=6), map_index_template=NAME, outlets=[*CATALOG.values()])
def judge(survey: dict[str, Any], params: Params = GIVEN, dag_run: DagRun = GIVEN) -> None:
    """Judge what a survey has found, and remove records or bring them back.

    Fails, after everything else, if far more records than usual would be removed; then none is. Of slices,
    the report fails, once for all of them.
    """
    one = msgspec.convert(survey, Survey)
    with catalog_connection(autocommit=True) as connection:
        now = database_clock(connection)
        concluded = conclude(
            connection,
            one,
            now=now,
            failing=params["failing"] / 100,
            mark=params["mark"],
            most_removed=value_of(LINK_CHECK_MOST_REMOVED) / 100,
            accept=params["accept_removals"],
        )
    log.info("%s: %s", one, concluded)
    if concluded.removed or concluded.back:
        note_written(
            CATALOG[one.media_type], provider=one.provider, removed=concluded.removed, back=concluded.back
        )
    for finding in concluded.left.findings:
        log.warning("%s: %s", one, finding)
    for finding in concluded.left.accepted:
        log.warning("%s: %s; the conf accepts that, as it was reported.", one, finding)
    refuse_silence(one, concluded.left, accept=params["accept_removals"])
    if params["mark"] and not one.slices:
        refuse_losses(one, concluded.left, dag_run.conf or {})


@task_group
def survey_links(survey: dict[str, Any]) -> None:
    """Check the links of a survey, and judge what is found."""
    check(survey=survey) >> judge(survey=survey)


@task(trigger_rule="all_done")
def report(params: Params = GIVEN, dag_run: DagRun = GIVEN) -> str:
    """Report the numbers of each provider. Fails if slices would lose far more records than usual."""
    with catalog_connection(autocommit=True) as connection:
        found = lines(connection, dag_run.run_id)
    if not found:
        raise AirflowSkipException("no links were checked.")
    checked = sum(line.there + line.gone + line.unclear for line in found)
    gone, unclear, removed, back, left = (
        sum(getattr(line, name) for line in found) for name in ("gone", "unclear", "removed", "back", "left")
    )
    summary = (
        f"{checked:,} links checked: {gone:,} are gone, {unclear:,} are unclear. "
        f"{removed:,} records removed, {back:,} brought back."
        + (f" {left:,} would be removed, and are not." if left else "")
    )
    text = notify_end("Links checked", SENDER, summary, lines=[*map(sentence, found)])
    if params["mark"]:
        refuse_slices(found, dag_run.conf or {})
    return text


with catalog_dag(
    "check_links",
    "maintenance",
    schedule="@weekly",
    doc=(__doc__ or "").strip(),
    params=_form(),
    example={"provider": "stocksnap", "margin": 5},
    media_types=MEDIA_TYPES,
    max_active_tasks=2,  # they wait for hosts for hours, while others need the executor
    dagrun_timeout=MAX_DURATION + timedelta(days=1),
):
    surveyed: Any = survey_links.expand(survey=choose())
    surveyed >> report()
