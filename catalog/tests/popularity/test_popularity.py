"""Popularity on a real PostgreSQL against a calculation in plain Python."""

import json
import math
import random
import re
import threading
import uuid
from contextlib import nullcontext

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from catalog.core.errors import Fatal, Interrupted, Refused
from catalog.core.queries import database_time
from catalog.database.batched_update import STRIPES, BatchedUpdate
from catalog.database.names import digest, query_id
from catalog.database.refusals import Acceptance, Found, accept_all, judge, refuse_all
from catalog.database.selection_lock import QUERY_ID
from catalog.database.statements import parse_update, verify
from catalog.loading.load import lock_provider
from catalog.popularity import popularity
from catalog.tests.loading.loader import Loader, image

INSERT = """
    insert into image (
        identifier, created_on, updated_on, provider, foreign_identifier, foreign_landing_url, url, license,
        removed_from_source, meta_data
    )
    values (gen_random_uuid(), now(), '2024-01-01', %s, %s, 'https://example.org', %s, 'by', false, %s)
"""


def store(connection, provider, values, key="views"):
    """Store one image for each value of the metric, a string; None for an image without the metric."""
    rows = [
        (provider, f"{n}", f"https://example.org/{provider}/{n}", Jsonb({} if v is None else {key: v}))
        for n, v in enumerate(values)
    ]
    connection.cursor().executemany(INSERT, rows)


def rescore(connection, provider="flickr", run_id=None):
    """Run the batched update of a provider and return its counts."""
    conf = popularity.update_conf("image", provider)
    update = parse_update(conf["table_name"], conf["update_query"], conf["select_query"])
    verify(connection, update)
    run_id = run_id or uuid.uuid4().hex
    job = BatchedUpdate(connection, conf["query_id"], run_id, update, batch_size=conf["batch_size"])
    done = job.run(job.claim(resume=conf["resume_update"]) or job.select())
    job.finish()
    return done


def refresh(connection, provider="flickr"):
    """Do what the DAG does for one provider and return the batched update's counts."""
    popularity.refresh_constant(connection, "image", provider, 60)
    done = rescore(connection, provider)
    popularity.note_refreshed(connection, "image", provider, 60)
    return done


@pytest.mark.parametrize("now", ["0", None, "-1", "hidden"])
def test_a_metric_that_most_records_have_lost_is_no_truth(catalog, now):
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", [str(n) for n in range(101)])
    refresh(catalog)
    before = popularity.metric_of(catalog, "image", "flickr")
    assert before.records == 100

    def lose(share):
        catalog.execute(
            "update image set meta_data = jsonb_strip_nulls(jsonb_build_object('views', %s::text))"
            " where foreign_identifier::int <= %s",
            [now, share],
        )

    lose(51)
    message = (
        "flickr: of 100 sampled records that had views above 0, 51 have lost it; does its API still send"
    )
    with pytest.raises(Fatal, match=re.escape(message)):
        popularity.refresh_constant(catalog, "image", "flickr", 60)
    assert popularity.metric_of(catalog, "image", "flickr") == before
    with pytest.raises(Fatal, match=r"Correct the mapping and pull again\.$"):
        popularity.refresh_constant(catalog, "image", "flickr", 60, exact=True)
    assert popularity.refresh_constant(catalog, "image", "flickr", 60, judge=accept_all).records == 49


def lose(connection, below):
    connection.execute("update image set meta_data = '{}' where foreign_identifier::int < %s", [below])


@pytest.mark.parametrize("step", [10, 25, 50])
def test_small_losses_add_up(catalog, step):
    """They are those of the records that were remembered when nothing was lost, until they are accepted."""
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["5"] * 100)
    refresh(catalog)
    for lost in range(step, 51, step):
        lose(catalog, lost)
        assert popularity.refresh_constant(catalog, "image", "flickr", 60).records == 100 - lost
    lose(catalog, 51)
    with pytest.raises(Fatal, match="of 100 sampled records that had views above 0, 51 have lost it"):
        popularity.refresh_constant(catalog, "image", "flickr", 60)
    popularity.refresh_constant(catalog, "image", "flickr", 60, judge=accept_all)
    lose(catalog, 75)
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).records == 25


