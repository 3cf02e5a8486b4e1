"""What is published equals the table, odd values included."""

import hashlib
import json
import math
import unicodedata
from contextlib import closing
from typing import Any

import msgspec
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from psycopg import sql
from upath import UPath

from catalog.core.errors import Fatal
from catalog.core.media import MEDIA_TYPES
from catalog.core.session import SETTINGS
from catalog.data_refresh.search.documents import says_mature
from catalog.data_refresh.search.normal_form import normal_form
from catalog.data_refresh.search.sensitive import parse_terms
from catalog.database import sample_data
from catalog.database.refusals import Found, accept_all, refuse_all
from catalog.database.row_versions import THIS_TRANSACTION
from catalog.publishing import arrow_session, part_writer, versions
from catalog.publishing.columns import TYPES, columns
from catalog.publishing.part_writer import PartWriter
from catalog.publishing.pipeline import Pipeline
from catalog.publishing.plain_tags import plain_tags
from catalog.publishing.sensitive import Sensitive
from catalog.publishing.tags import _tags, parse_tags
from catalog.tests.aws_server import aws_server
from catalog.tests.database.media import fill
from catalog.tests.forms import FORMS, HARMLESS
from catalog.tests.publishing.publisher import Publisher, comparable, table
from catalog.tests.values import present


@pytest.mark.database
@pytest.mark.parametrize(("pages", "least"), [(20, 10), (100_000, 100), (20, 10_000)])
def test_the_dataset_equals_the_tables(dsn, catalog, tmp_path, pages, least):
    sample_data.fill(catalog, "catalog", 3000, seed=3)
    publisher = Publisher(dsn, tmp_path, pages, least)
    publisher.run()
    for media_type in MEDIA_TYPES:
        found, wanted = publisher.rows(media_type), table(catalog, media_type)
        assert len(wanted) > 250
        assert found.keys() == wanted.keys()
        for identifier, row in wanted.items():
            seen, expected = comparable(found[identifier]), comparable(row)
            if not isinstance(row["tags"], list) or any(not isinstance(t, dict) for t in row["tags"]):
                seen.pop("tags"), expected.pop("tags")  # see test_tags_in_bulk_are_those_one_by_one
            assert seen == expected


@pytest.mark.database
def test_odd_providers_and_times(catalog, publisher):
    fill(catalog, 5, providers=("unknown", "a/b", "..", "A", "a", "x=y", "ünïcode", ""))
    fill(catalog, 5, providers=("gone",))
    catalog.execute("update image set provider = null where provider = 'gone'")
    catalog.execute("update image set created_on = 'infinity' where provider = 'a'")
    catalog.execute("update image set removed_from_source = true where foreign_identifier like '%3'")
    publisher.run()
    found = publisher.rows()
    assert len(found) == 9 * 4
    assert {row["provider"] for row in found.values()} == {
        None, "unknown", "a/b", "..", "A", "a", "x=y", "ünïcode", ""
    }  # fmt: skip
    assert {row["created_on"] for row in found.values() if row["provider"] == "a"} == {None}
    assert len(publisher.manifest()["providers"]) == 9


@pytest.mark.database
def test_values_that_arrow_does_not_have(catalog, publisher):
    sample_data.fill(catalog, "catalog", 200)
    values: dict[str, dict[str, Any]] = {
        "genres": {
            "'[3:4]={a,b}'": ["a", "b"], "'{{a,b},{c,d}}'": ["a", "b", "c", "d"], "'{}'": [], "null": None,
            "'{a,null}'": ["a", None],
        },
        "created_on": {"'-infinity'": None, "'0044-03-15 BC'": None, "'294276-12-31'": None},
        "tags": {"""'[{"name": "x", "accuracy": 12345678901234567890}, 5]'""": [
            {"name": "x", "provider": None, "accuracy": 12345678901234567890.0}
        ]},
    }  # fmt: skip
    records = [
        str(row[0]) for row in catalog.execute("select identifier from audio where not removed_from_source")
    ]
    wanted = {}
    for column, forms in values.items():
        for form, published in forms.items():
            identifier = records.pop()
            catalog.execute(f"update audio set {column} = {form} where identifier = %s", [identifier])
            wanted[identifier, column] = published
    publisher.begin()
    publisher.write()
    publisher.publish()
    found = publisher.rows("audio")
    assert {key: found[key[0]][key[1]] for key in wanted} == wanted


