"""Whatever fails in a refresh and is cleared then, it ends well, or with a refusal that names the way out.

A task fails, or is killed, before or after its work; moderators delete one medium and mark another; perhaps
another run takes place; then the task alone, the task and all downstream of it, or the whole run is cleared.
"""

import pytest

from catalog.database import sample_data
from catalog.database.revision import Which
from catalog.tests.e2e.combinations import ends_well, pairs

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket, pytest.mark.timeout(900)]
ROWS = 400
REFRESH = [
    "check_configuration",
    "wait_for_conflicting_dags",
    "begin_refresh",
    "clean_up",
    "copy_tables",
    "build_indexes",
    "create_index",
    "split_ranges",
    "index_range",
    "check_index",
    "create_filtered_index",
    "open_indexes",
    "promote_tables",
    "promote_indexes",
    "delete_old",
    "report_record_counts",
]
FILTERED = [
    "prevent_conflicting_dags",
    "plan_filtered_index",
    "create_filtered_index",
    "promote_filtered_index",
]
TASKS = {"image_data_refresh": REFRESH, "create_filtered_image_index": FILTERED}
CONF: dict[str, dict[str, str]] = {"image_data_refresh": {"mode": "full"}, "create_filtered_image_index": {}}


@pytest.fixture(scope="module")
def media(bench):
    databases: tuple[Which, ...] = ("catalog", "api")
    for database in databases:
        with bench.database(database) as connection:
            sample_data.fill(connection, database, ROWS, seed=11)
    with bench.database("api") as api:
        api.execute("alter table image enable row level security")
        api.execute("create policy everybody on image using (true)")
    for media_type in ("image", "audio"):
        assert bench.accept(f"{media_type}_data_refresh", {"mode": "full"})[1] == "success"
    yield
    with bench.catalog() as connection:
        for media_type in ("image", "audio"):
            connection.execute(f"delete from {media_type} where url like 'https://%.example.org/%'")
    with bench.database("api") as api:
        api.execute("drop policy if exists everybody on image")
        api.execute("alter table image disable row level security")
        for media_type in ("image", "audio"):  # else the next refresh would refuse to remove so many
            api.execute(f"delete from {media_type}list_{media_type}s")
            api.execute(f"delete from {media_type} where url like 'https://%.example.org/%'")


class Moderators:
    """Decisions of moderators, carried out as the API does: in its database and in the live indexes."""

    def __init__(self, bench):
        self.bench, self.deleted, self.marked = bench, [], []

    def decide(self):
        search = self.bench.search()
        with self.bench.database("api") as api:
            rows = api.execute(
                "select identifier::text, url from image i"
                " where not removed_from_source and identifier <> all(%s::uuid[])"
                " and not exists (select from api_matureimage m where m.identifier = i.identifier)"
                " and not exists (select from imagelist_images l where l.image_id = i.id)"
                " order by random() limit 2",
                [self.marked],
            ).fetchall()
            (deleted, _), (marked, _) = rows
            api.execute(
                "insert into api_deletedimage (identifier, created_on, updated_on) values (%s, now(), now())",
                [deleted],
            )
            api.execute("delete from image where identifier = %s", [deleted])
            api.execute("insert into api_matureimage (identifier, created_on) values (%s, now())", [marked])
        for alias in ("image", "image-filtered"):
            for action in ({"delete": {"_id": deleted}}, {"update": {"_id": marked}}):
                lines = [action] if "delete" in action else [action, {"doc": {"mature": True}}]
                search.client.bulk(index=alias, operations=lines, refresh=True)
        self.deleted.append(deleted)
        self.marked.append(marked)


