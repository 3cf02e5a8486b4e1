"""iNaturalist's dump, in a real PostgreSQL: what becomes of its rows, and that every step may be repeated."""

import gzip
import os
import zipfile
from operator import itemgetter
from uuid import UUID

import orjson
import psycopg
import pytest
from psycopg.rows import dict_row
from upath import UPath

from catalog.ingestion.errors import Fatal, Interrupted
from catalog.ingestion.provider import FOLDER
from catalog.providers.inaturalist import dump
from catalog.providers.inaturalist.provider import FILES
from catalog.scaffold.rows import expected_file

RUN = ("inaturalist_workflow", "test")
TAXA = [
    (48460, "", "Life"),
    (1, "48460", "Animalia"),
    (20978, "48460/1", "Amphibia"),
    (23540, "48460/1/20978", "Hylidae"),
    (99, "48460/1", "Not assigned"),
    (7, "48460/1", "Madeupia nova"),
]
COMMON = [
    ("T1", "Tree Frog", "AU"),
    ("T1", "tree frog ", "NZ"),
    ("T1", "Laubfrosch", "DE"),
    ("T2", "Newcomer", None),
]


def uuid(number):
    return UUID(int=number)


def write(folder, name, header, rows):
    text = (
        "\t".join(header)
        + "\n"
        + "".join("\t".join("" if v is None else str(v) for v in row) + "\n" for row in rows)
    )
    (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))


def photo(number, observation, license_="CC-BY", extension="jpeg", observer=1):
    return (uuid(number), number, uuid(observation), observer, extension, license_, 800, 600, 0)


PHOTOS = [
    photo(101, 1), photo(102, 1, "CC0", "PNG"), photo(103, 2, observer=2), photo(103, 1), photo(104, 3), photo(105, 4), photo(106, 9),
    photo(107, 1, "GFDL"), photo(108, 1, observer=3), photo(305, 2, "PD", observer=2),
]  # fmt: skip
PHOTO_COLUMNS = (
    "photo_uuid",
    "photo_id",
    "observation_uuid",
    "observer_id",
    "extension",
    "license",
    "width",
    "height",
    "position",
)


def write_dump(folder, photos=PHOTOS, header=PHOTO_COLUMNS):
    folder.mkdir(exist_ok=True)
    write(folder, "photos", header, photos)
    observations = [(uuid(1), 1, 23540), (uuid(2), 2, 7), (uuid(3), 1, 99), (uuid(4), 1, None)]
    write(folder, "observations", ("observation_uuid", "observer_id", "taxon_id"), observations)
    write(
        folder,
        "observers",
        ("observer_id", "login", "name"),
        [(1, "mia", 'Mia "M" Maker'), (2, "olaf", None)],
    )
    write(
        folder,
        "taxa",
        ("taxon_id", "ancestry", "rank_level", "rank", "name", "active"),
        [(i, a, 10, "x", n, "true") for i, a, n in TAXA],
    )
    with zipfile.ZipFile(folder / "catalogue_of_life.zip", "w") as files:
        rows = "".join(f"{i}\tx\t{n}\t{c or ''}\n" for i, n, c in COMMON)
        files.writestr("VernacularName.tsv", "col:taxonID\tcol:sourceID\tcol:name\tcol:country\n" + rows)
        files.writestr(
            "NameUsage.tsv",
            "col:ID\tcol:scientificName\tcol:rank\nT1\tHylidae\tfamily\nT2\tSomebodia else\tspecies\n",
        )
    return UPath(folder)


@pytest.fixture
def connection(dsn):
    with psycopg.connect(dsn) as connection:
        yield connection


def load(connection, root, size=4, **more):
    """All steps of the DAG, in order."""
    token = dump.token(root)
    dump.prepare(connection, token)
    archive = root / "catalogue_of_life.zip"
    dump.load_names(connection, archive if archive.exists() else None)
    for name in FILES:
        dump.load_file(connection, root, name)
    dump.name_taxa(connection)
    dump.load_batches(connection, token, RUN, size=size, **more)
    return token


def images(connection):
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        return {int(r["foreign_identifier"]): r for r in cursor.execute("select * from image order by 1")}


def reports(connection):
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select * from ingestion_report order by day_shift").fetchall()


def test_a_dump(connection, tmp_path):
    load(connection, write_dump(tmp_path / "dump"))
    found = images(connection)
    assert set(found) == {101, 102, 103, 305}
    one = found[101]
    assert (one["license"], one["license_version"], one["filetype"], one["category"]) == (
        "by",
        "4.0",
        "jpg",
        "photograph",
    )
    assert one["meta_data"] == {"license_url": "https://creativecommons.org/licenses/by/4.0/"}
    assert one["url"] == "https://inaturalist-open-data.s3.amazonaws.com/photos/101/original.jpeg"
    assert (one["foreign_landing_url"], one["ingestion_type"]) == (
        "https://www.inaturalist.org/photos/101",
        "sql_bulk_load",
    )
    assert (one["creator"], one["creator_url"]) == ('Mia "M" Maker', "https://www.inaturalist.org/users/1")
    assert one["title"] == "laubfrosch, tree frog"
    assert [t["name"] for t in one["tags"]] == ["Hylidae", "Amphibia", "Animals"]
    assert found[102]["url"].endswith("/original.PNG")
    assert (found[102]["license"], found[102]["filetype"]) == ("cc0", "png")
    assert (found[103]["creator"], found[103]["title"]) == (
        'Mia "M" Maker',
        "laubfrosch, tree frog",
    )  # of two, the first observation
    assert (found[305]["license"], found[305]["license_version"], found[305]["creator"]) == (
        "pdm",
        "1.0",
        "olaf",
    )
    first, second, last = reports(connection)
    assert (first["fetched"], first["inserted"], first["skipped_reasons"]) == (
        4,
        3,
        {"photo of several observations": 1},
    )
    assert (second["fetched"], second["inserted"]) == (4, 0)
    assert second["skipped_reasons"] == {
        "unknown taxon": 2,
        "unknown observation": 1,
        "license not accepted": 1,
    }
    assert (last["day_shift"], last["inserted"], last["skipped_reasons"]) == (2, 1, {"unknown observer": 1})