@pytest.mark.database
def test_memory_and_groups_do_not_depend_on_the_rows(dsn, catalog, tmp_path, monkeypatch):
    """Small row groups and files: rows of several batches, and of several providers, are put together."""
    monkeypatch.setattr(part_writer, "BATCH_BYTES", 20_000)
    fill(catalog, 300, providers=("a", "b", "c"))
    with psycopg.connect(dsn, autocommit=True) as holder:
        holder.execute("begin isolation level repeatable read, read only")
        (name,) = present(holder.execute("select pg_export_snapshot()").fetchone())
        connection = arrow_session.connect(arrow_session.conninfo_of(holder))
        arrow_session.read_in(connection, name)
        catalog.execute("delete from image")  # the snapshot still has them
        with Pipeline() as pipeline:
            writer = PartWriter(pipeline, UPath(tmp_path), "image", 0, file_rows=120, group_rows=50)
            writer.read(connection, psycopg.sql.SQL("true"))
            written = writer.written()
        connection.close()
    assert written.rows_read == sum(file.rows for file in written.files) == 900
    assert len(written.files) > 6
    for file in written.files:
        metadata = pq.ParquetFile(tmp_path / file.path).metadata
        sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        assert min(sizes[:-1], default=50) >= 50


def test_rows_of_a_rare_provider_do_not_keep_whole_batches(tmp_path):
    names = [column.name for column in columns("image")]
    values = {name: pa.nulls(1000, pa.string()) for name in names}
    values["provider"] = pa.array(["rare"] + ["common"] * 999)
    values["identifier"] = values["title"] = pa.array([f"{number:0100}" for number in range(1000)])
    batch = pa.record_batch(values)
    writer = PartWriter(Pipeline(), UPath(tmp_path), "image", 0)
    assert not list(writer._hold(batch))
    held = {provider: rows for provider, (rows,) in writer._held.items()}
    assert {provider: rows.num_rows for provider, rows in held.items()} == {"common": 999, "rare": 1}
    assert held["common"].get_total_buffer_size() > 200_000
    assert held["rare"].get_total_buffer_size() < 20_000  # with the whole buffers that a slice refers to


@pytest.mark.database
def test_the_reading_session_has_our_settings(dsn, catalog):
    (name,) = present(catalog.execute("select current_database()").fetchone())
    catalog.execute(
        psycopg.sql.SQL("alter database {} set idle_in_transaction_session_timeout = 1000").format(
            psycopg.sql.Identifier(name)
        )
    )
    with closing(arrow_session.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("select name, setting from pg_settings")
        found = dict(cursor.fetchall())
    wanted = {**SETTINGS, "lock_timeout": "600000"}
    assert {key: found[key] for key in wanted if key in found} == {
        k: v for k, v in wanted.items() if k in found
    }


@pytest.mark.database
def test_a_part_that_fails_leaves_no_file_that_is_not_whole(dsn, catalog, publisher):
    fill(catalog, 200)
    publisher.begin()

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publisher.write(should_stop=stop)
    assert not [name for name in publisher.files() if name.endswith(".partial")]
    assert publisher.pointer() is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(0, 100) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "provider", "accuracy", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)
TAG = st.fixed_dictionaries(
    {"name": st.text(max_size=5)},
    optional={
        "provider": st.none() | st.text(max_size=5),
        "accuracy": st.none() | st.floats(0, 100) | st.sampled_from([2**63, 10**400, -(10**4000)]),
    },
)


@example([[{"name": "a", "accuracy": 10**400}]], 0)
@example([[{"name": "a", "accuracy": 2**64}], 5], 0)
@given(st.lists(st.none() | st.lists(TAG, max_size=4) | JSON, max_size=300), st.integers(0, 3))
def test_tags_in_bulk_are_those_one_by_one(values, first):
    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    found = parse_tags(pa.array(texts, pa.string()).slice(first)).to_pylist()
    assert found == pa.array([_tags(text) for text in texts[first:]], TYPES["tags"]).to_pylist()