def test_no_more_than_was_reported_is_accepted(catalog, dsn):
    """And of this provider, medium and metric only."""
    found: list[Found] = []

    def judge_of(run_id, *, accepts, cleared=0):
        asked = Acceptance(accepts, "image_popularity_refresh", run_id, cleared, database_time(catalog), "{}")

        def judging(given):
            found.append(given)
            return judge(catalog, given, asked)

        return judging

    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["5"] * 200)
    refresh(catalog)
    lose(catalog, 110)
    with pytest.raises(Fatal, match="of 200 sampled records that had views above 0, 110 have lost it"):
        popularity.refresh_constant(catalog, "image", "flickr", 60, judge=judge_of("a", accepts=False))
    [(kind, [one])] = found[0].items()
    assert (kind, one.subject, one.remains) == ("popularity of image, flickr", "views", 90)
    lose(catalog, 150)
    more = r"150 have lost it \(but 90 when it was reported on .*clear this task"
    with pytest.raises(Fatal, match=more):
        popularity.refresh_constant(catalog, "image", "flickr", 60, judge=judge_of("b", accepts=True))
    seen = judge_of("b", accepts=True, cleared=1)
    assert popularity.refresh_constant(catalog, "image", "flickr", 60, judge=seen).records == 50
    # A run that accepts and finds nothing changes nothing: small losses add up.
    lose(catalog, 170)
    for accepts in (True, False):
        seen = judge_of(f"c {accepts}", accepts=accepts)
        assert popularity.refresh_constant(catalog, "image", "flickr", 60, judge=seen).records == 30
    lose(catalog, 176)
    with pytest.raises(Fatal, match="of 50 sampled records that had views above 0, 26 have lost it"):
        popularity.refresh_constant(catalog, "image", "flickr", 60)


def test_records_that_get_their_metric_back_have_lost_nothing(catalog):
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["5"] * 100)
    refresh(catalog)
    for _ in range(3):
        lose(catalog, 40)
        refresh(catalog)
        catalog.execute("update image set meta_data = '{\"views\": 5}'")
        refresh(catalog)


def test_losses_add_up_beside_deletions_and_many_new_records(catalog, monkeypatch):
    """Other records are remembered when few of those before are left, and those that have lost it."""
    monkeypatch.setattr(popularity, "SAMPLE", 200)
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["5"] * 50)
    refresh(catalog)
    catalog.execute("update image set foreign_identifier = '-' || foreign_identifier, url = url || '/old'")
    store(catalog, "flickr", ["5"] * 100)
    lose(catalog, -30)
    catalog.execute("delete from image where foreign_identifier in ('-1', '-2', '-3', '-4', '-5')")
    refresh(catalog)
    lose(catalog, 35)
    message = "of 145 sampled records that had views above 0, 80 have lost it"
    with pytest.raises(Fatal, match=message):
        popularity.refresh_constant(catalog, "image", "flickr", 60)


def test_records_that_were_added_since_are_asked_too(catalog, monkeypatch):
    """At the first refresh, few records had a metric; the others lose theirs, those few do not."""
    monkeypatch.setattr(popularity, "SAMPLE", 100)
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["5"] * 100 + [None] * 900)
    refresh(catalog)
    catalog.execute("update image set meta_data = '{\"views\": 5}'")
    refresh(catalog)
    catalog.execute("update image set meta_data = '{}' where foreign_identifier::int >= 100")
    with pytest.raises(Fatal, match=r"of \d+ sampled records that had views above 0, \d+ have lost it"):
        popularity.refresh_constant(catalog, "image", "flickr", 60)


