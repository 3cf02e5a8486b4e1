"""Cleans rows that another program wrote, above all those of an adopted catalog.

Each rule is a task, and they follow each other. A rule changes values to what ingestion writes for the same
values, with the same code; `catalog db adopt --check` reports what the rules would find before an adoption.

{rules}

With `dry_run`, the default, each task counts the rows that its rule would change, and shows a few of them
before and after; nothing is changed. A row is counted for each rule that finds something in what is stored,
whereas in a run a rule finds what those before it have left; the total of a dry run counts each row once.
Otherwise the rows are selected and changed in
batches, as by `batched_update`, beside ingestion. Only rows that differ are written. Keys (`identifier`,
`provider`, `foreign_identifier`) never change.

A value that cannot be cleaned without losing something is counted under its reason and stays: a license that
does not exist or contradicts its URL, a URL that another record has, a tag with other keys, a title that may
have been encoded twice. The report has the counts, the logs of the tasks name a few records for each reason.

After a failure, a kill or a deployment, clear the failed tasks: a rule resumes where it stopped, and the
report, which fails with them, has the numbers of all rules then. A second run changes nothing, unless the
first one has changed the URL that a record was to get.
"""

import json
import logging
from collections.abc import Iterable
from datetime import timedelta
from itertools import product
from typing import Any

import msgspec
from airflow.sdk import Param, chain, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.cleaning.rules import RULES, rules_before
from catalog.cleaning.survey import Example, Survey, survey
from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.dags.common.assets import CATALOG, note_written
from catalog.dags.common.connections import catalog_connection
from catalog.dags.common.context import GIVEN, Params
from catalog.dags.common.params import batch_size_param, dry_run_param
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.batched import run_cleaning
from catalog.dags.operators.slack import notify_end

log = logging.getLogger(__name__)
SENDER = "Catalog Cleaning"
MAX_DURATION = timedelta(days=30)


def _form() -> dict[str, Param]:
    return {
        "rules": Param(
            list(RULES),
            type="array",
            items={"type": "string", "enum": list(RULES)},
            examples=list(RULES),
            minItems=1,
            uniqueItems=True,
            title="Rules",
            description_md="The rules to apply; their order does not matter.",
        ),
        "tables": Param(
            list(MEDIA_TYPES),
            type="array",
            items={"type": "string", "enum": list(MEDIA_TYPES)},
            examples=list(MEDIA_TYPES),
            minItems=1,
            uniqueItems=True,
            title="Tables",
            description_md="The media tables to clean.",
        ),
        "batch_size": batch_size_param(),
        "dry_run": dry_run_param("Only count the rows that would change, and show a few."),
    }


def _clean(rule: str, media: MediaType, params: Params = GIVEN) -> dict[str, Any]:
    """Clean a table by a rule; return the numbers of rows changed and left. A dry run only counts them."""
    result: Survey | None
    if rule not in params["rules"] or media not in params["tables"]:
        raise AirflowSkipException(f"this run does not clean {media} by the rule {rule}.")
    if params["dry_run"]:
        with catalog_connection(autocommit=True) as connection:
            first = rules_before(rule, params["rules"])
            result = survey(connection, [RULES[rule]], media, first=first)[rule]
        log.info(
            "DRY RUN, nothing is changed.\n%s: %s\nrows: %s", media, RULES[rule].about, f"{result.rows:,}"
        )
        _show(result.examples)
        changed = result.rows
    else:
        progress, result = run_cleaning(RULES[rule], media, batch_size=params["batch_size"])
        changed = progress.updated
        log.info("%s: %s\nrows changed: %s", media, RULES[rule].about, f"{changed:,}")
        if changed:
            note_written(CATALOG[media], rule=rule, updated=changed)
    counts = {"rule": rule, "media": media, "changed": changed, "again": result.again if result else 0}
    if result is None:
        return {**counts, "left": None}
    for reason, number in result.left.items():
        log.info("%s rows stay: %s", f"{number:,}", reason)
        _show(result.left_examples[reason])
    return {**counts, "left": result.left}


def _show(examples: Iterable[Example]) -> None:
    for example in examples:
        values = msgspec.to_builtins(example)
        log.info("%s: %s", values.pop("identifier"), json.dumps(values, ensure_ascii=False, default=str))


@task(trigger_rule="all_done")
def report(results: Any, params: Params = GIVEN) -> str:
    """Report the numbers of each rule, and what stays as it is."""
    cleanings = [counts for of_rule in results for counts in of_rule or () if counts]
    changed = sum(counts["changed"] - counts.get("again", 0) for counts in cleanings)
    lines = []
    for counts in cleanings:
        if counts["left"] is None:
            left = "; the report of an earlier attempt says what stays"
        else:
            left = "".join(f"; {number:,} stay: {reason}" for reason, number in counts["left"].items())
        lines.append(f"  - {counts['media']}, {counts['rule']}: {counts['changed']:,}{left}")
    reported = {(counts["media"], counts["rule"]) for counts in cleanings}
    lines += [
        f"  - {media}, {rule}: no numbers, because its task failed or was marked as success by hand"
        for media, rule in product(params["tables"], params["rules"])
        if (media, rule) not in reported
    ]
    text = (
        f"{changed:,} rows would change, each counted once; the number of a rule has all rows in which it "
        "finds something now."
        if params["dry_run"]
        else f"{changed:,} rows changed, a row being counted for each rule."
    )
    subject = "Catalog cleaning, dry run" if params["dry_run"] else "Catalog cleaned"
    return notify_end(subject, SENDER, text, lines=lines, completion=not params["dry_run"])


with catalog_dag(
    "clean_catalog",
    "data_normalization",
    schedule=None,
    doc=(__doc__ or "")
    .format(rules="\n".join(f"- `{rule.name}`: {rule.about}" for rule in RULES.values()))
    .strip(),
    params=_form(),
    example={"rules": ["texts", "tags"], "dry_run": False},
    media_types=MEDIA_TYPES,
    dagrun_timeout=MAX_DURATION + timedelta(days=2),
):
    cleaned: list[Any] = [
        task(
            task_id=f"clean_{name}",
            execution_timeout=MAX_DURATION,
            trigger_rule="none_failed",
            map_index_template="{{ task.op_kwargs.media }}",
            outlets=[*CATALOG.values()],
        )(_clean)
        .partial(rule=name)
        .expand(media=list(MEDIA_TYPES))
        for name in RULES
    ]
    chain(*cleaned)
    report(cleaned)