def as_jsonb(value: Any) -> str | None:
    """Return a value as PostgreSQL writes `jsonb`: shorter keys first, numbers without an exponent."""
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: (len(item[0]), item[0]))
        return "{" + ", ".join(f"{json.dumps(key)}: {as_jsonb(inner)}" for key, inner in items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(str(as_jsonb(inner)) for inner in value) + "]"
    return f"{value:f}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


QUOTED = st.sampled_from(
    ['"', "\\", '\\"', ', "', '"}, {"name": "', "{", "]", "\n", "\0x", "é", "\U0001f989"]
)
NAME = st.text(max_size=3) | st.lists(QUOTED, max_size=3).map("".join)
INGESTED = st.fixed_dictionaries(
    {"name": NAME},
    optional={"provider": NAME, "accuracy": st.floats(0, 1) | st.sampled_from([0, 1, 10**300])},
)


@example([[{"name": "a"}], [{"name": "b"}, {"provider": "c"}]], 0)
@example(
    [[{"name": "a"}, "b"], {"name": "c"}, [[{"name": "d"}]], [{"name": ["e"]}], [{"x": {"name": "f"}}]], 0
)
@example([[{"name": "a", "accuracy": 0.5}, 7], [{"name": "a", "accuracy": 0.5}]], 0)
@given(st.lists(st.none() | st.lists(INGESTED | TAG, max_size=4) | JSON, max_size=8), st.integers(0, 3))
def test_tags_without_a_parser_are_those_one_by_one(values, first):
    texts = [None if value is None else as_jsonb(value) for value in values]
    found = plain_tags(pa.array(texts, pa.string()).slice(first))
    if found is not None:
        found.validate(full=True)
        assert (
            found.to_pylist() == pa.array([_tags(text) for text in texts[first:]], TYPES["tags"]).to_pylist()
        )


@given(st.lists(st.none() | st.lists(INGESTED, max_size=4), max_size=30))
def test_ingested_tags_need_no_parser(values):
    assume(any(values))
    texts = [None if value is None else as_jsonb(value) for value in values]
    found = present(plain_tags(pa.array(texts, pa.string())))
    assert found.to_pylist() == pa.array([_tags(text) for text in texts], TYPES["tags"]).to_pylist()


def test_tags_of_another_form():
    odd = '["a", {"name": "b", "accuracy": "high"}, {"name": 5}, 7]'
    texts = [odd, '{"name": "c"}', '[{"name":"d"}]'] * 90
    assert parse_tags(pa.array(texts)).to_pylist()[:3] == [
        [
            {"name": "a", "provider": None, "accuracy": None},
            {"name": "b", "provider": None, "accuracy": None},
        ],
        None,
        [{"name": "d", "provider": None, "accuracy": None}],
    ]
    assert present(_tags('[{"name": "x", "accuracy": 1}]'))[0]["accuracy"] == 1
    assert math.isclose(parse_tags(pa.array(['[{"name": "x", "accuracy": 1}]']))[0][0]["accuracy"].as_py(), 1)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("a bad word", True),
        ("BAD", True),
        ("badly", False),
        ("\uff22\uff21\uff24", True),
        ("b\u00adad", True),
        ("two  words", True),
        ("two-words", True),
        ("twowords", False),
        ("不好的", True),
        ("harmless", False),
        (None, False),
    ],
)
def test_sensitive_words(text, hidden):
    find = Sensitive(["bad", "two words", "不好"], normal_form)
    none, tags = pa.array([None], pa.string()), pa.array([None], TYPES["tags"])
    given_text = pa.array([text], pa.string())
    tagged = pa.array([[{"name": text}] if text else []], TYPES["tags"])
    assert find(given_text, none, tags).to_pylist() == [hidden]
    assert find(none, given_text, tags).to_pylist() == [hidden]
    assert find(none, none, tagged).to_pylist() == [hidden]


