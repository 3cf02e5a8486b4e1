"""iNaturalist's dump, in a real PostgreSQL: what becomes of its rows, and that every step may be repeated."""

import gzip
import os
import signal
import zipfile
from collections import Counter
from operator import itemgetter
from uuid import UUID

import orjson
import psycopg
import pytest
from psycopg.rows import dict_row
from upath import UPath

from catalog.core.errors import Fatal, Interrupted, Retry
from catalog.core.queries import database_time
from catalog.database import refusals, schema
from catalog.database.refusals import Acceptance, accept_all, refuse_all
from catalog.ingestion.registry import FOLDER
from catalog.local.postgres import Postgres
from catalog.providers.inaturalist import dump, dump_files, photo_batches, taxa
from catalog.providers.inaturalist.provider import FILES
from catalog.scaffold.rows import expected_file
from catalog.tests.values import present

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
    photo(101, 1),
    photo(102, 1, "CC0", "PNG"),
    photo(103, 2, observer=2),
    photo(103, 1),
    photo(104, 3),
    photo(105, 4),
    photo(106, 9),
    photo(107, 1, "GFDL"),
    photo(108, 1, observer=3),
    photo(305, 2, "PD", observer=2),
]
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


def prepared(connection, root):
    """The first step of the DAG: empty tables."""
    token = dump_files.token(root)
    dump.prepare(connection, token)
    return token


def prepare(connection, root):
    """The steps of the DAG before its check."""
    token = prepared(connection, root)
    archive = root / "catalogue_of_life.zip"
    taxa.load_names(connection, archive if archive.exists() else None, token)
    for name in FILES:
        dump_files.load_file(connection, root, name, token)
    taxa.name_taxa(connection, token)
    return token


def load(connection, root, size=4, run=RUN, replayed=False, accept=False, **more):
    """All steps of the DAG, in order."""
    token = prepare(connection, root)
    judge = accept_all if accept else refuse_all
    shortfalls = dump.check(connection, root, token, run, replayed=replayed, judge=judge)
    photo_batches.load_batches(
        connection, token, run, size=size, replayed=replayed, shortfalls=shortfalls, **more
    )
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
    dump.finish(connection, token, RUN, drop=True)
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


def test_it_goes_on_with_the_size_it_has_begun_with(connection, tmp_path):
    """The batches of a release with another size hold other photos under the same numbers."""
    root = write_dump(tmp_path / "dump")
    with pytest.raises(Interrupted, match="after batch 1 of 3"):
        load(connection, root, should_stop=lambda: True)
    token = load(connection, root, size=6)
    assert [(r["day_shift"], r["whole"]) for r in reports(connection)] == [(n, True) for n in range(3)]
    assert set(images(connection)) == {101, 102, 103, 305}
    dump.finish(connection, token, RUN, drop=True)
    assert photo_batches.load_batches(connection, token, RUN, size=6) == 3


