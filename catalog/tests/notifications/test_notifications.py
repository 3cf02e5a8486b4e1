"""Messages for Slack, and the conditions under which they are sent."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from catalog.core.setting_values import Silencing
from catalog.ingestion.shortfalls import flags
from catalog.maintenance.silenced import Closed
from catalog.notifications.alerts import (
    flickr_suggestions,
    malformed_setting,
    pending_media,
    reingestion_errors,
    run_problem,
    stale_entries,
    task_failure,
)
from catalog.notifications.blocks import blocks
from catalog.notifications.delivery import reason_not_to_send, silencing_issue
from catalog.notifications.load_report import load_completion
from catalog.notifications.message import Message, Origin, duration
from catalog.providers.flickr.audit import Suggestion
from catalog.tests.values import present

MESSAGE = Message(
    "Something about Flickr broke", "Airflow Alert", "flickr_workflow", "pull_image_data", alert=True
)
SEND = {"connection_exists": True, "environment": "production", "override": False, "silenced": {}}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "_No data_"),
        (0, "less than 1 sec"),
        (0.4, "less than 1 sec"),
        (1, "1 sec"),
        (3780, "1 hour, 3 mins"),
        (86_400 * 8 + 2, "1 week, 1 day, 2 secs"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"environment": "local"}, "ENVIRONMENT is local"),
        ({"environment": "Production"}, None),
        ({"environment": "local", "override": True}, None),
        ({"connection_exists": False}, "no connection slack_alerts"),
        ({"silenced": {"flickr_workflow": [Silencing("I1", "FLICKR broke")]}}, "I1"),
        ({"silenced": {"flickr_workflow": [Silencing("I1", "airflow alert")]}}, "I1"),
        ({"silenced": {"flickr_workflow": [Silencing("I1", "other")]}}, None),
        ({"silenced": {"other_workflow": [Silencing("I1", "")]}}, None),
        ({"silenced": {"flickr_workflow": [Silencing("I1", "broke", "^load")]}}, None),
        ({"silenced": {"flickr_workflow": [Silencing("I1", "broke", "pull")]}}, "I1"),
    ],
)
def test_what_is_sent(changed, reason):
    found = reason_not_to_send(MESSAGE, **{**SEND, **changed})
    assert found is None if reason is None else reason in present(found)


def report(**changed):
    base = {
        "media_type": "image",
        "day_shift": 0,
        "fetched": 100,
        "inserted": 60,
        "updated": 15,
        "unchanged": 20,
        "skipped": 3,
        "rejected": 2,
        "skipped_reasons": {"no license": 3},
        "rejected_reasons": {"missing <url>": 2},
        "pull_seconds": 3780.0,
        "complete": True,
        "replayed": False,
        "whole": True,
        "shortfalls": [],
        "accepted": False,
        "window_start": None,
        "window_end": None,
    }
    return {**base, **changed}


def completion(**changed):
    return load_completion("example_workflow", "t", [report(**changed)], window=None).text


def test_a_load_that_is_not_whole_says_so_and_how_to_accept_it():
    text = completion(whole=False, shortfalls=["4 items came, 10 <before>"])
    assert "*Not whole*, and not counted as fresh:\n  - 4 items came, 10 &lt;before&gt;" in text
    assert '{"accept_shortfall": true}' in text
    assert "*Partial*" not in text
    accepted = completion(shortfalls=["4 items came"], accepted=True)
    assert "*Not whole, but accepted*:" in accepted
    assert "accept_shortfall" not in accepted


def test_a_day_that_is_not_whole_is_accepted_as_that_day():
    """A conf without it would pull another day, and accept that unseen."""
    day = {"window_start": DAY[0], "window_end": DAY[1], "shortfalls": ["4 items came"]}
    conf = '{"date": "2024-02-10", "accept_shortfall": true}'
    assert f"trigger the DAG with the conf {conf}: the pull" in completion(**day)
    assert "*Not whole, but accepted* for 2024-02-10:" in completion(**day, accepted=True)
    earlier = {"window_start": DAY[0] - timedelta(days=9), "day_shift": 9}
    text = load_completion(
        "w_reingestion_workflow",
        "t",
        [report(**day), report(**{**day, **earlier}), report(window_start=DAY[1], day_shift=-1)],
        window=None,
        reingestion=True,
        accepted_by="w_workflow",
    ).text
    assert f"trigger w_workflow with the conf {conf}, and once for each of 2024-02-01: the pull" in text
    replayed = load_completion("w", "t", [report(shortfalls=["x"])], window=None, replay="/a").text
    assert 'the conf {"replay": "/a", "accept_shortfall": true}: the pull' in replayed


def test_a_limited_load_says_so():
    assert "*Limited*" in completion(whole=False)
    assert "*Limited*" not in completion()


def test_records_whose_url_belongs_to_another_are_explained():
    text = completion(rejected=2, rejected_reasons={"URL belongs to another record": 2})
    assert "is the same record under its earlier identifier" in text


def test_load_completion():
    window = (datetime(2024, 2, 10, tzinfo=UTC), datetime(2024, 2, 11, tzinfo=UTC))
    audio = report(media_type="audio", inserted=0, updated=0, unchanged=95)
    text = load_completion("w", "t", [report(), audio], window=window).text
    assert "*DAG*: `w`" in text
    assert "*Date range*: 2024-02-10 -> 2024-02-11" in text
    assert "1 hour, 3 mins" in text
    assert (
        "`image`: 75 _(60 inserted, 15 updated, 20 unchanged, 3 skipped, 2 rejected of 100 fetched)_" in text
    )
    assert "`audio`: _No data_" in text
    assert "3 no license" in text
    assert "2 missing &lt;url&gt;" in text
    assert "Partial" not in text


def test_the_date_range_is_in_utc():
    """For a server in Auckland, a UTC day begins at one o'clock in the afternoon."""
    east = timezone(timedelta(hours=13))
    window = (datetime(2024, 2, 10, 13, tzinfo=east), datetime(2024, 2, 11, 13, tzinfo=east))
    assert (
        "*Date range*: 2024-02-10 -> 2024-02-11" in load_completion("w", "t", [report()], window=window).text
    )
    window = (datetime(2024, 2, 9, 16, tzinfo=timezone(timedelta(hours=-8))), window[1])
    assert (
        "*Date range*: 2024-02-10 -> 2024-02-11" in load_completion("w", "t", [report()], window=window).text
    )
    text = task_failure("d", "t", when=window[0], log_url=None, exception=None).text
    assert "*Logical Date*: 2024-02-10T00:00:00Z" in text