def test_terms_find_what_they_hide_in_the_filtered_index():
    none, tags = pa.nulls(2, pa.string()), pa.nulls(2, TYPES["tags"])
    for term, text in FORMS:
        texts = pa.array([text, HARMLESS])
        found = Sensitive(parse_terms(term), normal_form)
        assert found(texts, none, tags).to_pylist() == [True, False], (term, text)
        assert found(none, texts, tags).to_pylist() == [True, False], (term, text)


def test_tags_are_no_phrase_together():
    tagged = pa.array([[{"name": "bad"}, {"name": "word"}]], TYPES["tags"])
    none = pa.array([None], pa.string())
    assert Sensitive(["name", "provider", "bad word"], normal_form)(none, none, tagged).to_pylist() == [False]
    assert Sensitive([f"t{n}" for n in range(5000)] + ["word"], normal_form)(none, none, tagged)[0].as_py()


def words(text: str) -> list[str]:
    """Return the words of a text, by the rule and without any speed."""
    found, last = list[str](), "sign"
    for char in text:
        if char in "不好" or "\u0e00" <= char <= "\u0eff":
            found.append(char)
            last = "alone"
        elif unicodedata.category(char)[0] == "M":
            if last == "letter":
                found[-1] += char
        elif not char.isalnum():
            last = "sign"
        elif last == "letter":
            found[-1] += char
        else:
            found.append(char)
            last = "letter"
    return found


def contains(text: str, term: str) -> bool:
    """Return whether a text has the words of a term, one after the other."""
    there, wanted = words(text), words(term)
    return any(there[at : at + len(wanted)] == wanted for at in range(len(there)))


_TEXTS = st.text("aab1_ -.+<éßñ不好ไท\u0301\u093e\u0e31'", min_size=1, max_size=10)


@given(st.lists(_TEXTS, min_size=1, max_size=4), st.lists(_TEXTS, min_size=1, max_size=20))
@example(
    ["bad", "c++", "不好"], ["abad", "ébad", "bad\u0301", "(bad)", "c++", "c+++", "c++x", "x不好x", "bad-"]
)
def test_sensitive_terms_are_whole_words(terms, texts):
    normal = [normal_form(term) for term in terms]
    assume(all(map(words, normal)))
    titles = pa.array(texts, pa.string())
    tags = pa.nulls(len(texts), TYPES["tags"])
    found = Sensitive(terms, normal_form)(titles, pa.nulls(len(texts), pa.string()), tags)
    assert found.to_pylist() == [any(contains(normal_form(text), term) for term in normal) for text in texts]


@pytest.mark.database
def test_sensitive_records_are_left_out(catalog, publisher):
    fill(catalog, 20)
    catalog.execute("update image set title = 'so bad' where foreign_identifier = 'smk1'")
    catalog.execute("""update image set meta_data = '{"description": "it is bad."}'
                        where foreign_identifier = 'smk2'""")
    catalog.execute("""update image set tags = '[{"name": "bad"}]' where foreign_identifier = 'flickr3'""")
    sensitive = {"description": "bad"}
    for number, meta_data in enumerate(([sensitive], json.dumps(sensitive), None), 4):
        catalog.execute(
            "update image set meta_data = %s where foreign_identifier = %s",
            [json.dumps(meta_data), f"flickr{number}"],
        )
    publisher.begin()
    publisher.write(sensitive=Sensitive(["bad"], normal_form))
    publisher.publish()
    found = {row["foreign_identifier"] for row in publisher.rows().values()}
    assert len(found) == 35
    assert not found & {"smk1", "smk2", "flickr3", "flickr4", "flickr5"}


@pytest.mark.database
@pytest.mark.parametrize("value", ["true", '"TRUE"', "1", '"yes"', "[1]", "0.5", '"0"', '"[]"'])
def test_what_the_provider_calls_mature_is_sensitive(catalog, publisher, value):
    """As `mature` in the documents of the search index."""
    assert says_mature(json.loads(value))
    harmless = ["false", '"False"', "0", "0.000", '""', "null", "[]", "{}"]
    assert not any(says_mature(json.loads(one)) for one in harmless)
    fill(catalog, 20)
    for number, one in enumerate([value, *harmless], 1):
        catalog.execute(
            "update image set meta_data = %s where foreign_identifier = %s",
            [f'{{"mature": {one}}}', f"flickr{number}"],
        )
    publisher.begin()
    publisher.write(sensitive=Sensitive(["bad"], normal_form))
    publisher.publish()
    assert {row["foreign_identifier"] for row in publisher.rows().values()} == {
        f"{provider}{number}" for provider in ("flickr", "smk") for number in range(1, 21)
    } - {"flickr1"}