def test_the_same_dump_again_is_unchanged_and_known(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    token = load(connection, root)
    assert not dump.is_loaded(connection, token)
    dump.finish(connection, token, drop=True)
    assert dump.is_loaded(connection, token)
    with connection.transaction():
        assert connection.execute("select to_regnamespace('inaturalist')").fetchone() == (None,)
        connection.execute("delete from ingestion_report")
    load(connection, root)
    assert [(r["inserted"], r["unchanged"]) for r in reports(connection)] == [(0, 3), (0, 0), (0, 1)]


def test_it_goes_on_at_the_batch_it_had_come_to(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    with pytest.raises(Interrupted, match="after batch 1 of 3"):
        load(connection, root, should_stop=lambda: True)
    assert [r["day_shift"] for r in reports(connection)] == [0]
    seen = []
    load(
        connection, root, progress=lambda batch, of, report: seen.append((batch.number, of, report.inserted))
    )
    assert seen == [(1, 3, 0), (2, 3, 1)]
    assert set(images(connection)) == {101, 102, 103, 305}


def test_a_changed_dump_starts_anew(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    before = load(connection, root)
    write_dump(tmp_path / "dump", [*PHOTOS, photo(306, 1)])
    assert load(connection, root) != before
    assert 306 in images(connection)


def test_columns_are_found_by_name(connection, tmp_path):
    """Another order, and one that the dump does not have today."""
    header = ("photo_id", "new_column", *(c for c in PHOTO_COLUMNS if c != "photo_id"))
    load(connection, write_dump(tmp_path / "dump", [(p[1], "x", p[0], *p[2:]) for p in PHOTOS], header))
    assert set(images(connection)) == {101, 102, 103, 305}


def test_an_unreadable_row_is_counted(connection, tmp_path):
    root = write_dump(tmp_path / "dump", [*PHOTOS, ("no uuid", "x", *photo(1, 1)[2:])])
    if connection.info.server_version < 170_000:  # COPY cannot leave rows out
        with pytest.raises(Fatal, match=r"photos.csv.gz: invalid input syntax for type uuid.*line 11"):
            load(connection, root)
        return
    load(connection, root)
    first = reports(connection)[0]
    assert (first["fetched"], first["rejected_reasons"]) == (5, {"unreadable row": 1})
    assert set(images(connection)) == {101, 102, 103, 305}


def test_without_common_names_the_scientific_one_is_the_title(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    (root / "catalogue_of_life.zip").unlink()
    load(connection, root)
    one = images(connection)[101]
    assert (one["title"], [t["name"] for t in one["tags"]]) == ("Hylidae", ["Amphibia", "Animals"])


def test_what_is_missing_is_named(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    dump.prepare(connection, dump.token(root))
    with zipfile.ZipFile(root / "catalogue_of_life.zip", "w") as files:
        files.writestr("VernacularName.tsv", "taxonID\tlanguage\n")
    with pytest.raises(
        Fatal, match=r"VernacularName.tsv has no column country, name; it has taxonID, language"
    ):
        dump.load_names(connection, root / "catalogue_of_life.zip")
    (root / "taxa.csv.gz").unlink()
    with pytest.raises(Fatal, match=r"taxa.csv.gz; the dump should hold photos.csv.gz"):
        dump.token(root)


def test_the_recording_yields_the_expected_rows(connection):
    load(connection, UPath(FOLDER / "inaturalist" / "recording"))
    expected = [orjson.loads(line) for line in expected_file("inaturalist").read_bytes().splitlines()]
    found = [{key: row[key] for key in expected[0]} for row in images(connection).values()]
    assert sorted(found, key=itemgetter("foreign_identifier")) == sorted(
        expected, key=itemgetter("foreign_identifier")
    )


@pytest.mark.skipif(
    "SAMPLES" not in os.environ, reason="SAMPLES names a folder of recordings of real answers"
)
def test_the_real_extract(connection):
    load(connection, UPath(os.environ["SAMPLES"]) / "inaturalist")
    assert len(images(connection)) == 24


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_batches_hold_each_photo_once_and_no_empty_range(connection, tmp_path, size):
    root = write_dump(tmp_path / "dump")
    dump.prepare(connection, dump.token(root))
    assert dump.batches(connection, size) == []
    dump.load_file(connection, root, "photos")
    found = dump.batches(connection, size)
    ids = sorted(p[1] for p in PHOTOS)
    assert [[i for i in ids if b.first <= i < b.end] for b in found] != [[]]
    assert sorted(i for b in found for i in ids if b.first <= i < b.end) == ids
    assert all(any(b.first <= i < b.end for i in ids) for b in found)
