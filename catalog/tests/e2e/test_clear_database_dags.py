"""Whatever fails in a DAG that changes the catalog and is cleared, each row is changed as by one statement.

Meanwhile others delete and change rows, and perhaps the same DAG, or one that changes the same rows, runs
again.
"""

from itertools import count

import pytest

from catalog.local.schedules import unpaused
from catalog.tests.database.media import IMAGES
from catalog.tests.e2e.combinations import ends_well, pairs

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket, pytest.mark.timeout(900)]
ROWS = 300
MADE_UP = "provider = 'made_up'"
TASKS = {
    "batched_update": ["check_update", "select_rows_to_update", "update_batches", "notify_updated_count"],
    "delete_records": ["check_deletion", "delete_records_from_media_table", "notify_slack"],
    "image_popularity_refresh": [
        "update_popularity_metrics",
        "refresh_constant",
        "get_providers_update_confs",
        "refresh_popularity.trigger_batched_update",
        "refresh_popularity.note_refreshed",
        "notify_slack",
    ],
}
OTHERS = {
    "batched_update": [None, "batched_update", "delete_records"],
    "delete_records": [None, "delete_records", "batched_update"],
    "image_popularity_refresh": [None, "image_popularity_refresh", "delete_records"],
}
SAMPLE = [
    ("batched_update", "update_batches", ("after", "kill"), "the task and all after it", "delete_records"),
    (
        "delete_records",
        "delete_records_from_media_table",
        ("after", "fail"),
        "the whole run",
        "delete_records",
    ),
    (
        "image_popularity_refresh",
        "refresh_popularity.trigger_batched_update",
        ("before", "fail"),
        "the whole run",
        "image_popularity_refresh",
    ),
]
number = count()


@pytest.fixture
def images(bench):
    """Rows of a provider without a DAG, and of two with popularity."""
    with bench.catalog() as connection, unpaused(bench.stack, ["image_popularity_refresh"], print):
        connection.execute(IMAGES.format(rows=ROWS, providers="'made_up', 'flickr', 'stocksnap'"))
        yield connection
        for table in ("image", "deleted_image"):
            connection.execute(
                f"delete from {table} where {MADE_UP} or url like 'https://example.org/flickr%'"
                " or url like 'https://example.org/stocksnap%'"
            )


def titles(connection):
    return [title for (title,) in connection.execute(f"select title from image where {MADE_UP}")]


def change_by_others(connection):
    """Delete one of the last rows of each provider, and change another one."""
    for provider in ("made_up", "flickr", "stocksnap"):
        newest = (
            f"(select identifier from image where provider = '{provider}'"
            " order by foreign_identifier desc limit 1)"
        )
        connection.execute(f"delete from image where identifier = {newest}")
        connection.execute(f"update image set thumbnail = null where identifier = {newest}")


class Update:
    """An update that appends a letter to each title, so the row shows which run changed it how often."""

    dag_id = "batched_update"

    def __init__(self, bench, connection, letter="!"):
        self.bench, self.connection, self.letter = bench, connection, letter
        self.conf = {
            "query_id": f"clearing_{next(number)}",
            "table_name": "image",
            "select_query": f"WHERE {MADE_UP}",
            "update_query": f"SET title = title || '{letter}'",
            "dry_run": False,
            "batch_size": 50,
        }

    def start(self):
        return self.bench.run(self.dag_id, self.conf)

    def another(self):
        """Run another statement with the same query_id; it is refused while this one's rows are selected."""
        self.start_other(Update(self.bench, self.connection, "?"), query_id=self.conf["query_id"])

    def start_other(self, other, **conf):
        other.conf |= conf
        self.bench.run(other.dag_id, other.conf)

    def check(self):
        found = titles(self.connection)
        assert found
        assert {title.count(self.letter) for title in found} == {1}
        assert len({title.count("?") for title in found}) == 1
        left = "select relname from pg_class where relname like 'clearing%rows_to_update'"
        assert self.connection.execute(left).fetchall() == []