@pytest.mark.database
def test_what_moderators_have_deleted_is_left_out(catalog, publisher):
    fill(catalog, 20)
    keys = list(table(catalog))
    publisher.begin()
    publisher.write(moderated={"image": keys[:7], "audio": keys[7:9]})
    publisher.publish()
    assert publisher.rows().keys() == {*keys[7:]}
    assert publisher.manifest()["left_out"] == {"image": 7, "audio": 0}


@pytest.mark.database
def test_decisions_of_moderators_that_apply_no_longer_are_noticed(catalog, publisher):
    """As without the connection to the API's database, or in a run that an earlier release has begun."""
    fill(catalog, 20)
    with pytest.raises(Fatal, match="an earlier release began version 1, without the decisions"):
        versions.require_moderated(publisher.begin("one"))
    publisher.settings = {"include_sensitive": True, versions.MODERATED: True}
    versions.require_moderated(publisher.begin("two"))
    publisher.run("two")
    assert "| Decisions of moderators | applied |" in (publisher.root / "v2" / "README.md").read_text()
    known = {"image": {"deleted": {"number": 1, "sample": ["a"], "newest": ["a"]}}}
    publisher.settings = {**publisher.settings, versions.DECISIONS: known}
    publisher.run("decided")
    assert versions.DECISIONS not in publisher.manifest()["settings"]  # everybody can read that
    with publisher.connected() as connection:
        assert versions.newest_settings(connection, publisher.root) == publisher.settings
    publisher.settings = {**publisher.settings, versions.MODERATED: False}
    publisher.begin("three")
    publisher.write("three")
    publisher.compare("three")
    with pytest.raises(Fatal, match="what moderators have deleted is not left out, as it was before"):
        publisher.publish("three")
    publisher.publish("three", judge=accept_all)


@pytest.mark.database
@pytest.mark.parametrize("lost", [0, 2, 40])
def test_decisions_that_the_database_does_not_know_are_counted(catalog, publisher, lost):
    """As after a restore of the catalog and of the API's database, which lack those of the newest version."""
    fill(catalog, 100)
    keys = list(table(catalog))[:60]
    publisher.settings = {"include_sensitive": False, versions.MODERATED: True, versions.DECISIONS: {}}

    def write(run, decided):
        publisher.begin(run, successor=True)
        publisher.write(run, sensitive=Sensitive(["x"], normal_form), moderated={"image": decided})
        publisher.compare(run)

    write("one", keys)
    publisher.publish("one")
    catalog.execute("delete from dataset_part")
    catalog.execute("delete from dataset_version")
    catalog.execute("select setval(pg_get_serial_sequence('dataset_version', 'number'), 1)")
    write("two", keys[lost:])
    if lost < 40:
        publisher.publish("two", successor=True)
        return
    text = r"image: 20 records without a sensitive term are left out .* 60 in the version before"
    with pytest.raises(Fatal, match=text):
        publisher.publish("two", successor=True)
    publisher.publish("two", successor=True, judge=accept_all)


@pytest.mark.database
def test_a_list_of_terms_that_finds_far_fewer_records_is_refused(catalog, publisher):
    fill(catalog, 40)
    catalog.execute("update image set title = 'so bad' where provider = 'smk'")

    def written(run, term):
        publisher.begin(run)
        publisher.write(run, sensitive=Sensitive([term], normal_form))
        publisher.compare(run)

    publisher.settings = {"include_sensitive": False}
    written("one", "bad")
    publisher.publish("one")
    written("two", "service unavailable")
    with pytest.raises(Fatal, match=r"image: 0 records contain a sensitive term, 40 in the version before"):
        publisher.publish("two")
    assert publisher.pointer() == 1
    publisher.publish("two", judge=accept_all)
    publisher.settings = {"include_sensitive": True}
    assert publisher.run("three") == 3


