"""A line that cannot be read is refused, whatever it holds, and all others are loaded; real PostgreSQL."""

import io
from functools import partial
from itertools import repeat

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.loading import delimited
from catalog.loading.copy import LineCopy, copy_exactly, lines_of
from catalog.loading.delimited import FIELD, LINE, Unreadable, bounded_lines, fault
from catalog.tests.loading.loader import image
from catalog.tests.values import present

wild = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
GOOD = 12
raw = st.binary(max_size=60).map(lambda b: b.replace(b"\n", b""))
spoils = st.lists(st.tuples(st.integers(0, GOOD), st.integers(0, 400), st.integers(0, 30), raw), max_size=6)


@pytest.mark.database
@wild
@given(spoils)
@example([(0, 0, 400, rb"\.")])
@example([(3, 0, 400, b"\\")])  # joins the next line to this one
@example([(GOOD, 0, 400, b"\r")])
@example([(5, 0, 0, b"\0"), (5, 0, 0, b"\xff")])
def test_wild_lines_among_good_ones(load, catalog, spoilt):
    """Some bytes of each wild line are replaced; it may still be good."""
    catalog.execute("truncate image")
    lines = [line.encode() for line in load.lines([image(n) for n in range(GOOD)])]
    for at, start, length, replacement in spoilt:
        number = f"wild{at}"
        (line,) = load.lines([image(number, title=number, width=at)])
        source = line.replace("example.org", "example.net").rstrip("\n").encode()
        lines.insert(at, source[:start] + replacement + source[start + length :] + b"\n")
    report = load([], lines=lines)
    assert report.accounted()
    assert report.fetched == len(lines)
    there = {i for (i,) in catalog.execute("select foreign_identifier from image")}
    assert {f"id{n}" for n in range(GOOD)} <= there
    assert len(there) == report.inserted


@pytest.fixture
def table(dsn):
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "create table t (id bigint not null, name text, n bigint generated always as identity)"
        )
        yield connection


TEXT = sql.SQL("copy t (id, name) from stdin").format()
PLAIN = sql.SQL("copy t (id, name) from stdin (format csv, delimiter E'\\t', quote E'\\b')").format()


def copied(connection, statement, lines, fault=lambda line: None, **options):
    refused = []
    copy = LineCopy(
        connection, statement, fault, lambda reason, line: refused.append((reason, line)), **options
    )
    return copy.run(lines), refused


