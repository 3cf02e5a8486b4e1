"""Popularity on a real PostgreSQL against a calculation in plain Python."""

import math
import random
from datetime import UTC, datetime

import pytest

from catalog.database.batched_update import STRIPES, BatchedUpdate
from catalog.database.statements import parse_update, verify
from catalog.popularity import popularity

NOW = datetime(2024, 2, 10, tzinfo=UTC)
INSERT = """
    insert into image (identifier, created_on, updated_on, provider, foreign_identifier, foreign_landing_url, url, license,
                       removed_from_source, meta_data)
    values (gen_random_uuid(), now(), '2024-01-01', %s, %s, 'https://example.org', %s, 'by', false, %s)
"""


def store(connection, provider, values, key="views"):
    """One image for each value of the metric, as text; None: no metric at all."""
    from psycopg.types.json import Jsonb

    rows = [
        (provider, f"{n}", f"https://example.org/{provider}/{n}", Jsonb({} if v is None else {key: v}))
        for n, v in enumerate(values)
    ]
    connection.cursor().executemany(INSERT, rows)


def refresh(connection, provider="flickr", now=NOW):
    """What the DAG does for one provider; the batched update's counts."""
    metric = popularity.refresh_constant(connection, "image", provider, 60)
    conf = popularity.update_conf("image", metric, now)
    update = parse_update(conf["table_name"], conf["update_query"], conf["select_query"])
    verify(connection, update)
    job = BatchedUpdate(connection, conf["query_id"], "run", update, batch_size=conf["batch_size"])
    done = job.run(job.claim(resume=False) or job.select())
    job.finish()
    popularity.note_refreshed(connection, "image", provider, metric.constant)
    return done


def scores(connection, provider="flickr"):
    found = connection.execute(
        "select foreign_identifier::int, standardized_popularity from image where provider = %s", [provider]
    )
    return [score for _, score in sorted(found.fetchall())]


def number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def by_hand(values, p=0.85):
    """(value at the percentile, constant, score of each), from the definitions."""
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
        "select standardized_image_popularity(provider, meta_data) from image order by foreign_identifier::int"
    )
    assert [f for (f,) in function] == [None if e is None else pytest.approx(e) for e in expected]


def test_a_second_refresh_touches_nothing(catalog):
    store(catalog, "flickr", [str(n) for n in range(200)])
    assert refresh(catalog).updated == 200
    assert not popularity.metric_of(catalog, "image", "flickr").is_due
    assert refresh(catalog, now=datetime(2024, 3, 10, tzinfo=UTC)).updated == 0
    assert catalog.execute("select count(distinct updated_on) from image").fetchone()[0] <= STRIPES


def test_only_rows_whose_score_differs_are_updated(catalog):
    store(catalog, "flickr", [str(n) for n in range(100)])
    refresh(catalog)
    catalog.execute("update image set standardized_popularity = 0.5 where foreign_identifier in ('3', '4')")
    assert refresh(catalog, now=datetime(2024, 3, 10, tzinfo=UTC)).updated == 2


def test_a_constant_that_changed_is_due_until_its_rows_are_scored(catalog):
    store(catalog, "flickr", ["10"] * 10)
    metric = popularity.refresh_constant(catalog, "image", "flickr", 60)
    assert metric.is_due
    assert popularity.refresh_constant(
        catalog, "image", "flickr", 60
    ).is_due  # the update after the first one failed
    refresh(catalog)
    assert not popularity.refresh_constant(catalog, "image", "flickr", 60).is_due
    store(catalog, "stocksnap", ["1"], "downloads_raw")
    assert popularity.refresh_constant(catalog, "image", "stocksnap", 60).is_due


def test_a_provider_without_values_keeps_what_it_has(catalog):
    store(catalog, "flickr", [None, "words"])
    metric = popularity.refresh_constant(catalog, "image", "flickr", 60)
    assert (metric.value, metric.constant, metric.is_due) == (None, None, False)


def test_metrics_are_those_that_providers_declare(catalog):
    catalog.execute("delete from image_popularity_metrics where provider = 'nappy'")
    catalog.execute(
        "update image_popularity_metrics set constant = 7, metric = 'old' where provider = 'flickr'"
    )
    found = popularity.update_metrics(catalog, "image")
    assert found == ["flickr", "nappy", "rawpixel", "stocksnap", "wikimedia"]
    assert popularity.metric_of(catalog, "image", "flickr").constant == 7
    assert popularity.metric_of(catalog, "image", "flickr").metric == "views"
    assert popularity.configured("audio") == {
        "ccmixter": "upload_num_scores", "freesound": "num_downloads", "jamendo": "listens", "wikimedia_audio": "global_usage_count",
    }  # fmt: skip


@pytest.mark.parametrize("media_type", ["image", "audio"])
def test_functions_are_made_anew_and_nothing_else(catalog, media_type):
    def state():
        functions = catalog.execute(
            "select proname, pg_get_functiondef(oid) from pg_proc where proname like '%popularity%' order by 1"
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