@pytest.mark.database
def test_the_same_list_of_terms_that_finds_far_fewer_records_is_not_another_one(catalog, publisher):
    """After a takedown in the catalog itself, in which most records with a term are deleted."""
    fill(catalog, 40)
    catalog.execute("update image set title = 'so bad' where provider = 'smk'")

    def written(run, digest, **options):
        publisher.settings = {"include_sensitive": False, versions.TERMS: digest}
        publisher.begin(run)
        publisher.write(run, sensitive=Sensitive(["bad"], normal_form))
        publisher.compare(run)
        publisher.publish(run, **options)

    written("one", "of a list")
    catalog.execute("delete from image where provider = 'smk'")
    with pytest.raises(Fatal, match=r"image: 0 records contain a sensitive term, 40 in the version before"):
        written("two", "of another one")
    written("three", "of a list")
    assert publisher.manifest()["left_out"]["image"] == 0


@pytest.mark.database
def test_a_list_of_terms_is_compared_with_the_last_one_that_was_counted(catalog, publisher):
    """A version between them may include sensitive records, for which no terms are looked for."""
    fill(catalog, 40)
    catalog.execute("update image set title = 'so bad' where provider = 'smk'")

    def written(run, digest, term):
        publisher.settings = {"include_sensitive": False, versions.TERMS: digest}
        publisher.begin(run)
        publisher.write(run, sensitive=Sensitive([term], normal_form))
        publisher.compare(run)
        publisher.publish(run)

    written("one", "of a list", "bad")
    publisher.settings = {"include_sensitive": True}
    publisher.run("two")
    publisher.run("three")
    publisher.delete_old(keep=1)
    with pytest.raises(Fatal, match=r"image: 0 records contain a sensitive term, 40 in version 1, so"):
        written("four", "of another one", "service unavailable")
    catalog.execute(
        "update image set title = 'good' where identifier in (select identifier from image limit 40)"
    )
    catalog.execute("update image set title = 'good' where provider = 'smk'")
    written("five", "of a list", "bad")
    assert publisher.manifest()["with_term"]["image"] == 0


def accepting_kinds(*kinds):
    """Judge for a run that accepts only these, as the others were not reported."""

    def judge(found):
        refused = refuse_all({kind: one for kind, one in found.items() if kind not in kinds})
        return msgspec.structs.replace(refused, accepted=["what was reported"])

    return judge


@pytest.mark.database
def test_losses_of_one_media_type_are_accepted_without_those_of_the_other(catalog, publisher):
    sample_data.fill(catalog, "catalog", 120)
    catalog.execute("delete from audio where identifier not in (select identifier from audio limit 9)")
    catalog.execute("update audio set removed_from_source = false")
    publisher.run("one")
    catalog.execute("delete from audio where identifier in (select identifier from audio limit 1)")
    publisher.run("two")  # one of nine is no suspicious loss
    catalog.execute("delete from audio")

    def publish(run, **options):
        publisher.begin(run)
        publisher.write(run)
        publisher.compare(run)
        publisher.publish(run, **options)

    with pytest.raises(Fatal, match=r"suspicious: audio: 0 records, 8 are published\. The version before"):
        publish("three")
    publish("four", judge=accepting_kinds("dataset, audio: records"))
    catalog.execute("delete from image where identifier in (select identifier from image limit 60)")
    with pytest.raises(Fatal, match="suspicious: image: "):
        publish("five", judge=accepting_kinds("dataset, audio: records"))
    publish("five", judge=accepting_kinds("dataset, image: records"))