@pytest.mark.database
@wild
@given(st.lists(raw, max_size=8), st.integers(1, 60))
@example([b"7\tx\by", b"", rb"\.", b"8\t\b"], 60)  # quotes over lines, an end-of-data mark
@example([b"9\ta\rb", b"\t", b"1\t2\t3"], 10)
def test_plain_lines(table, spoilt, block):
    """Each good line of a file without escapes and quotes, as in iNaturalist's dump, is one row, in order."""
    table.execute("truncate t")
    lines = [
        line for n, bad in enumerate(spoilt) for line in (b"%d\tgood \xc3\xa9 \\\n" % (1000 + n), bad + b"\n")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("catalog.loading.copy.BLOCK", block)
        rows, refused = copied(table, PLAIN, lines, partial(fault, columns=2))
    found = table.execute("select id, name from t order by n").fetchall()
    assert len(found) == rows == len(lines) - len(refused)
    good = [(1000 + n, "good é \\") for n in range(len(spoilt))]
    assert [row for row in found if row in good] == good


@pytest.mark.database
class TestLineCopy:
    def test_what_has_a_known_fault_is_not_sent(self, table):
        lines = [b"1\ta\n", b"2\tbad\n", b"x\tc\n", b"4\td\n"]
        rows, refused = copied(table, TEXT, lines, lambda line: "known" if b"bad" in line else None)
        assert rows == 2
        assert [(reason.partition(":")[0], line) for reason, line in refused] == [
            ("known", b"2\tbad\n"),
            ("refused by PostgreSQL", b"x\tc\n"),
        ]
        assert table.execute("select id from t order by n").fetchall() == [(1,), (4,)]

    def test_good_lines_are_not_checked(self, table):
        def never(line):
            raise AssertionError(line)

        assert copied(table, TEXT, [b"%d\tx\n" % n for n in range(1000)], never) == (1000, [])

    def test_the_server_may_speak_another_language(self, table):
        """The line is found without parsing its messages: they contain no `line 501`."""
        table.execute(
            """
            create function speechless() returns trigger language plpgsql as $$
            begin
                if new.id = 500 then raise sqlstate '22023' using message = 'Zeile'; end if;
                return new;
            end $$
            """
        )
        table.execute(
            "create trigger speechless before insert on t for each row execute function speechless()"
        )
        rows, refused = copied(table, TEXT, [b"%d\tx\n" % n for n in range(1000)])
        assert (rows, refused) == (999, [("refused by PostgreSQL: Zeile", b"500\tx\n")])

    def test_json_that_is_nested_too_deeply(self, table):
        """PostgreSQL reports that a limit was exceeded, not that the data are wrong."""
        table.execute("alter table t alter name type jsonb using null")
        deep = b"2\t" + b"[" * 100_000 + b"]" * 100_000 + b"\n"
        rows, refused = copied(table, TEXT, [b"1\t[]\n", deep, b"3\t{}\n"])
        assert (rows, refused) == (2, [("refused by PostgreSQL: stack depth limit exceeded", deep)])

    def test_a_message_that_quotes_the_value_is_cut(self, table):
        _, refused = copied(table, TEXT, [b"x" * 10_000 + b"\t\n"])
        assert len(refused[0][0]) < 300

    def test_an_error_that_is_not_the_lines_is_raised(self, table):
        table.execute("create unique index on t (id)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            copied(table, TEXT, [b"1\tx\n", b"1\tx\n"])

    def test_a_limit(self, table):
        lines = [b"x\tx\n"] * 3
        assert copied(table, TEXT, lines, limit=3)[0] == 0
        with pytest.raises(
            Fatal, match="more than 2 lines; the reason for the last one: invalid input syntax"
        ):
            copied(table, TEXT, lines, limit=2)

    def test_all_or_nothing(self, table):
        assert copy_exactly(table, TEXT, [b"1\ta\n2\t", b"b\n"], lambda: 2) is None
        problem = copy_exactly(table, TEXT, [b"3\tc\n"], lambda: 2)
        assert problem == "2 rows were expected, 1 were copied"
        problem = copy_exactly(table, TEXT, [b"3\tc\n", b"x\td\n"], lambda: 2)
        assert present(problem).startswith("invalid input syntax")
        assert table.execute("select id from t").fetchall() == [(1,), (2,)]


def test_parts_without_a_last_line_end(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_bytes(b"1\n2")
    paths[1].write_bytes(b"3\n")
    assert list(lines_of(paths)) == [b"1\n", b"2\n", b"3\n"]


class Endless(io.RawIOBase):
    """A line of many gigabytes, then a short one. `most` is the largest number of bytes asked for at once."""

    def __init__(self, size: int) -> None:
        self.left, self.most = size, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        size = min(len(buffer), self.left)
        self.most = max(self.most, len(buffer))
        buffer[:size] = b"x" * size
        self.left -= size
        if self.left == 0 and size:
            buffer[size - 7 : size] = b"\nshort\n"
        return size


class TestDelimited:
    def test_long_lines_are_cut(self):
        source = Endless(50 * LINE)
        assert [len(line) for line in bounded_lines(io.BufferedReader(source))] == [LINE, 6]
        assert source.most <= LINE

    @pytest.mark.parametrize(
        "length", [LINE - 2, LINE - 1, LINE, LINE + 1, 2 * LINE - 1, 2 * LINE, 2 * LINE + 1]
    )
    @pytest.mark.parametrize("end", [b"\n", b""])
    def test_every_line_comes_once(self, length, end):
        lines = list(bounded_lines(io.BytesIO(b"a\n" + b"x" * length + end)))
        assert lines[0] == b"a\n"
        assert len(lines) == 2
        assert lines[1] == (b"x" * length + b"\n" if length < LINE else b"x" * LINE)
        assert (fault(lines[1], 1) is None) == (length <= FIELD)

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"a\tb\n", None),
            (b"a\tb\r\n", None),
            (b"\t\n", None),
            (b"a\n", "1 fields instead of 2"),
            (b"\n", "1 fields instead of 2"),
            (b"a\tb\tc\n", "3 fields instead of 2"),
            (b"a\tb\0\n", "NUL"),
            (b"a\t\xff\n", "not UTF-8"),
            (b"a\t\bb\n", "backspace"),
            (b"a\t" + b"x" * FIELD + b"\n", None),
            (b"a\t" + b"x" * (FIELD + 1) + b"\n", "a field of more than 131,072 characters"),
            (b"a\t" + "é".encode() * FIELD + b"\n", None),
            (b"a\tb", "longer than 1,048,576 bytes"),
        ],
    )
    def test_faults(self, line, reason):
        assert fault(line, 2) == reason

    @pytest.mark.parametrize(
        ("lines", "bad", "good"), [(20, 10, True), (20, 11, False), (5000, 50, True), (5000, 51, False)]
    )
    def test_a_share_may_be_unreadable(self, lines, bad, good):
        seen = Unreadable("file")
        for line in seen.counted(b"%d\n" % n for n in range(lines)):
            if int(line) < bad:
                seen.add("why", line)
        if good:
            seen.check()
        else:
            with pytest.raises(
                Fatal,
                match=rf"file: {bad} of {lines:,} lines cannot be read, more than 1%; the last one: why",
            ):
                seen.check()

    def test_far_too_many_are_noticed_on_the_way(self, monkeypatch):
        monkeypatch.setattr(delimited, "AHEAD", 100)
        seen = Unreadable("file")
        lines = seen.counted(b"x\n" for _ in range(10**9))
        with pytest.raises(Fatal, match="file: 102 of 102 lines"):
            list(map(seen.add, repeat("why"), lines))