@pytest.mark.parametrize("left", [0, 4])
def test_a_loss_is_seen_when_all_remembered_records_are_deleted(catalog, monkeypatch, left):
    monkeypatch.setattr(popularity, "SAMPLE", 20)
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["5"] * 400)
    refresh(catalog)
    catalog.execute(
        "delete from image where identifier = any("
        "select unnest(sample[%s:]) from image_popularity_metrics where provider = 'flickr')",
        [left + 1],
    )
    catalog.execute("update image set meta_data = '{}'")
    with pytest.raises(Fatal, match="no record has views above 0 any more"):
        popularity.refresh_constant(catalog, "image", "flickr", 60)


def test_the_remembered_records_are_looked_up_for_a_limited_time(catalog, dsn):
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["5"] * 100)
    refresh(catalog)
    metric = popularity.metric_of(catalog, "image", "flickr")
    with psycopg.connect(dsn) as other:
        other.execute("lock table image in access exclusive mode")
        with pytest.raises(psycopg.errors.QueryCanceled):
            popularity._remembered(catalog, metric, "image", 0.2)


def test_half_of_the_records_may_lose_their_metric(catalog):
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["5"] * 100)
    refresh(catalog)
    catalog.execute("update image set meta_data = '{}' where foreign_identifier::int < 50")
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).records == 50


def test_new_records_without_a_metric_and_deleted_ones_have_lost_nothing(catalog):
    """As of a provider whose first records had views when it was young, and that has far more by now."""
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", [str(n % 30 + 10) for n in range(200)])
    refresh(catalog)
    catalog.execute("update image set foreign_identifier = 'old' || foreign_identifier, url = url || '/old'")
    store(catalog, "flickr", ["0"] * 2000)
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).value == 0
    catalog.execute("delete from image where foreign_identifier not like '_00'")
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).records == 0


def test_deleted_records_have_lost_nothing_beside_others_that_never_had_a_metric(catalog):
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["0"] * 900 + ["5"] * 100)
    refresh(catalog)
    catalog.execute("delete from image where foreign_identifier::int >= 940")
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).records == 40
    # As an earlier release has left it, which remembers no sample.
    catalog.execute("update image_popularity_metrics set (records, sample) = (100, null)")
    catalog.execute("delete from image where foreign_identifier::int >= 910")
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).records == 10


def test_metrics_of_an_adopted_catalog_without_a_primary_key(catalog):
    """Adoption is content with a unique index, and creates no more than that."""
    [(name,)] = catalog.execute(
        "select conname from pg_constraint"
        " where contype = 'p' and conrelid = 'image_popularity_metrics'::regclass"
    ).fetchall()
    catalog.execute(f"alter table image_popularity_metrics drop constraint {name}")
    catalog.execute("create unique index on image_popularity_metrics (provider)")
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["5"] * 100)
    for _ in range(2):
        assert popularity.refresh_constant(catalog, "image", "flickr", 60).records == 100


def test_deletions_and_new_metrics_of_others_hide_no_loss(catalog):
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["0"] * 300 + ["5"] * 100)
    refresh(catalog)
    catalog.execute("update image set meta_data = '{}' where foreign_identifier::int >= 340")
    catalog.execute("delete from image where foreign_identifier::int < 100")
    catalog.execute("update image set meta_data = '{\"views\": 5}' where foreign_identifier::int < 200")
    message = "of 100 sampled records that had views above 0, 60 have lost it"
    with pytest.raises(Fatal, match=message):
        popularity.refresh_constant(catalog, "image", "flickr", 60)


def test_many_records_are_judged_by_a_sample_of_them(catalog, monkeypatch):
    monkeypatch.setattr(popularity, "SAMPLE", 200)
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["5"] * 2000)
    refresh(catalog)
    catalog.execute("update image set meta_data = '{}' where foreign_identifier::int < 1400")
    message = r"of [12]\d\d sampled records that had views above 0, 1\d\d have lost it"
    for known in (2000, None, 1, 100_000):
        catalog.execute("update image_popularity_metrics set records = %s", [known])
        with pytest.raises(Fatal, match=message):
            popularity.refresh_constant(catalog, "image", "flickr", 60)