def test_batches_of_a_release_that_did_not_note_their_size(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    with pytest.raises(Interrupted, match="after batch 1 of 3"):
        load(connection, root, should_stop=lambda: True)
    with connection.transaction():
        connection.execute("update ingestion_report set manifest_token = split_part(manifest_token, '/', 1)")
    seen = []
    load(connection, root, progress=lambda batch, *_: seen.append(batch.number))
    assert seen == [1, 2]
    assert all(r["whole"] for r in reports(connection))


def test_all_batches_began_with_the_dump(connection, tmp_path):
    """Also those of a later attempt, and of tables that an earlier release has made."""
    root = write_dump(tmp_path / "dump")
    with pytest.raises(Interrupted):
        load(connection, root, should_stop=lambda: True)
    with connection.transaction():
        connection.execute("update inaturalist.dump set began = now() - interval '3 days'")
        connection.execute("update ingestion_report set pull_began = (select began from inaturalist.dump)")
    load(connection, root)
    first, *others = [report["pull_began"] for report in reports(connection)]
    assert others == [first] * 2
    with connection.transaction():
        [(fresh,)] = connection.execute("select distinct fresh_on from whole_pull").fetchall()
        assert fresh == first
        connection.execute("alter table inaturalist.dump drop column began")
    load(connection, root, run=(RUN[0], "again"))
    assert all(report["pull_began"] for report in reports(connection))


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


def without_key(line):
    """The key is the first field, but in the file of photos, which has nine, the second."""
    fields = line.split(b"\t")
    fields[len(fields) == 9] = b""
    return b"\t".join(fields)


BAD = {
    "a tab": lambda line: line.replace(b"\t", b"\t\t", 1),
    "NUL": lambda line: line.replace(b"\t", b"\t\0", 1),
    "not UTF-8": lambda line: line.replace(b"\t", b"\t\xff", 1),
    "a quote": lambda line: line.replace(b"\t", b"\t\b", 1),
    "a carriage return": lambda line: line.replace(b"\t", b"\t\r", 1),
    "no key": without_key,
    "another type": lambda line: b"x" + line,
    "the end": lambda line: rb"\.",
    "nothing": lambda line: b"",
    "a huge field": lambda line: b"x" * (2 << 20) + line,
}


def spoil(root, names, faults):
    """Puts spoilt copies of its first row between the rows of each file."""
    for name in names:
        path = root / f"{name}.csv.gz"
        header, first, *rest = gzip.decompress(path.read_bytes()).splitlines()
        bad = [BAD[f](first) for f in faults]
        (root / f"{name}.csv.gz").write_bytes(
            gzip.compress(b"\n".join([header, *bad, first, *bad, *rest]) + b"\n")
        )


@pytest.mark.parametrize("bad", BAD)
def test_an_unreadable_row_of_any_file_costs_that_row(connection, tmp_path, bad):
    """A malformed photo is counted as rejected; for the other files, the report counts malformed rows."""
    root = write_dump(tmp_path / "dump")
    spoil(root, FILES, [bad])
    load(connection, root)
    assert set(images(connection)) == {101, 102, 103, 305}
    first, *others = reports(connection)
    assert (first["fetched"], first["rejected_reasons"]) == (6, {"unreadable row": 2})
    assert first["cleaned_reasons"] == {
        f"unreadable row of {n}": 2 for n in ("observations", "taxa", "observers")
    }
    assert [(r["rejected"], r["cleaned_reasons"]) for r in others] == [(0, {})] * 2


def test_unreadable_rows_of_all_kinds(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    spoil(root, FILES, list(BAD)[:5])
    load(connection, root)
    assert set(images(connection)) == {101, 102, 103, 305}
    assert reports(connection)[0]["rejected_reasons"] == {"unreadable row": 10}


@pytest.mark.parametrize("name", FILES)
def test_too_many_unreadable_rows(connection, tmp_path, name):
    root = write_dump(tmp_path / "dump")
    spoil(root, [name], list(BAD)[:6])
    token = prepared(connection, root)
    with pytest.raises(
        Fatal, match=rf"{name}.csv.gz: 12 of \d+ lines cannot be read, more than 1%; the last one: "
    ):
        dump_files.load_file(connection, root, name, token)


def write_names(root, vernacular, usage=b"T1\tHylidae\n"):
    with zipfile.ZipFile(root / "catalogue_of_life.zip", "w") as files:
        files.writestr("VernacularName.tsv", b"\xef\xbb\xbftaxonID\tname\tcountry\tremarks\r\n" + vernacular)
        files.writestr("NameUsage.tsv", b"ID\tscientificName\n" + usage)


@pytest.mark.parametrize(
    "bad",
    [
        b"T1\twrong\tAU",
        b"T1\twr\tong\tAU\t",
        b"T1\twrong\0\tAU\t",
        b"T1\twrong\xff\tAU\t",
        b"T1\twrong\tAU\t" + b"x" * 131_073,
        b"T1\t" + b"wrong" * 30_000 + b"\tAU\t",
        b"T1\twrong\tAU\t" + b"x" * (3 << 20),
        b"",
    ],
)
def test_an_unreadable_row_of_the_catalogue_of_life_costs_that_row(connection, tmp_path, bad):
    root = write_dump(tmp_path / "dump")
    write_names(root, bad + b"\r\nT1\tFrog\tAU\t\r\n" + bad + b'\nT1\tRana\t\tsaid "so\nT2\tx\t\t')
    load(connection, root)
    assert images(connection)[101]["title"] == "frog, rana"
    assert reports(connection)[0]["cleaned_reasons"] == {"unreadable row of names": 2}


def test_a_damaged_file_is_read_again_later(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    whole = {name: (root / name).read_bytes() for name in ("taxa.csv.gz", "catalogue_of_life.zip")}
    for name, data in whole.items():
        (root / name).write_bytes(data[:-20])
    token = prepared(connection, root)
    with pytest.raises(Retry, match=r"taxa\.csv\.gz is damaged, or was not received completely"):
        dump_files.load_file(connection, root, "taxa", token)
    with pytest.raises(Retry, match=r"catalogue_of_life\.zip is damaged"):
        taxa.load_names(connection, root / "catalogue_of_life.zip", token)
    (root / "taxa.csv.gz").write_bytes(whole["taxa.csv.gz"])
    assert dump_files.load_file(connection, root, "taxa", token) == len(TAXA)


def test_sizes_that_cannot_be_true_are_left_out(connection, tmp_path):
    photos = [
        (*p[:6], width, height, 0) for p, width, height in zip(PHOTOS[:2], (0, 7), (-1, 0), strict=True)
    ]
    load(connection, write_dump(tmp_path / "dump", photos))
    found = images(connection)
    assert [(found[n]["width"], found[n]["height"]) for n in (101, 102)] == [(None, None), (7, None)]
    assert reports(connection)[0]["cleaned_reasons"] == {
        "width is not positive": 1,
        "height is not positive": 2,
    }


def test_broken_and_repeated_taxa(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    rows = [
        (i, f"{a}/x//{'9' * 30}", 10, "x", n, "true") for i, a, n in [*TAXA, TAXA[3], (None, "", "Nobody")]
    ]
    write(root, "taxa", ("taxon_id", "ancestry", "rank_level", "rank", "name", "active"), rows)
    load(connection, root)
    assert [t["name"] for t in images(connection)[101]["tags"]] == ["Hylidae", "Amphibia", "Animals"]


def whole_fetched(connection):
    with connection.transaction():
        return connection.execute("select sum(fetched)::int from whole_pull").fetchone()[0]


def dump_kept(connection):
    """Return how many items of each whole dump could be kept."""
    return [(load.kept,) for load in dump._whole_loads(connection, "another", RUN, False)]


class TestShortfall:
    """A dump that holds far less than the last whole one."""

    @pytest.fixture
    def before(self, connection, tmp_path):
        """A dump that was loaded whole: ten rows of photos."""
        load(connection, write_dump(tmp_path / "before"), run=(RUN[0], "before"))

    def dump_of(self, tmp_path, number):
        return write_dump(tmp_path / "now", PHOTOS[:number])

    def test_a_few_less_may_be_right(self, connection, tmp_path):
        for run, number in (("one", 100), ("two", 96)):
            root = write_dump(tmp_path / run, [photo(n, 1) for n in range(number)])
            load(connection, root, run=(RUN[0], run))
        assert whole_fetched(connection) == 196

    def test_small_losses_of_several_dumps_add_up(self, connection, tmp_path):
        for run, number in (("one", 100), ("two", 96)):
            root = write_dump(tmp_path / run, [photo(n, 1) for n in range(number)])
            load(connection, root, run=(RUN[0], run))
        root = write_dump(tmp_path / "three", [photo(n, 1) for n in range(93)])
        with pytest.raises(Fatal, match="93 items came, 100 in an earlier whole pull"):
            load(connection, root)
        dump.finish(connection, load(connection, root, accept=True), RUN, drop=True)
        root = write_dump(tmp_path / "four", [photo(n, 1) for n in range(91)])
        load(connection, root, run=(RUN[0], "four"))  # what was accepted is the new measure

    def test_fewer_are_refused_with_both_numbers(self, connection, before, tmp_path):
        message = r"NOT WHOLE.* 9 items came, 10 in the last whole pull \(20.*: 10% fewer, where at most 5% "
        with pytest.raises(Fatal, match=message):
            load(connection, self.dump_of(tmp_path, 9))
        assert len(reports(connection)) == 3
        assert whole_fetched(connection) == 10

    def test_a_person_may_accept_them(self, connection, before, tmp_path):
        load(connection, self.dump_of(tmp_path, 4), accept=True)
        assert whole_fetched(connection) == 14
        (text,) = reports(connection)[1]["shortfalls"]
        assert "4 items came, 10 in the last" in text
        assert [(r["accepted"], r["whole"]) for r in reports(connection) if r["shortfalls"]] == [(True, True)]
        (tmp_path / "later").mkdir()
        load(
            connection, write_dump(tmp_path / "later", PHOTOS[:4]), run=(RUN[0], "later")
        )  # this is usual now

    def test_what_was_reported_of_one_dump_is_not_accepted_of_another(
        self, connection, before, dsn, tmp_path
    ):
        """As when the next one is copied before the run that accepts."""

        def check(root, run, *, accepts=True):
            token = prepare(connection, root)
            with psycopg.connect(dsn, autocommit=True) as own:
                asked = Acceptance(accepts, RUN[0], run, 0, database_time(own), '{"accept_shortfall": true}')
                return dump.check(
                    connection,
                    root,
                    token,
                    (RUN[0], run),
                    judge=lambda found: refusals.judge(own, found, asked),
                )

        root = self.dump_of(tmp_path, 4)
        with pytest.raises(Fatal, match=r"trigger inaturalist_workflow with the conf .*accept_shortfall"):
            check(root, "refused", accepts=False)
        assert len(check(root, "accepted")) == 1
        with pytest.raises(Fatal, match=r"3 items came, .* \(not reported before\)\. .* clear this task"):
            check(write_dump(tmp_path / "next", PHOTOS[:3]), "next")

    def test_a_whole_one_that_is_accepted_in_advance_lacks_nothing(self, connection, before, tmp_path):
        load(connection, write_dump(tmp_path / "now", [*PHOTOS, photo(306, 1)]), accept=True)
        assert not any(r["accepted"] or r["shortfalls"] for r in reports(connection))

    def test_a_load_that_was_not_whole_is_no_measure(self, connection, before, tmp_path):
        root = write_dump(tmp_path / "stopped", [*PHOTOS, photo(306, 1)])
        with pytest.raises(Interrupted):
            load(connection, root, run=(RUN[0], "stopped"), should_stop=lambda: True)
        with pytest.raises(Fatal, match="9 items came, 10 in the last"):
            load(connection, write_dump(tmp_path / "later", PHOTOS[:9]))

    def test_a_cleared_run_is_compared_with_its_own_load(self, connection, tmp_path):
        """Also when the next dump has replaced some of its reports already."""
        load(connection, write_dump(tmp_path / "first"))
        with pytest.raises(Fatal, match="9 items came, 10 in the last whole pull"):
            load(connection, self.dump_of(tmp_path, 9))
        assert [(r["fetched"], r["whole"]) for r in reports(connection)] == [(4, True), (4, True), (2, True)]
        with pytest.raises(Interrupted):
            load(connection, self.dump_of(tmp_path, 9), accept=True, should_stop=lambda: True)
        assert [r["whole"] for r in reports(connection)] == [False, True, True]
        assert whole_fetched(connection) == 10  # its rows are still there
        with pytest.raises(Fatal, match="8 items came, 10 in the last whole pull"):
            load(connection, self.dump_of(tmp_path, 8))
        load(connection, self.dump_of(tmp_path, 8), accept=True)
        load(connection, self.dump_of(tmp_path, 8), run=(RUN[0], "later"))  # what was accepted is usual

    def test_a_dump_is_not_compared_with_its_own_load(self, connection, tmp_path):
        root = write_dump(tmp_path / "dump")
        token = load(connection, root)
        with connection.transaction():
            connection.execute("delete from inaturalist.photos where photo_id > 104")
            connection.execute(
                "update inaturalist.loaded set rows = (select count(*) from inaturalist.photos)"
                " where name = 'photos'"
            )
        assert dump.check(connection, root, token, RUN) == []

    def test_unreadable_rows_of_a_load_whose_reports_were_replaced(self, connection, tmp_path):
        """As those of any earlier dump, they count as not kept."""
        root = write_dump(tmp_path / "first", [photo(n, 1) for n in range(100)])
        spoil(root, ["photos"], ["a tab"])
        load(connection, root, size=200)
        with connection.transaction():
            ((kept,),) = dump_kept(connection)
        load(connection, write_dump(tmp_path / "now", [photo(n, 1) for n in range(101)]), size=200)
        with connection.transaction():
            assert (kept,) in dump_kept(connection)

    def test_recordings_are_compared_with_recordings(self, connection, before, tmp_path):
        load(connection, self.dump_of(tmp_path, 4), run=(RUN[0], "replay"), replayed=True)
        load(connection, write_dump(tmp_path / "later"))
        with pytest.raises(Fatal, match="1 items came, 4 in the last"):
            load(
                connection,
                write_dump(tmp_path / "again", PHOTOS[:1]),
                run=(RUN[0], "replay 2"),
                replayed=True,
            )

    def test_another_dag_is_no_measure(self, connection, before, tmp_path):
        load(connection, self.dump_of(tmp_path, 1), run=("another", "now"))


@pytest.mark.parametrize("name", ["observations", "observers", "taxa"])
def test_a_dump_of_which_one_file_is_cut(connection, tmp_path, name):
    """Nearly all photos would be skipped, and the load be green."""
    root = write_dump(tmp_path / "dump", [photo(n, 1) for n in range(1, 40)])
    header, *rows = gzip.decompress((root / f"{name}.csv.gz").read_bytes()).splitlines(keepends=True)
    (root / f"{name}.csv.gz").write_bytes(gzip.compress(header + rows[-1]))
    with pytest.raises(
        Fatal, match="only 0 of 39 sampled photos have an observation, a taxon, an observer and an accepted"
    ):
        load(connection, root)
    assert reports(connection) == []
    load(connection, root, accept=True)
    assert images(connection) == {}


CUT = {  # file → rows that are left, and what is said of 100 photos
    "photos": (61, "61 items came, 100 in the last whole pull"),
    "observations": (1, "39 of 100 items were skipped as “unknown observation”"),
    "observers": (1, "39 of 100 items were skipped as “unknown observer”"),
    "taxa": (len(TAXA), "39 of 100 items were skipped as “unknown taxon”"),
}


@pytest.mark.parametrize("name", CUT)
def test_a_file_that_is_cut_is_noticed_against_the_last_whole_dump(connection, tmp_path, name):
    """Also if fewer than half of the photos are lost. The last row of each file is about 39 of them."""
    photos = [photo(n, *((1, "CC-BY", "jpg", 1) if n < 61 else (7, "CC-BY", "jpg", 5))) for n in range(100)]
    root = write_dump(tmp_path / "dump", photos)
    write(root, "observations", ("observation_uuid", "taxon_id"), [(uuid(1), 23540), (uuid(7), 8)])
    write(root, "observers", ("observer_id", "login", "name"), [(1, "mia", None), (5, "eve", None)])
    write(root, "taxa", ("taxon_id", "ancestry", "name"), [*TAXA, (8, "48460", "Nova altera")])
    load(connection, root, size=200, run=(RUN[0], "before"))
    rows, message = CUT[name]
    header, *lines = gzip.decompress((root / f"{name}.csv.gz").read_bytes()).splitlines(keepends=True)
    (root / f"{name}.csv.gz").write_bytes(gzip.compress(b"".join([header, *lines[:rows]])))
    with pytest.raises(Fatal, match=f"NOT WHOLE, and nothing of it was loaded: .*{message}"):
        load(connection, root)
    assert len(reports(connection)) == 1


def test_a_cut_dump_is_noticed_although_the_last_load_kept_less(connection, tmp_path):
    """A quarter was deleted from the catalog, a tenth has two observations, a tenth violates a constraint."""
    with connection.transaction():
        connection.execute("alter table image add constraint odd check (foreign_identifier !~ '1$')")
    photos = [photo(n, 1) for n in range(1, 101)] + [photo(n, 2) for n in range(91, 101)]
    root = write_dump(tmp_path / "dump", photos)
    load(connection, root, size=200, run=(RUN[0], "first"))
    with connection.transaction():
        connection.execute(
            "with gone as (delete from image where foreign_identifier::int % 4 = 0 returning *)"
            " insert into deleted_image select gone.*, now(), 'policy' from gone"
        )
    dump.finish(connection, dump_files.token(root), (RUN[0], "first"), drop=True)
    load(connection, root, size=200, run=(RUN[0], "second"))
    assert [sum(r[name] for r in reports(connection)) for name in ("fetched", "rejected")] == [220, 20]
    with pytest.raises(Fatal, match="100 items came, 110 in the last whole pull"):
        load(connection, write_dump(tmp_path / "cut", photos[:100]), size=200)
    observations = [(uuid(1), 1, 23540), (uuid(2), 2, 99)]  # a tenth has an unknown taxon
    write(root, "observations", ("observation_uuid", "observer_id", "taxon_id"), observations)
    with pytest.raises(Fatal, match="100 items could be kept, 110 in the last whole pull"):
        load(connection, root, size=200)


def test_names_that_are_cut_are_noticed_against_the_catalog(connection, tmp_path):
    root = write_dump(tmp_path / "dump", [photo(n, 1 + n % 2) for n in range(1, 101)])
    dump.finish(connection, load(connection, root, run=(RUN[0], "before")), (RUN[0], "before"), drop=True)
    assert images(connection)[2]["title"] == "laubfrosch, tree frog"
    write_names(root, b"T9\tx\tDE\t\n")
    with pytest.raises(Fatal, match="50 of 50 sampled photos with a common name in the catalog would lose"):
        load(connection, root)
    assert images(connection)[2]["title"] == "laubfrosch, tree frog"
    write_names(root, b"T1\tFrog\tDE\t\n")  # the archive is read again, and other names are no fault
    load(connection, root)
    assert images(connection)[2]["title"] == "frog"
    write_names(root, b"T9\tx\tDE\t\n")
    dump.finish(connection, dump_files.token(root), RUN, drop=True)
    load(connection, root, run=(RUN[0], "accepted"), accept=True)
    assert images(connection)[2]["title"] == "Hylidae"


def test_names_that_photos_would_lose_are_reported_apart(connection, tmp_path):
    root = write_dump(tmp_path / "dump", [photo(n, 1 + n % 2) for n in range(1, 101)])
    dump.finish(connection, load(connection, root, run=(RUN[0], "before")), (RUN[0], "before"), drop=True)
    write_names(root, b"T9\tx\tDE\t\n")
    token, reported = prepare(connection, root), list[refusals.Found]()

    def judge(found):
        reported.append(found)
        return accept_all(found)

    dump.check(connection, root, token, RUN, judge=judge)
    [found] = reported
    assert [*found] == [f"inaturalist, dump {token}"]
    assert [(one.subject, one.remains) for one in found[f"inaturalist, dump {token}"]] == [("names", 0)]


def test_a_sample_tells_how_many_are_usable(connection, tmp_path, monkeypatch):
    monkeypatch.setattr(dump, "SAMPLE", 50)
    prepare(
        connection, write_dump(tmp_path / "dump", [photo(2 * n, 1 + 8 * (n % 3 > 0)) for n in range(600)])
    )
    with connection.transaction():
        found = dump._sample(connection, 600)
    assert 20 < found.photos < 100
    assert "only" in present(dump._unusable(found))


def test_the_sample_has_the_reasons_of_the_batches(connection, tmp_path):
    token = load(connection, write_dump(tmp_path / "dump"))
    with connection.transaction():
        found = dump._sample(connection, len(PHOTOS))
    counted: Counter[str] = Counter()
    for report in reports(connection):
        counted.update(report["skipped_reasons"])
    del counted["photo of several observations"]
    assert (found.photos, found.skipped) == (len(PHOTOS), counted)
    assert dump_files.token(UPath(tmp_path / "dump")) == token


def test_a_dump_that_changes_while_it_is_read(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    token = prepare(connection, root)
    write_dump(tmp_path / "dump", PHOTOS[:9])
    with pytest.raises(Fatal, match="has changed while it was read; clear all tasks of the run"):
        dump.check(connection, root, token, RUN)


def test_it_is_whole_when_the_last_batch_is_in(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    for _ in range(2):
        with pytest.raises(Interrupted):
            load(connection, root, should_stop=lambda: True)
        assert not any(r["whole"] for r in reports(connection))
    load(connection, root)
    assert [r["whole"] for r in reports(connection)] == [True] * 3
    assert whole_fetched(connection) == 10


def emptied(connection):
    """Empty the tables as PostgreSQL does when it recovers from a crash."""
    with connection.transaction():
        tables = connection.execute(
            "select relname, relpersistence from pg_class"
            " where relnamespace = 'inaturalist'::regnamespace and relkind = 'r'"
        ).fetchall()
        assert {persistence for _, persistence in tables} == {"u"}  # all of them, or none
        connection.execute("truncate " + ", ".join(f"inaturalist.{name}" for name, _ in tables))


AGAIN = "; clear check_for_file_updates and all tasks after it"
LATER = {
    "load_photos": lambda c, root, token: dump_files.load_file(c, root, "photos", token),
    "load_names": lambda c, root, token: taxa.load_names(c, root / "catalogue_of_life.zip", token),
    "name_taxa": lambda c, root, token: taxa.name_taxa(c, token),
    "check_dump": lambda c, root, token: dump.check(c, root, token, RUN),
    "load_image_data": lambda c, root, token: photo_batches.load_batches(c, token, RUN, size=4),
}


class TestWhatTheTablesHold:
    """A task that is cleared or retried finds other tables than those that its run has filled."""

    @pytest.fixture
    def root(self, tmp_path):
        return write_dump(tmp_path / "dump")

    def stopped(self, connection, root):
        """Load the first of three batches."""
        with pytest.raises(Interrupted):
            load(connection, root, should_stop=lambda: True)
        return dump_files.token(root)

    def assert_nothing_more(self, connection, token):
        assert [(r["day_shift"], r["whole"]) for r in reports(connection)] == [(0, False)]
        with pytest.raises(Fatal, match=f"has not loaded all of the dump {token}{AGAIN}"):
            dump.finish(connection, token, RUN, drop=True)
        assert not dump.is_loaded(connection, token)

    def assert_loaded_again(self, connection, root):
        token = load(connection, root)
        dump.finish(connection, token, RUN, drop=True)
        assert [(r["day_shift"], r["whole"]) for r in reports(connection)] == [(n, True) for n in range(3)]
        assert set(images(connection)) == {101, 102, 103, 305}
        assert dump.is_loaded(connection, token)

    def test_the_server_crashes_between_two_batches(self, world_readable, root):
        server = Postgres(world_readable / "crash", "test")
        pid = server.start(("catalog",))
        try:
            schema.upgrade(server.dsn("catalog"))
            with psycopg.connect(server.dsn("catalog")) as connection:
                token = self.stopped(connection, root)
            os.kill(pid, signal.SIGQUIT)  # like `pg_ctl stop -m immediate`
            server.stop()  # waits until it has ended
            server.start()
            with psycopg.connect(server.dsn("catalog")) as connection:
                assert len(images(connection)) == 3
                with pytest.raises(Fatal, match=f"are empty: PostgreSQL empties them after a crash{AGAIN}"):
                    LATER["load_image_data"](connection, root, token)
                self.assert_nothing_more(connection, token)
                self.assert_loaded_again(connection, root)
        finally:
            server.stop()

    @pytest.mark.parametrize("step", LATER)
    def test_no_step_believes_empty_tables(self, connection, root, step):
        token = self.stopped(connection, root)
        emptied(connection)
        with pytest.raises(Fatal, match=f"are empty: PostgreSQL empties them after a crash{AGAIN}"):
            LATER[step](connection, root, token)
        self.assert_nothing_more(connection, token)
        self.assert_loaded_again(connection, root)

    @pytest.mark.parametrize("step", LATER)
    def test_no_step_uses_the_tables_of_another_dump(self, connection, root, tmp_path, step):
        """Neither is mixed with the other, whichever run goes on first."""
        token = self.stopped(connection, root)
        other = write_dump(tmp_path / "other", [photo(n, 1) for n in range(500, 510)])
        held = prepared(connection, other)
        message = rf"hold another one \({held}\) than this run's \({token}\){AGAIN}"
        with pytest.raises(Fatal, match=message):
            LATER[step](connection, root, token)
        self.assert_nothing_more(connection, token)
        assert load(connection, other, run=(RUN[0], "other")) == held
        with pytest.raises(Fatal, match=message):
            LATER[step](connection, root, token)
        assert set(images(connection)) == {101, 102, 103, *range(500, 510)}
        load(connection, root, accept=True)  # fewer of its photos can be kept
        assert set(images(connection)) == {101, 102, 103, 305, *range(500, 510)}

    def test_tables_that_are_replaced_between_two_batches(self, connection, root, dsn):
        """The same dump, of which nothing is loaded yet."""
        token = dump_files.token(root)

        def replace(*_):
            with psycopg.connect(dsn) as second:
                emptied(second)
                dump.prepare(second, token)

        with pytest.raises(Fatal, match=f"lack photos, observations, taxa, observers, taxa_named{AGAIN}"):
            load(connection, root, progress=replace)
        self.assert_nothing_more(connection, token)
        self.assert_loaded_again(connection, root)

    @pytest.mark.parametrize("step", ["name_taxa", "check_dump", "load_image_data"])
    def test_a_file_that_is_not_loaded(self, connection, root, step):
        token = prepared(connection, root)
        for name in FILES[1:]:
            dump_files.load_file(connection, root, name, token)
        with pytest.raises(Fatal, match=rf"dump lack photos(, taxa_named(, the check)?)?{AGAIN}"):
            LATER[step](connection, root, token)

    def test_the_check_of_another_dump_does_not_count(self, connection, root, tmp_path):
        """Its tasks were cleared without check_dump, and the files have changed."""
        self.stopped(connection, root)
        token = prepare(connection, write_dump(tmp_path / "other", [photo(501, 1)]))
        with pytest.raises(Fatal, match=f"the tables of iNaturalist's dump lack the check{AGAIN}"):
            photo_batches.load_batches(connection, token, RUN, size=4)

    def test_a_check_that_the_dump_passes_no_longer(self, connection, root, monkeypatch):
        token = prepare(connection, root)
        monkeypatch.setattr(dump, "_unusable", lambda _: "something is missing")
        assert dump.check(connection, root, token, RUN, judge=accept_all) == ["something is missing"]
        with pytest.raises(Interrupted):
            photo_batches.load_batches(connection, token, RUN, size=4, should_stop=lambda: True)
        with pytest.raises(Fatal, match="NOT WHOLE"):
            dump.check(connection, root, token, RUN)
        with pytest.raises(Fatal, match=f"lack the check{AGAIN}"):
            photo_batches.load_batches(connection, token, RUN, size=4)

    @pytest.mark.parametrize("table", ["photos", "observers", "scientific_names", "taxa_named"])
    def test_rows_that_somebody_has_deleted(self, connection, root, table):
        token = self.stopped(connection, root)
        with connection.transaction():
            connection.execute(f"delete from inaturalist.{table} where ctid = '(0,1)'")
        for step in ("check_dump", "load_image_data"):
            with pytest.raises(Fatal, match=rf"dump hold \d+ of \d+ rows of \w+{AGAIN}"):
                LATER[step](connection, root, token)
        self.assert_nothing_more(connection, token)
        self.assert_loaded_again(connection, root)

    def test_cleared_tasks_of_a_finished_load(self, connection, root, tmp_path):
        """The dump is in the catalog, whatever has become of its tables."""
        token = load(connection, root)
        for _ in range(2):
            dump.finish(connection, token, RUN, drop=True)
            assert LATER["load_image_data"](connection, root, token) == 3
        with pytest.raises(Fatal, match=f"do not exist{AGAIN}"):
            LATER["name_taxa"](connection, root, token)
        with pytest.raises(Fatal, match=f"has not loaded all of the dump other{AGAIN}"):
            dump.finish(connection, "other", RUN, drop=True)
        with pytest.raises(Fatal, match="has not loaded all"):
            dump.finish(connection, token, (RUN[0], "another run"), drop=True)
        other_root = write_dump(tmp_path / "other", PHOTOS[:5])
        other = prepare(connection, other_root)
        dump.check(connection, other_root, other, (RUN[0], "another run"), judge=accept_all)
        dump.finish(connection, token, RUN, drop=True)  # cleared, and the tables are another run's
        photo_batches.load_batches(connection, other, (RUN[0], "another run"))
        assert len(reports(connection)) == 4

    def test_tables_that_were_kept_serve_a_second_run(self, connection, root):
        token = load(connection, root)
        dump.finish(connection, token, RUN, drop=False)
        for name in FILES:
            (root / f"{name}.csv.gz").write_bytes(b"")
        dump.prepare(connection, token)
        dump_files.load_file(connection, root, "photos", token)
        assert photo_batches.load_batches(connection, token, (RUN[0], "forced"), size=4) == 3

    def test_a_dump_without_photos_is_not_loaded(self, connection, tmp_path):
        with pytest.raises(Fatal, match=r"the dump holds no photos; look into its photos\.csv\.gz"):
            load(connection, write_dump(tmp_path / "dump", []))


def test_without_common_names_the_scientific_one_is_the_title(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    (root / "catalogue_of_life.zip").unlink()
    load(connection, root)
    one = images(connection)[101]
    assert (one["title"], [t["name"] for t in one["tags"]]) == ("Hylidae", ["Amphibia", "Animals"])


def test_what_is_missing_is_named(connection, tmp_path):
    root = write_dump(tmp_path / "dump")
    token = prepared(connection, root)
    with zipfile.ZipFile(root / "catalogue_of_life.zip", "w") as files:
        files.writestr("VernacularName.tsv", "taxonID\tlanguage\n")
    with pytest.raises(
        Fatal, match=r"VernacularName.tsv has no column country, name; it has taxonID, language"
    ):
        taxa.load_names(connection, root / "catalogue_of_life.zip", token)
    with zipfile.ZipFile(root / "catalogue_of_life.zip", "w") as files:
        files.writestr("Taxon.tsv", "")
    with pytest.raises(Fatal, match=r"has no VernacularName.tsv; is it the Catalogue of Life"):
        taxa.load_names(connection, root / "catalogue_of_life.zip", token)
    write(root, "observations", ("observation_uuid", "observer_id", "taxon"), [])
    with pytest.raises(
        Fatal, match=r"observations.csv.gz has no column taxon_id; it has observation_uuid, obs"
    ):
        dump_files.load_file(connection, root, "observations", token)
    (root / "observations.csv.gz").write_bytes(gzip.compress(b"\xff\xfe\n"))
    with pytest.raises(Fatal, match=r"observations.csv.gz has no header"):
        dump_files.load_file(connection, root, "observations", token)
    (root / "taxa.csv.gz").unlink()
    with pytest.raises(Fatal, match=r"taxa.csv.gz; the dump should hold photos.csv.gz"):
        dump_files.token(root)


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
    token = prepared(connection, root)
    assert photo_batches.batches(connection, size) == []
    dump_files.load_file(connection, root, "photos", token)
    found = photo_batches.batches(connection, size)
    ids = sorted(p[1] for p in PHOTOS)
    assert [[i for i in ids if b.first <= i < b.end] for b in found] != [[]]
    assert sorted(i for b in found for i in ids if b.first <= i < b.end) == ids
    assert all(any(b.first <= i < b.end for i in ids) for b in found)