@pytest.mark.database
def test_losses_of_another_kind_are_not_accepted(catalog, publisher):
    """Who accepts that records are gone has seen nothing of a missing disk, of terms or of moderators."""
    fill(catalog, 40)
    catalog.execute("update image set title = 'so bad' where provider = 'smk'")

    def publish(run, term, **options):
        publisher.begin(run)
        publisher.write(run, sensitive=Sensitive([term], normal_form))
        publisher.compare(run)
        publisher.publish(run, **options)

    records = accepting_kinds("dataset, image: records", "dataset, audio: records")
    publisher.settings = {"include_sensitive": False, versions.MODERATED: True}
    publish("one", "bad")
    catalog.execute("delete from image where foreign_identifier similar to '%(1|2|3|4)'")
    publisher.settings |= {versions.MODERATED: False}
    with pytest.raises(Fatal, match="suspicious: what moderators have deleted is not left out") as refused:
        publish("two", "service unavailable", judge=records)
    assert "are published" not in str(refused.value)
    assert "records contain a sensitive term" in str(refused.value)
    (publisher.root / "latest.json").unlink()
    with pytest.raises(Fatal, match="is gone, although version 1 was published there"):
        publish("three", "service unavailable", judge=records)


@pytest.mark.database
def test_what_was_reported_of_one_list_of_terms_is_not_accepted_of_another(catalog, publisher):
    fill(catalog, 40)
    catalog.execute("update image set title = 'so bad' where provider = 'smk'")
    reported: list[Found] = []

    def judge(found):
        reported.append(found)
        return refuse_all(found)

    def publish(run, digest, judge):
        publisher.settings = {"include_sensitive": False, versions.TERMS: digest}
        publisher.begin(run)
        publisher.write(run, sensitive=Sensitive(["bad" if run == "one" else "unavailable"], normal_form))
        publisher.compare(run)
        publisher.publish(run, judge=judge)

    publish("one", "of a list", refuse_all)
    for digest in ("of another", "of a third one"):
        with pytest.raises(Fatal, match="0 records contain a sensitive term"):
            publish(digest, digest, judge)
    subjects = [(one.subject, one.remains) for found in reported for one in found["dataset, image: terms"]]
    assert subjects == [("of another", 0), ("of a third one", 0)]


@pytest.mark.database
@pytest.mark.parametrize("moderated", [40, 30, 0])
def test_what_terms_find_does_not_depend_on_decisions_of_moderators(catalog, publisher, moderated):
    """Moderators often decide about records that contain a term, also while a version is written."""
    fill(catalog, 40)
    catalog.execute("update image set title = 'so bad' where provider = 'smk'")
    bad = [str(key) for (key,) in catalog.execute("select identifier from image where title = 'so bad'")]

    def written(run, digest, terms, decided):
        publisher.settings = {"include_sensitive": False, versions.TERMS: digest}
        publisher.begin(run)
        publisher.write(run, sensitive=Sensitive(terms, normal_form), moderated={"image": bad[:decided]})
        publisher.compare(run)
        publisher.publish(run)

    written("one", "1", ["bad"], 40 - moderated)
    written("two", "2", ["bad", "x"], moderated)
    assert publisher.manifest()["with_term"] == {"image": 40, "audio": 0}
    with pytest.raises(Fatal, match=r"image: 0 records contain a sensitive term, 40 in the version before"):
        written("three", "3", ["service unavailable"], moderated)


def forget(publisher, *names):
    """Let version 1 be one of an earlier release, whose manifest did not have these attributes."""
    if "with_term" in names:
        with publisher.connected() as connection:
            connection.execute(
                sql.SQL(
                    "update dataset_part set with_term = null, transaction = {} where version = 1"
                ).format(THIS_TRANSACTION)
            )
    made = publisher.manifest(1)
    for name in names:
        del made[name]
    data = json.dumps(made).encode()
    (publisher.root / "v1" / "manifest.json").write_bytes(data)
    named = json.loads((publisher.root / "latest.json").read_text())
    named["manifest_sha256"] = hashlib.sha256(data).hexdigest()
    (publisher.root / "latest.json").write_text(json.dumps(named))


@pytest.mark.database
def test_what_moderators_had_deleted_in_a_version_of_an_earlier_release_is_no_term(catalog, publisher):
    fill(catalog, 40)
    publisher.settings = {"include_sensitive": False, versions.MODERATED_RECORDS: {"image": 30}}
    publisher.begin("one")
    publisher.write(
        "one", sensitive=Sensitive(["x"], normal_form), moderated={"image": list(table(catalog))[:30]}
    )
    publisher.publish("one")
    forget(publisher, "with_term")
    publisher.settings = {"include_sensitive": False}
    publisher.begin("two")
    publisher.write("two", sensitive=Sensitive(["y"], normal_form))
    publisher.compare("two")
    publisher.publish("two")
    assert publisher.manifest()["left_out"]["image"] == 0