class Deletion:
    """A deletion of the first ten rows at the time of the selection, except those that others delete."""

    dag_id = "delete_records"

    def __init__(self, bench, connection, reason="the first"):
        self.bench, self.connection, self.reason = bench, connection, reason
        ten = f"SELECT identifier FROM image WHERE {MADE_UP} ORDER BY foreign_identifier LIMIT 10"
        self.conf = {"table_name": "image", "select_query": f"WHERE identifier IN ({ten})", "reason": reason}
        self.wanted = {identifier for (identifier,) in connection.execute(ten)}

    def start(self):
        return self.bench.run(self.dag_id, self.conf)

    def another(self):
        """Delete the same rows if this one has only selected them, otherwise the next ten."""
        assert Deletion(self.bench, self.connection, "another").start()[1] == "success"

    def check(self):
        query = f"select identifier, deleted_reason from deleted_image where {MADE_UP}"
        by = dict(self.connection.execute(query).fetchall())
        others = {identifier for identifier, reason in by.items() if reason != self.reason}
        assert len(others) in (0, 10)
        assert by.keys() == self.wanted | others or (others and len(by) == 20)


class Popularity:
    """A popularity refresh: rows of providers that count as scored have current scores; finally all do."""

    dag_id = "image_popularity_refresh"

    def __init__(self, bench, connection):
        self.bench, self.connection = bench, connection
        connection.execute("""
            update image
               set standardized_popularity = null,
                   meta_data = jsonb_build_object('views', 7 + (random() * 1000)::int,
                                                  'downloads_raw', 3 + (random() * 500)::int)
             where provider in ('flickr', 'stocksnap')
        """)

    def start(self):
        return self.bench.run(self.dag_id, {}, timeout=400)

    def another(self):
        self.start()

    def check(self):
        assert self.wrong("m.refreshed_constant is not distinct from m.constant") == []
        # If only tasks before the scoring were cleared, the providers are due, and the next run scores them.
        if self.wrong("true"):
            assert self.start()[1] == "success"
        assert self.wrong("true") == []

    def wrong(self, which):
        query = f"""
            select i.provider, count(*) from image i join image_popularity_metrics m using (provider)
             where {which}
               and i.standardized_popularity
                   is distinct from popularity_score(i.meta_data, m.metric, m.constant)
             group by 1
        """
        return self.connection.execute(query).fetchall()


OPERATIONS = {operation.dag_id: operation for operation in (Update, Deletion, Popularity)}
OTHER_OPERATIONS = {operation.dag_id: operation for operation in (Update, Deletion)}


def one_failure(bench, images, dag_id, task, failure, what, other):
    when, how = failure
    operation = OPERATIONS[dag_id](bench, images)
    with bench.failing(dag_id, task, when, how):
        run_id, state = operation.start()
    assert state == "failed"
    change_by_others(images)
    if other == dag_id:
        operation.another()
    elif other:
        OTHER_OPERATIONS[other](bench, images, "+").start()
    change_by_others(images)
    ends_well(bench, dag_id, run_id, task, what, TASKS[dag_id][0], lambda: operation.start()[1])
    operation.check()


@pytest.mark.parametrize(("dag_id", "task", "failure", "what", "other"), SAMPLE)
def test_a_failure_and_a_clear(bench, images, dag_id, task, failure, what, other):
    one_failure(bench, images, dag_id, task, failure, what, other)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_with_the_id_of_a_deleted_one_does_its_work(bench, images, when):
    """Also if its first attempt is killed before it has looked at what is known of the id."""
    update = Update(bench, images)
    run_id, state = update.start()
    assert state == "success"
    images.execute(f"update image set title = 'new' where {MADE_UP} and title like '%5!'")
    with bench.failing(update.dag_id, "select_rows_to_update", when, "kill", once=True):
        assert bench.make_again(update.dag_id, run_id, update.conf) == "success"
    found = titles(images)
    assert len(found) == ROWS
    assert {title for title in found if not title.endswith("!!")} == {"new!"}
    bench.api.clear(update.dag_id, run_id, ["check_update"])
    assert bench.api.wait(update.dag_id, run_id) == "success"
    assert sorted(titles(images)) == sorted(found)


@pytest.mark.fault_long
@pytest.mark.parametrize(
    ("dag_id", "task", "failure", "what", "other"),
    [
        (dag_id, *combination)
        for dag_id, tasks in TASKS.items()
        for combination in pairs(tasks, OTHERS[dag_id])
    ],
)
def test_every_failure_of_every_task_and_a_clear(bench, images, dag_id, task, failure, what, other):
    one_failure(bench, images, dag_id, task, failure, what, other)