@pytest.mark.parametrize("known", [None, 0, 1, 60, 2000, 100_000, 10**9])
def test_the_size_of_the_sample(catalog, monkeypatch, known):
    """Also if their number is far from that of the last refresh."""
    monkeypatch.setattr(popularity, "SAMPLE", 200)
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["5"] * 2000 + ["0"] * 100)
    catalog.execute("update image_popularity_metrics set records = %s", [known])
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).records == 2000
    [(sample, right)] = catalog.execute(
        """
        select cardinality(sample),
               (select count(*) from image where identifier = any(sample) and meta_data ->> 'views' = '5')
          from image_popularity_metrics where provider = 'flickr'
        """
    ).fetchall()
    assert 100 < sample <= 800
    assert right == sample


@pytest.mark.parametrize("lost", [4, 5])
def test_a_few_records_that_lose_their_metric_are_no_finding(catalog, lost):
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["5"] * lost + ["0"] * 9)
    refresh(catalog)
    catalog.execute("update image set meta_data = '{}'")
    with nullcontext() if lost == 4 else pytest.raises(Fatal, match="5 have lost it"):
        popularity.refresh_constant(catalog, "image", "flickr", 60)


@pytest.mark.parametrize("known", ["sample", "100", "null"])
@pytest.mark.parametrize("now", ["0", None, "12.3k"])
def test_a_metric_that_all_records_have_lost_is_no_truth(catalog, now, known):
    """Also if an earlier release has determined the value, with their number or without it."""
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", [str(n) for n in range(101)])
    refresh(catalog)
    if known != "sample":
        catalog.execute(f"update image_popularity_metrics set (records, sample) = ({known}, null)")
    before = popularity.metric_of(catalog, "image", "flickr")
    catalog.execute("update image set meta_data = jsonb_build_object('views', %s::text)", [now])
    with pytest.raises(
        Fatal, match="100 have lost it" if known == "sample" else "no record has views above 0 any more"
    ):
        popularity.refresh_constant(catalog, "image", "flickr", 60)
    assert popularity.metric_of(catalog, "image", "flickr") == before
    accepted = popularity.refresh_constant(catalog, "image", "flickr", 60, judge=accept_all)
    assert accepted.value == (0 if now == "0" else before.value)
    assert accepted.records == 0
    assert popularity.refresh_constant(catalog, "image", "flickr", 60) == accepted  # for good
    catalog.execute("delete from image")
    assert popularity.refresh_constant(catalog, "image", "flickr", 60) == accepted


def test_what_is_not_known_of_earlier_refreshes_refuses_nothing(catalog):
    popularity.update_metrics(catalog, "image")
    store(catalog, "flickr", ["0"] * 100 + ["1"])
    known = """
        update image_popularity_metrics
           set (val, constant, refreshed_constant, records, sample) = (40, 7, %s, null, null)
    """
    catalog.execute(known, [7])
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).value == 0
    catalog.execute("delete from image where foreign_identifier = '100'")
    catalog.execute(known, [None])  # of an adopted catalog, whose metric may be another one
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).value == 0


def scores(connection, provider="flickr"):
    found = connection.execute(
        "select foreign_identifier::int, standardized_popularity from image where provider = %s", [provider]
    )
    return [score for _, score in sorted(found.fetchall())]


def number(text):
    """Return a value as a metric, or None for a negative number or one of more than 100 bytes."""
    try:
        found = float(text)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) and found >= 0 and len(text.encode()) <= 100 else None


def by_hand(values, p=0.85):
    """Return the value at the percentile, the constant and the score of each, from the definitions."""
    known = sorted(v for v in map(number, values) if v is not None)
    value = known[max(math.ceil(p * len(known)), 1) - 1]
    constant = (1 - p) / p * (value if value > 0 else 1)
    return (
        value,
        constant,
        [None if v is None or v + constant == 0 else v / (v + constant) for v in map(number, values)],
    )