def test_a_partial_replayed_reingestion_says_so():
    text = load_completion(
        "w",
        "t",
        [report(), report(day_shift=7, complete=False, replayed=True)],
        window=None,
        reingestion=True,
    ).text
    assert "2 hours, 6 mins" in text
    assert "150" in text
    alone = "Clear the failed pull, alone when the run has ended, to continue it"
    for word in ("*Partial*", "(REPLAY)", "multiple time periods", "sum over all pull tasks", alone):
        assert word in text


def test_failures_cannot_call_people():
    message = task_failure(
        "d",
        "t",
        when=datetime(2024, 2, 10, tzinfo=UTC),
        log_url="http://x",
        exception=ValueError("<!channel> & <@U1>"),
    )
    assert "&lt;!channel&gt; &amp; &lt;@U1&gt;" in message.text
    assert "`builtins.ValueError`" in message.text
    assert "2024-02-10T00:00:00Z" in message.text
    assert message.alert


def test_failed_days_in_one_alert():
    message = reingestion_errors("d", "t", [("2024-02-10", "http://log"), ("2024-02-03", None)])
    assert "*2 ingestion days failed*" in message.text
    assert "<http://log|2024-02-10>" in message.text


DAY = (datetime(2024, 2, 10, tzinfo=UTC), datetime(2024, 2, 11, tzinfo=UTC))
COUNTS = "60 inserted, 15 updated, 20 unchanged, 3 skipped, 2 rejected of 100 fetched"
PARTIAL = (
    "*Partial*: a pull did not reach its end; what it had read is loaded. "
    "Clear the failed pull, with its downstream tasks, to continue it."
)
ACCEPTING = (
    'If this is right, trigger the DAG with the conf {"accept_shortfall": true}: '
    "the pull then counts as whole."
)
ENTRY = Closed(
    dag_id="f",
    issue="https://github.com/o/n/issues/2",
    predicate="Time|Out",
    pattern="p.*",
    note="gone",
    known=True,
)
# Lines of the messages of earlier releases, which entries of SILENCED_SLACK_NOTIFICATIONS may match.
SILENCED = [
    (
        lambda: load_completion("w", "t", [report(replayed=True, complete=False)], window=DAY),
        [
            "*DAG*: `w` (REPLAY)",
            "*Date range*: 2024-02-10 -> 2024-02-11",
            "*Duration of data pull tasks*: 1 hour, 3 mins",
            PARTIAL,
            "*Number of records upserted per media type*:",
            f"  - `image`: 75 _({COUNTS})_",
            "      2 missing &lt;url&gt;",
            "      3 no license",
        ],
    ),
    (
        lambda: load_completion(
            "w", "t", [report(whole=False, shortfalls=["4 <items>"])], window=None, reingestion=True
        ),
        [
            "*Date range*: _multiple time periods_",
            "_The duration is the sum over all pull tasks; it does not include loading._",
            "*Not whole*, and not counted as fresh:",
            "  - 4 &lt;items&gt;",
            ACCEPTING,
        ],
    ),
    (
        lambda: load_completion("w", "t", [report(whole=False)], window=None),
        ["*Limited*: this run asked for a part only, and does not count as fresh."],
    ),
    (
        lambda: task_failure(
            "d",
            "t",
            when=DAY[0],
            log_url="http://x/dags/d/runs/r/tasks/t?try_number=2",
            exception=ValueError("<!channel> & so"),
            run_id="r",
            attempt=2,
        ),
        [
            "*DAG*: `d`",
            "*Task*: `t`, attempt 2",
            "*Run*: `r`",
            "*Logical Date*: 2024-02-10T00:00:00Z",
            "*Log*: <http://x/dags/d/runs/r/tasks/t?try_number=2|View Logs>",
            "*Exception Type*: `builtins.ValueError`",
            "*Exception*: &lt;!channel&gt; &amp; so",
        ],
    ),
    (
        lambda: run_problem("d", Origin("r"), "Run failed", "The run failed: timed_out."),
        ["*DAG*: `d`", "*Run*: `r`", "The run failed: timed_out."],
    ),
    (
        lambda: malformed_setting("d", "t", "ENVIRONMENT is malformed: x."),
        ["*Malformed setting*: ENVIRONMENT is malformed: x.", "Found by `d`, task `t`."],
    ),
    (
        lambda: reingestion_errors("d", "t", [("2024-02-10", "http://log"), ("2024-02-03", None)]),
        [
            "*2 ingestion days failed* in `d`; the other days were loaded.",
            "  - <http://log|2024-02-10>",
            "  - 2024-02-03",
        ],
    ),
    (
        lambda: flickr_suggestions("d", "t", [Suggestion(name="A <b>", nsid="1@N00", photos=700)]),
        [
            "*Consider adding these institutions as sub-providers of Flickr:*",
            "  - A &lt;b&gt;: 1@N00 _(700 CC-licensed images)_",
        ],
    ),
    (
        lambda: pending_media("d", "t", {"image": {"other": 3}}, "http://x"),
        [
            "The following media have been reported and wait for review:",
            "  - *<http://x/api/imagereport/?status__exact=pending_review|image: 3>* _(3 other)_",
        ],
    ),
    (
        lambda: stale_entries("d", "t", "V", [ENTRY]),
        [
            "These entries of `V` refer to no open issue; remove them, or give them an open issue:",
            "  - <https://github.com/o/n/issues/2|f (p.*): 'Time Out'> (gone)",
        ],
    ),
]