@pytest.mark.database
@pytest.mark.parametrize(("moderated", "refused"), [(0, False), (300, True)])
def test_a_first_version_after_an_upgrade_is_compared_by_what_is_left_out(
    catalog, publisher, moderated, refused
):
    """Most of what was left out may be what providers call mature, and contain no term."""
    fill(catalog, 400)
    first = "identifier in (select identifier from image where not removed_from_source order by 1 limit {})"
    for values, number in (("""meta_data = '{"mature": true}'""", 120), ("title = 'so bad'", 5)):
        catalog.execute(f"update image set {values} where {first.format(number)}")

    def written(run, term, **options):
        publisher.begin(run)
        publisher.write(run, sensitive=Sensitive([term], normal_form), **options)
        publisher.compare(run)
        publisher.publish(run)

    publisher.settings = {"include_sensitive": False, versions.TERMS: "of a list"}
    written("one", "bad")
    assert publisher.manifest()["left_out"]["image"] == 120
    forget(publisher, "with_term")
    decisions = {"image": {"deleted": {"number": moderated, "sample": []}}}
    publisher.settings |= {versions.TERMS: "of another one", versions.DECISIONS: decisions}
    if not refused:
        written("two", "other")
        assert publisher.manifest()["with_term"]["image"] == 0
        return
    catalog.execute("update image set meta_data = null")
    said = r"image: 300 records are left out \(up to 300 by moderators\), 120 in the version before, and"
    shown = [str(key) for (key,) in catalog.execute("select identifier from image order by 1 limit 300")]
    with pytest.raises(Fatal, match=said):
        written("two", "service unavailable", moderated={"image": shown})


@pytest.mark.database
@pytest.mark.parametrize("known", [True, False], ids=["this catalog", "another one"])
def test_a_manifest_of_an_earlier_release_does_not_say_that_nothing_was_hidden(catalog, publisher, known):
    fill(catalog, 40)
    catalog.execute("update image set title = 'so bad' where provider = 'smk'")
    publisher.settings = {"include_sensitive": False}

    def written(run, term, **options):
        publisher.begin(run, **options)
        publisher.write(run, sensitive=Sensitive([term], normal_form))
        publisher.compare(run)

    written("one", "bad")
    publisher.publish("one")
    forget(publisher, "left_out", "with_term")
    if not known:
        catalog.execute("delete from dataset_version")
    written("two", "service unavailable", successor=True)
    said = (
        "image: 0 records are left out, 40 in the version before, and those with a sensitive term were"
        if known
        else "version 1 does not say how many sensitive records .* this version has left out 0 audio, 0 image"
    )
    with pytest.raises(Fatal, match=said):
        publisher.publish("two", successor=True)
    publisher.publish("two", successor=True, judge=accept_all)


@pytest.mark.database
@pytest.mark.enable_socket
def test_object_storage(dsn, catalog):
    import boto3

    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    with aws_server() as address:
        boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="published")
        root = UPath("s3://published/dataset", endpoint_url=address, key="testing", secret="testing")
        (root / "v1" / "theirs.txt").write_text("somebody else's")
        fill(catalog, 30, providers=("flickr", "a/b"))
        publisher = Publisher(dsn, root)
        assert publisher.run("one") == 2
        assert publisher.rows().keys() == table(catalog).keys()
        assert [publisher.run(f"run {n}") for n in range(2)] == [3, 4]
        assert publisher.delete_old(keep=1) == [2, 3]
        assert publisher.pointer() == 4
        assert publisher.rows().keys() == table(catalog).keys()
        assert {path.name for path in root.iterdir()} == {"v1", "v4", "latest.json"}
        damaged = publisher.manifest()["files"][0]
        (root / "v4" / damaged["path"]).write_bytes(bytes(damaged["bytes"]))
        assert publisher.run("another") == 5
        assert publisher.manifest()["changes"]["lost"] == damaged["path"]