@pytest.mark.parametrize(
    "values",
    [
        [str(random.Random(7).randrange(10_000)) for _ in range(500)],
        ["5"] * 20 + ["7"] * 3,  # ties
        ["0"] * 90 + ["3", "4"],  # the value at the percentile is 0
        [None, "8", None, "", "many", "9", "1e2", "2.5", " 4 "],  # missing, and no numbers
        ["-4", "-1", "3", "10", "12", "15", "20"],
        ["42"],
        [str(random.Random(3).gauss(50, 40)) for _ in range(101)],
    ],
    ids=["random", "ties", "zero", "missing", "negative", "one", "normal"],
)
def test_scores_agree_with_the_definition(catalog, values):
    store(catalog, "flickr", values)
    refresh(catalog)
    value, constant, expected = by_hand(values)
    metric = popularity.metric_of(catalog, "image", "flickr")
    assert metric.value == pytest.approx(value)
    assert metric.constant == pytest.approx(constant)
    assert scores(catalog) == [None if e is None else pytest.approx(e) for e in expected]
    function = catalog.execute(
        """
        select standardized_image_popularity(provider, meta_data) from image
        order by foreign_identifier::int
        """
    )
    assert [f for (f,) in function] == [None if e is None else pytest.approx(e) for e in expected]


def test_a_second_refresh_touches_nothing(catalog):
    store(catalog, "flickr", [str(n) for n in range(200)])
    assert refresh(catalog).updated == 200
    assert not popularity.metric_of(catalog, "image", "flickr").is_due
    assert refresh(catalog).updated == 0
    assert catalog.execute("select count(distinct updated_on) from image").fetchone()[0] <= STRIPES


def test_only_rows_whose_score_differs_are_updated(catalog):
    store(catalog, "flickr", [str(n) for n in range(100)])
    refresh(catalog)
    catalog.execute("update image set standardized_popularity = 0.5 where foreign_identifier in ('3', '4')")
    assert refresh(catalog).updated == 2


def test_a_constant_that_changed_is_due_until_its_rows_are_scored(catalog):
    store(catalog, "flickr", ["10"] * 10)
    metric = popularity.refresh_constant(catalog, "image", "flickr", 60)
    assert metric.is_due
    # Still due: the update after the first refresh failed.
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).is_due
    refresh(catalog)
    assert not popularity.refresh_constant(catalog, "image", "flickr", 60).is_due
    store(catalog, "stocksnap", ["1"], "downloads_raw")
    assert popularity.refresh_constant(catalog, "image", "stocksnap", 60).is_due


def set_view_of_all(connection, value):
    connection.execute("update image set meta_data = %s", [Jsonb({"views": value})])


def test_a_constant_that_comes_back_is_due(catalog):
    """Some rows may have scores of the one in between."""
    store(catalog, "flickr", ["10"] * 10)
    refresh(catalog)
    set_view_of_all(catalog, "20")
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).is_due
    set_view_of_all(catalog, "10")
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).is_due
    refresh(catalog)
    assert not popularity.metric_of(catalog, "image", "flickr").is_due


def test_a_constant_that_changes_little_stays(catalog):
    """Otherwise each row with a metric would be written, for scores that the index does not distinguish."""
    store(catalog, "flickr", ["100000"] * 10)
    refresh(catalog)
    before = popularity.metric_of(catalog, "image", "flickr")
    for value in (
        "100100",
        "100199",
        "99850",
    ):  # compared with what the rows are scored with, so it cannot drift
        set_view_of_all(catalog, value)
        metric = popularity.refresh_constant(catalog, "image", "flickr", 60)
        assert (metric.constant, metric.value, metric.is_due) == (before.constant, float(value), False)
    assert popularity.refresh_constant(catalog, "image", "flickr", 60, exact=True).is_due
    refresh(catalog)
    set_view_of_all(catalog, "100400")
    assert popularity.refresh_constant(catalog, "image", "flickr", 60).is_due


def test_a_provider_without_values_keeps_what_it_has(catalog):
    store(catalog, "flickr", [None, "words"])
    metric = popularity.refresh_constant(catalog, "image", "flickr", 60)
    assert (metric.value, metric.constant, metric.is_due) == (None, None, False)