def settled(bench, moderators, shape):
    """Check that index and table match, nothing is left, moderation is applied, the shape is kept."""
    search = bench.search()
    with bench.database("api") as api:
        rows = api.execute("select count(*) from image where not removed_from_source").fetchone()[0]
        left = api.execute("select relname from pg_class where relname like 'temp_import_%'").fetchall()
        policies = api.execute("select polname from pg_policy where polrelid = 'image'::regclass").fetchall()
        back = api.execute(
            "select count(*) from image where identifier = any(%s::uuid[])", [moderators.deleted]
        ).fetchone()[0]
    index, filtered = search.resolve_alias("image"), search.resolve_alias("image-filtered")
    for alias in ("image", "image-filtered"):
        search.refresh(alias)
        found = search.client.search(index=alias, query={"ids": {"values": moderators.deleted}}, size=0)
        assert found["hits"]["total"]["value"] == 0, "a deleted medium is found"
        unmarked = {"bool": {"must": [{"ids": {"values": moderators.marked}}, {"term": {"mature": False}}]}}
        assert search.count(alias, unmarked) == 0, "a marked medium is not marked"
    assert (search.count("image"), back, left) == (rows, 0, [])
    assert 0 < search.count("image-filtered") <= rows
    there = set(search.client.indices.get(index="image-*", expand_wildcards="all").body)
    assert {name for name in there if "-full-" not in name} == {index, filtered}
    assert policies == [("everybody",)]
    assert shape == table_shape(bench)


def table_shape(bench):
    with bench.database("api") as api:
        return api.execute("""
            select array(select format('%s %s %s', attname, format_type(atttypid, atttypmod), attnotnull)
                           from pg_attribute
                          where attrelid = 'image'::regclass and attnum > 0 and not attisdropped
                          order by attname),
                   array(select pg_get_indexdef(indexrelid) from pg_index
                          where indrelid = 'image'::regclass order by 1),
                   array(select pg_get_constraintdef(oid) from pg_constraint
                          where conrelid = 'image'::regclass order by 1)
        """).fetchone()


def one_failure(bench, moderators, dag_id, task, failure, what, other):
    """Let a task fail, moderate, perhaps run another DAG, clear; then everything must be settled."""
    when, how = failure
    shape = table_shape(bench)
    with bench.failing(dag_id, task, when, how):
        run_id, state = bench.run(dag_id, CONF[dag_id], timeout=400)
    assert state == "failed"
    moderators.decide()
    if other:
        assert bench.run(other, CONF[other], timeout=400)[1] == "success"
        moderators.decide()
    ends_well(
        bench,
        dag_id,
        run_id,
        task,
        what,
        TASKS[dag_id][0],
        lambda: bench.run(dag_id, CONF[dag_id], timeout=400)[1],
    )
    settled(bench, moderators, shape)


@pytest.fixture(scope="module")
def moderators(bench, media):
    return Moderators(bench)


SAMPLE = [
    (
        "image_data_refresh",
        "index_range",
        ("before", "fail"),
        "the task and all after it",
        "create_filtered_image_index",
    ),
    ("image_data_refresh", "promote_indexes", ("before", "fail"), "the task and all after it", None),
    ("image_data_refresh", "check_index", ("after", "kill"), "the whole run", "image_data_refresh"),
    ("image_data_refresh", "copy_tables", ("after", "fail"), "the task", None),
    (
        "create_filtered_image_index",
        "create_filtered_index",
        ("after", "fail"),
        "the task and all after it",
        None,
    ),
    (
        "create_filtered_image_index",
        "promote_filtered_index",
        ("before", "kill"),
        "the task",
        "image_data_refresh",
    ),
]


@pytest.mark.parametrize(("dag_id", "task", "failure", "what", "other"), SAMPLE)
def test_a_failure_and_a_clear(bench, moderators, dag_id, task, failure, what, other):
    one_failure(bench, moderators, dag_id, task, failure, what, other)


OTHERS = [None, "image_data_refresh", "create_filtered_image_index"]


@pytest.mark.fault_long
@pytest.mark.parametrize(
    ("dag_id", "task", "failure", "what", "other"),
    [(dag_id, *combination) for dag_id, tasks in TASKS.items() for combination in pairs(tasks, OTHERS)],
)
def test_every_failure_of_every_task_and_a_clear(bench, moderators, dag_id, task, failure, what, other):
    one_failure(bench, moderators, dag_id, task, failure, what, other)