@pytest.mark.parametrize(("build", "lines"), SILENCED)
def test_entries_silence_what_they_silenced_before(build, lines):
    message = build()
    for line in lines:
        entry = Silencing("I1", line)
        assert silencing_issue(message, {message.dag_id: [entry]}) == "I1", line


@pytest.mark.parametrize(("build", "lines"), SILENCED)
def test_slack_shows_what_the_log_says(build, lines):
    """Each part of the text is in the blocks, where names of fields are on lines of their own."""
    message = build()
    shown = "\n".join(
        part["text"].replace("*\n", "*: ", 1)
        for block in blocks(message)
        for part in (block.get("fields") or block.get("elements") or [block["text"]])
    )
    title, *others = message.text.removesuffix("\n").split("\n")
    assert message.title in shown
    assert title.removeprefix(f"*{message.title}*").removeprefix(": ") in shown
    for line in others:
        assert line in shown


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({}, ""),
        ({"complete": False}, "PARTIAL"),
        ({"whole": False}, "LIMITED"),
        ({"replayed": True}, "REPLAY"),
        ({"whole": False, "replayed": True}, "LIMITED, REPLAY"),
        ({"whole": False, "shortfalls": ["x"]}, "NOT WHOLE"),
        ({"complete": False, "shortfalls": ["x"]}, "NOT WHOLE"),
        ({"shortfalls": ["x"], "accepted": True}, "ACCEPTED SHORTFALL"),
    ],
)
def test_flags(report, words):
    usual = {"complete": True, "whole": True, "replayed": False, "shortfalls": [], "accepted": False}
    assert flags({**usual, **report}) == words