def test_scores_without_a_constant_are_removed(catalog):
    """An adopted catalog may hold such scores; a forced refresh leaves them."""
    store(catalog, "flickr", [None, "words", "-1"])
    popularity.refresh_constant(catalog, "image", "flickr", 60)
    assert popularity.due(catalog, "image", ["flickr"], force=True) == []
    catalog.execute("update image set standardized_popularity = 1.7 where provider = 'flickr'")
    assert [m.provider for m in popularity.due(catalog, "image", ["flickr"])] == ["flickr"]
    assert rescore(catalog).updated == 3
    assert popularity.note_refreshed(catalog, "image", "flickr", 60) == 0
    assert scores(catalog) == [None, None, None]
    assert popularity.due(catalog, "image", ["flickr"]) == []


def test_metrics_are_those_that_providers_declare(catalog):
    catalog.execute("delete from image_popularity_metrics where provider = 'nappy'")
    catalog.execute(
        "update image_popularity_metrics set constant = 7, metric = 'old' where provider = 'flickr'"
    )
    found = popularity.update_metrics(catalog, "image")
    assert found == ["flickr", "nappy", "rawpixel", "stocksnap", "wikimedia"]
    assert popularity.metric_of(catalog, "image", "flickr").constant == 7
    assert popularity.metric_of(catalog, "image", "flickr").metric == "old"  # the constant is of that one
    catalog.execute("update image_popularity_metrics set constant = null where provider = 'flickr'")
    popularity.update_metrics(catalog, "image")
    assert popularity.metric_of(catalog, "image", "flickr").metric == "views"
    assert popularity.configured("audio") == {
        "ccmixter": "upload_num_scores",
        "freesound": "num_downloads",
        "internetarchive": "downloads",
        "jamendo": "listens",
        "wikimedia_audio": "global_usage_count",
    }


