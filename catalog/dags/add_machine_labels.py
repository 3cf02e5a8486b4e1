"""Merges the labels of an image service into the tags of images.

The file has one JSON object per line:

    {"image_uuid": "…", "response": {"Labels": [{"Name": "Dog", "Confidence": 97.3}]}}

A label becomes the tag `{"name": "Dog", "accuracy": 0.973, "provider": "rekognition"}`. Some names are
corrected (`Dj` becomes `DJ`). Of labels with the same name, the most accurate one counts; of several lines of
an image, the last one.

1. `check_file` refuses a file that is missing, empty or compressed, or of whose first lines none can be used,
   a provider of media, whose own tags would be replaced, and a service of which no labels were merged before:
   its name may be mistyped. `new_service` accepts it.
2. `stage_labels` copies the labels into a table of the run. A line with a label that is not understood cannot
   be used, and neither can one without a confidence above 1: confidences are from 0 to 100. Such lines are
   counted by reason, and the log shows a few. The task fails, in a dry run too, if the file ends within its
   last line, if none of its images is in the catalog, or if more than a fifth of its lines cannot be used, of
   its images are not in the catalog (which may be audio files), or of the labels that these images have would
   go. Of more than 100,000 images, only those with the lowest identifiers are looked up for this.
   `accept_shortfall` accepts all that. It also fails if a newer file of the provider was merged, by the time
   of the last change that the storage has of each file, and images would get other labels than they have;
   `accept_older` accepts it. The file that was merged last may be merged again. Only what a run has reported
   of the same file is accepted.
3. `merge_labels` updates the images whose labels differ, in batches, beside ingestion. The labels replace
   those of the same provider; tags of others stay as they are, in their order. An image that the file does
   not name, or whose line cannot be used, keeps its labels. Tags that are not an array stay, and are counted.
4. `report` sends the counts, and drops the table.

With `dry_run`, the default, `merge_labels` only counts the images that would change, and shows a few of them
before and after. A second run of the same file changes nothing. After a failure, a kill or a deployment,
clear the failed task: it resumes where it stopped, unless the file has changed meanwhile, which is refused.
Clearing a finished run changes nothing. The next data refresh brings the labels to the API; the tag
policy decides which of them are searched, above all by their accuracy (see docs/tag_filtering.md).
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import msgspec
from airflow.sdk import Param, task
from upath import UPath

from catalog.core.errors import Refused
from catalog.core.session import Connection
from catalog.dags.common.acceptance import RunJudge, acceptance, accepted_lines, accepting_conf
from catalog.dags.common.assets import CATALOG, note_written
from catalog.dags.common.conf import END
from catalog.dags.common.connections import catalog_connection, connect_to_catalog
from catalog.dags.common.context import GIVEN, Params
from catalog.dags.common.params import batch_size_param, dry_run_param
from catalog.dags.common.progress import Meter, sigterm_flag
from catalog.dags.common.state import FirstTime
from catalog.dags.common.storage import stored_at
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.batched import run_merge, run_name
from catalog.dags.operators.slack import notify
from catalog.labels.file import FileVersion, version_of
from catalog.labels.file import check_file as check
from catalog.labels.merge import preview
from catalog.labels.request import USUAL, check_least, check_provider
from catalog.labels.run import ENDED, LabelRun
from catalog.labels.staging import stage
from catalog.notifications.message import escaped

log = logging.getLogger(__name__)
SENDER = "Machine Labels"
MAX_DURATION = timedelta(days=30)
ACCEPT_OLDER = "accept_older"


def _form() -> dict[str, Param]:
    return {
        "file": Param(
            type="string",
            pattern=r"^(s3|file)://(?![^/]*:[^/]*@)[^\s]*[^\s/]" + END,  # no password
            title="File",
            description_md="URL of one file of JSON lines, not compressed: "
            "`s3://aws_default@bucket/labels.jsonl`, or `file:///…` if all tasks run on one machine.",
        ),
        "provider": Param(
            USUAL,
            type="string",
            pattern=r"^[a-z][a-z0-9_]{0,39}" + END,
            title="Provider of the labels",
            description_md="The service that made the labels: lower-case letters, digits, underscores. Its "
            "labels on these images are replaced. Not a provider of media.",
        ),
        "new_service": Param(
            False,
            type="boolean",
            title="New service",
            description_md="Accept a provider of which no labels were merged before.",
        ),
        "least_confidence": Param(
            0,
            type="number",
            minimum=0,
            maximum=100,
            title="Least confidence",
            description_md="Leave out labels below this: 0 to 100, such as 80. The tag policy of the search "
            "index applies all the same, so 0 is usually right.",
        ),
        "accept_shortfall": Param(
            False,
            type="boolean",
            title="Accept a shortfall",
            description_md="Merge what can be used, even if many lines cannot or the last one is cut, many "
            "images are not in the catalog, or many labels would go. For a file that is right all the same. "
            "Less than a run has reported of it is not accepted.",
        ),
        "accept_older": Param(
            False,
            type="boolean",
            title="Accept older labels",
            description_md="Merge a file that is older than the one from which labels of its images come, to "
            "go back to it on purpose. Only for a file of which a run has reported that.",
        ),
        "batch_size": batch_size_param(),
        "dry_run": dry_run_param("Only count the images that would change, and show a few."),
    }


@contextmanager
def _labels(
    params: Params, connected: Callable[..., AbstractContextManager[Connection]]
) -> Iterator[LabelRun]:
    with connected(autocommit=True) as connection:
        yield LabelRun(
            connection, run_name(), params["file"], params["provider"], float(params["least_confidence"])
        )


def _path(params: Params) -> UPath:
    return stored_at(params["file"], "file")


def _version(params: Params) -> FileVersion | None:
    """Return what the file is now; None if it is not there any more, as after a run has ended."""
    try:
        return version_of(_path(params))
    except Refused:
        return None


@task
def check_file(params: Params = GIVEN) -> int:
    """Refuse a file that cannot be one of labels; return its size in bytes."""
    first_time = FirstTime()
    with _labels(params, catalog_connection) as labels:
        with first_time as first:
            if first:
                labels.rename_earlier_run()
        if (state := labels.state()) and state.result:
            labels.check_request(_version(params))
            log.info(ENDED)
            return state.size
        check_provider(
            labels.connection,
            labels.provider,
            accept_new=params["new_service"],
            accept=accepting_conf("new_service"),
        )
        check_least(labels.least_confidence)
    return check(_path(params)).size


@task(execution_timeout=timedelta(days=7))
def stage_labels(params: Params = GIVEN) -> int:
    """Copy the labels into the table of the run, and return the number of images."""
    shortfall, older = (
        RunJudge(asked=acceptance("accept_shortfall")),
        RunJudge(asked=acceptance(ACCEPT_OLDER)),
    )
    with _labels(params, connect_to_catalog) as labels:
        labels.check_request(_version(params))
        state = stage(
            labels,
            _path(params),
            shortfall=shortfall,
            older=older,
            progress=Meter("bytes"),
            should_stop=sigterm_flag(),
        )
    for reason, number in state.unmerged.numbers.items():
        log.info("%s: %s", reason, f"{number:,}")
        for example in state.unmerged.examples.get(reason, ()):
            log.info("  %s", example)
    return state.staged


@task(execution_timeout=MAX_DURATION, outlets=[CATALOG["image"]])
def merge_labels(params: Params = GIVEN) -> dict[str, int]:
    """Merge the labels, and return the counts over all attempts. A dry run only counts."""
    older = RunJudge(asked=acceptance(ACCEPT_OLDER))
    with _labels(params, connect_to_catalog) as labels:
        labels.check_request()
        if params["dry_run"]:
            outcome = _dry_run(labels)
        else:
            outcome = run_merge(labels, older=older, batch_size=params["batch_size"])
            if outcome.changed:
                note_written(CATALOG["image"], provider=params["provider"], updated=outcome.changed)
    found: dict[str, int] = msgspec.to_builtins(outcome)
    log.info("%s", found)
    return found


def _dry_run(labels: LabelRun) -> Any:
    if (state := labels.state()) and state.result:
        log.info(ENDED)
        return state.result
    outcome, found = preview(labels, sigterm_flag())
    log.info("DRY RUN, nothing is changed.\nimages: %s", f"{outcome.changed:,}")
    for row in found.sample:
        change = {side: row[side]["tags"] for side in ("before", "after") if row[side]}
        log.info("%s: %s", row["identifier"], json.dumps(change, ensure_ascii=False))
    labels.end(outcome)
    return outcome


@task
def report(params: Params = GIVEN) -> str:
    """Report what was merged and what was left out, and drop the table of the run."""
    with _labels(params, catalog_connection) as labels:
        state = labels.ended()
        labels.drop()
    outcome, dry = state.result, params["dry_run"]
    assert outcome
    verb = "would change" if dry else "changed"
    text = (
        f"{outcome.changed:,} images {verb}; the file has labels of `{escaped(params['provider'])}` for "
        f"{state.staged:,} images, of which the catalog lacks {outcome.unknown:,}."
    )
    if dry:
        text += f" The images have {outcome.before:,} labels of it now, and would have {outcome.after:,}."
    lines = [f"  - {escaped(reason)}: {number:,}" for reason, number in state.unmerged.numbers.items()]
    if outcome.left:
        lines.append(f"  - {outcome.left:,} images stay as they are: their tags are not an array")
    if outcome.gone:
        lines.append(f"  - {outcome.gone:,} images were deleted meanwhile")
    lines += accepted_lines()
    subject = "Machine labels, dry run" if dry else "Machine labels merged"
    return notify(subject, SENDER, text, lines=lines, completion=not dry)


with catalog_dag(
    "add_machine_labels",
    "data_normalization",
    schedule=None,
    doc=(__doc__ or "").strip(),
    params=_form(),
    example={"file": "s3://aws_default@bucket/labels.jsonl", "dry_run": False},
    media_types=("image",),
    dagrun_timeout=MAX_DURATION + timedelta(days=9),
):
    check_file() >> stage_labels() >> merge_labels() >> report()