@pytest.mark.parametrize("media_type", ["image", "audio"])
def test_only_functions_are_recreated(catalog, media_type):
    def state():
        functions = catalog.execute(
            """
            select proname, pg_get_functiondef(oid) from pg_proc
            where proname like '%popularity%' order by 1
            """
        ).fetchall()
        relations = catalog.execute(
            "select oid, relname, relfilenode from pg_class where relnamespace = 'public'::regnamespace"
        ).fetchall()
        return functions, sorted(relations)

    before = state()
    catalog.execute(f"drop function standardized_{media_type}_popularity")
    popularity.recreate_functions(catalog, media_type)
    assert state() == before
    popularity.recreate_functions(catalog, media_type)
    assert state() == before


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=120)
NUMBERS = st.from_regex(
    r"[ \t]?[-+]?[0-9]{0,130}[.]?[0-9]{0,130}([eE][-+]?[0-9]{1,3})?[ \n]?", fullmatch=True
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(meta_data=VALUES | st.builds(lambda v: {"m": v}, VALUES), constant=st.none() | st.floats())
@example(meta_data={"m": 10**400}, constant=1.0)
@example(meta_data={"m": "9" * 99 + "e99"}, constant=1.7e308)
@example(meta_data={"m": "." + "0" * 94 + "1e-99"}, constant=1e100)
@example(meta_data={"m": "0"}, constant=0.0)
@example(meta_data={"m": "0"}, constant=5e-324)
@example(meta_data={"m": "-4"}, constant=3.9)
@example(meta_data={"m": "\u0663\u3000"}, constant=3.9)
@example(meta_data={"m": "NaN"}, constant=math.nan)
def test_a_score_is_between_0_and_1_or_none(catalog, meta_data, constant):
    """It is, whatever value a provider sends and whatever constant the table holds."""
    arguments = [json.dumps(meta_data), constant]
    [score] = catalog.execute("select popularity_score(%s::jsonb, 'm', %s)", arguments).fetchone()
    assert score is None or 0 <= score <= 1


WILD = [
    "-3",
    "9" * 400,
    "1e400",
    "NaN",
    "Infinity",
    {"n": 1},
    ["4"],
    True,
    None,
    10**400,
    "\u0664",
    "9e99",
    "",
    " 7 ",
]


def test_a_malformed_value_affects_no_other_record(catalog):
    store(catalog, "flickr", [*(str(n) for n in range(1, 101)), *WILD])
    assert refresh(catalog).missing == 0
    found = scores(catalog)
    assert None not in found[:100]
    assert found[:100] == sorted(found[:100])
    assert all(score is None or 0 <= score <= 1 for score in found)
    assert [n for n, score in enumerate(found[100:]) if score is not None] == [11, 13]


@pytest.mark.parametrize("values", [["9e99"] * 20, ["9" * 100] * 20, ["1e-99"] * 20, ["0"] * 20])
def test_a_very_small_or_large_constant(catalog, values):
    store(catalog, "flickr", values)
    refresh(catalog)
    assert all(0 <= score <= 1 for score in scores(catalog))


@pytest.mark.parametrize("constant", [0.0, -7.5, math.nan, math.inf, -math.inf, 1.7e308, None])
def test_an_impossible_constant(catalog, constant):
    """An adopted catalog may hold one: there is no score until the next refresh recalculates it."""
    store(catalog, "flickr", ["-3", "0", "7", "9e99"])
    catalog.execute("update image set standardized_popularity = 1.55")
    catalog.execute("update image_popularity_metrics set constant = %s where provider = 'flickr'", [constant])
    rescore(catalog)
    assert scores(catalog) == [None] * 4
    refresh(catalog)
    assert [score is None for score in scores(catalog)] == [True, False, False, False]


PROVIDERS = [
    "500px",
    "500 px",
    "a" * 80,
    "a" * 79 + "b",
    "it's",
    'say "so"',
    "back\\slash",
    "100 % {of} $1",
    "Ünïcode ♥ 博物館",
    "_",
    "-- ; drop",
]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_any_provider_string(catalog, provider):
    catalog.execute(
        "insert into image_popularity_metrics (provider, metric) values (%s, 'views')", [provider]
    )
    store(catalog, provider, ["1", "2", "3"])
    store(catalog, "flickr", ["1", "2", "3"])
    assert refresh(catalog, provider).updated == 3
    assert None not in scores(catalog, provider)
    assert scores(catalog, "flickr") == [None] * 3


def test_names_are_bounded_and_distinct():
    names = {query_id("image_popularity", p) for p in PROVIDERS}
    assert len(names) == len(PROVIDERS)
    assert all(re.fullmatch(QUERY_ID, n) for n in names)
    assert query_id("image_popularity", "500px").startswith("image_popularity_500px_")
    assert digest("a", "b") != digest("a b")


def test_rows_that_an_older_run_left_get_current_scores(catalog):
    """An older refresh stops half-way; a newer one, with another constant, goes on with its rows.

    Clearing the older one afterwards changes nothing.
    """
    store(catalog, "flickr", [str(n) for n in range(100)])
    popularity.refresh_constant(catalog, "image", "flickr", 60)
    conf = popularity.update_conf("image", "flickr")
    update = parse_update("image", conf["update_query"], conf["select_query"])
    job = BatchedUpdate(catalog, conf["query_id"], "old", update, batch_size=10, should_stop=lambda: True)
    with pytest.raises(Interrupted):
        job.run(job.select())
    catalog.execute('update image set meta_data = \'{"views": "1000"}\' where foreign_identifier::int >= 50')
    popularity.refresh_constant(catalog, "image", "flickr", 60)
    rescore(catalog, run_id="goes on")
    # These are rows that the old run had not selected, or had changed.
    with pytest.raises(Fatal, match=r"some rows \(\d+\) do not have the score of the current constant"):
        popularity.note_refreshed(catalog, "image", "flickr", 60)
    rescore(catalog, run_id="another")
    popularity.note_refreshed(catalog, "image", "flickr", 60)
    right = scores(catalog)
    with pytest.raises(Refused, match="Trigger a new run"):
        rescore(catalog, run_id="old")
    assert scores(catalog) == right
    popularity.note_refreshed(catalog, "image", "flickr", 60)


def test_one_row_that_differs_keeps_a_provider_due(catalog):
    store(catalog, "flickr", [str(n) for n in range(100)])
    popularity.refresh_constant(catalog, "image", "flickr", 60)
    rescore(catalog)
    popularity.note_refreshed(catalog, "image", "flickr", 60)
    catalog.execute("update image set standardized_popularity = null where foreign_identifier = '57'")
    with pytest.raises(Fatal, match=r"flickr: .* Trigger a new run"):
        popularity.note_refreshed(catalog, "image", "flickr", 60)
    assert popularity.metric_of(catalog, "image", "flickr").is_due


def test_another_metric_replaces_the_former_with_its_constant(catalog, monkeypatch):
    """Not before records have it: until then, they are scored by the former one."""
    store(catalog, "flickr", ["1", "2"])
    refresh(catalog)
    former, right = popularity.metric_of(catalog, "image", "flickr"), scores(catalog)
    faves = Jsonb({"faves": "50"})
    monkeypatch.setattr(popularity, "configured", lambda _: {"flickr": "faves"})
    for accepts in (refuse_all, accept_all):
        popularity.update_metrics(catalog, "image")
        assert popularity.metric_of(catalog, "image", "flickr") == former
        popularity.refresh_constant(catalog, "image", "flickr", 60, judge=accepts)
        assert popularity.metric_of(catalog, "image", "flickr") == former
        assert popularity.due(catalog, "image", ["flickr"]) == []
    catalog.execute("update image set meta_data = meta_data || %s where foreign_identifier = '0'", [faves])
    popularity.update_metrics(catalog, "image")
    assert popularity.metric_of(catalog, "image", "flickr") == former
    now = popularity.refresh_constant(catalog, "image", "flickr", 60)
    assert (now.metric, now.value, now.records, now.is_due) == ("faves", 50, 1, True)
    assert popularity.due(catalog, "image", ["flickr"]) == [now]
    assert rescore(catalog).updated == 2
    popularity.note_refreshed(catalog, "image", "flickr", 60)
    assert None in scores(catalog) != right
    assert not popularity.metric_of(catalog, "image", "flickr").is_due


def test_a_load_never_scores_one_metric_with_the_constant_of_another(catalog, dsn, tmp_path, monkeypatch):
    store(catalog, "flickr", ["100", "200"])
    refresh(catalog)
    monkeypatch.setattr(popularity, "configured", lambda _: {"flickr": "faves"})
    popularity.update_metrics(catalog, "image")
    popularity.refresh_constant(catalog, "image", "flickr", 60)  # no record has one yet
    Loader(dsn, tmp_path)([image("new", meta_data={"faves": "3"})], provider="flickr")
    query = "select standardized_popularity from image where foreign_identifier = 'idnew'"
    assert catalog.execute(query).fetchone() == (None,)
    refresh(catalog)
    assert catalog.execute(query).fetchone() == (pytest.approx(0.85),)


def test_a_constant_waits_for_the_load_that_knows_the_one_before(catalog, dsn):
    store(catalog, "flickr", ["1", "2"])
    with psycopg.connect(dsn, autocommit=True) as other, psycopg.connect(dsn) as load:
        lock_provider(load, "image", "flickr")
        waiting = threading.Thread(target=popularity.refresh_constant, args=(other, "image", "flickr", 60))
        waiting.start()
        query = "select 1 from pg_stat_activity where pid = %s and wait_event = 'advisory'"
        while not catalog.execute(query, [other.info.backend_pid]).fetchone():
            assert waiting.is_alive()
        assert popularity.metric_of(catalog, "image", "flickr").constant is None
        load.commit()
        waiting.join(30)
    assert popularity.metric_of(catalog, "image", "flickr").constant is not None
