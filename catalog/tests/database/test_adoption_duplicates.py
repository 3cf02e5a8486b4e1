"""Rows of an old catalog that violate the unique indexes of the current schema."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.core.errors import Refused
from catalog.database.adoption import adopt, inspect
from catalog.database.adoption.removal import Removal
from catalog.database.adoption.uniqueness import IDENTIFIER, KEY, URL
from catalog.tests.database.adopted import OLDEST, connected, contents, duplicate, old

pytestmark = pytest.mark.database
__all__ = ["old"]


class TestDuplicates:
    def test_are_refused_with_examples(self, old):
        dsn = old(OLDEST, cluttered=False)
        with connected(dsn) as connection:
            duplicate(connection)
            columns, before = contents(connection)
            obstacles = inspect(connection).obstacles
            assert [text.partition(" in ")[0] for text in obstacles] == [
                "image: 4 duplicate rows have the same provider, md5(foreign_identifier),",
                "image: 4 duplicate rows have the same url,",
            ]
            assert all("2 groups" in text and "--duplicates newest" in text for text in obstacles)
            with pytest.raises(Refused, match="4 duplicate rows"):
                adopt(dsn)
            assert contents(connection, columns)[1] == before

    def test_are_moved_aside(self, old):
        dsn = old(OLDEST, cluttered=False)
        with connected(dsn) as connection:
            before = dict(connection.execute("select identifier, to_jsonb(i) from image i").fetchall())
            duplicate(connection)
            everything = dict(connection.execute("select identifier, to_jsonb(i) from image i").fetchall())
            adopt(dsn, move_duplicates=True)
            new = ["standardized_popularity"]
            stays = dict(
                connection.execute(
                    "select identifier, to_jsonb(i) - %s::text[] from image i", [new]
                ).fetchall()
            )
            assert stays == before  # the newest of each
            aside = connection.execute(
                "select to_jsonb(i) - '{standardized_popularity,duplicate_of,moved_on}'::text[], "
                "duplicate_of from image_duplicates i"
            ).fetchall()
            deleted = connection.execute(
                "select to_jsonb(i) - '{standardized_popularity,deleted_on,deleted_reason}'::text[], "
                "deleted_reason from deleted_image i"
            ).fetchall()
            assert (len(aside), len(deleted)) == (4, 2)
            assert {reason for _, reason in deleted} == {"duplicate"}
            moved = {UUID(row["identifier"]): row for row, _ in aside + deleted}
            assert {**stays, **moved} == everything
            keys = [(row["provider"], row["foreign_identifier"]) for row, _ in aside]
            kept = [(before[of]["provider"], before[of]["foreign_identifier"]) for _, of in aside]
            assert keys == kept

    def test_of_what_is_deleted_go_to_the_other_table(self, old):
        """One of the records that share a URL was already deleted."""
        dsn = old("December 2023", cluttered=False)
        with connected(dsn) as connection:
            duplicate(connection)
            [(identifier, key)] = connection.execute(
                "select identifier, foreign_identifier from image "
                "where foreign_identifier like '% other' limit 1"
            ).fetchall()
            connection.execute(
                "insert into deleted_image select i.*, now(), 'before' from image i where identifier = %s",
                [identifier],
            )
            adopt(dsn, move_duplicates=True)
            assert connection.execute(
                "select deleted_reason from deleted_image where foreign_identifier = %s", [key]
            ).fetchall() == [("before",)]
            assert connection.execute(
                "select count(*) from image_duplicates where foreign_identifier = %s", [key]
            ).fetchone() == (1,)

    def test_of_identifiers(self, old):
        dsn = old(OLDEST, cluttered=False)
        with connected(dsn) as connection:
            connection.execute("alter table image drop constraint image_pkey")
            connection.execute("drop index image_provider_fid_idx")
            connection.execute(
                "insert into image select * from image "
                "where url like '%file 1%' and foreign_identifier is not null and isfinite(updated_on)"
            )
            rows, different = connection.execute(
                "select count(*), count(distinct identifier) from image"
            ).fetchone()
            adopt(dsn, move_duplicates=True)
            assert connection.execute("select count(*) from image").fetchone() == (different,)
            assert connection.execute("select count(*) from image_duplicates").fetchone() == (
                rows - different,
            )
            assert connection.execute("select count(*) from deleted_image").fetchone() == (0,)

    def test_foreign_objects_are_not_changed_by_a_move(self, old):
        """Objects that would break a move are refused, but do not block an adoption without duplicates."""
        dsn = old(OLDEST, rows=40, cluttered=False)
        with connected(dsn) as connection:
            connection.execute("""
                create table their_list (id uuid references image on delete cascade);
                insert into their_list select identifier from image;
                create function keeps() returns trigger language plpgsql as 'begin return null; end';
                create trigger keeps before delete on image for each row execute function keeps();
                create rule quietly as on delete to image do also nothing;
                create table image_duplicates (identifier uuid);
            """)
            wanted = (
                "foreign key their_list_id_fkey of their_list refers to image",
                "trigger keeps of image fires on DELETE",
                "rule quietly of image fires on DELETE",
                "table image_duplicates exists and was not created by an adoption",
            )
            assert inspect(connection, move_duplicates=True).obstacles == []
            duplicate(connection)
            columns, before = contents(connection)
            obstacles = inspect(connection, move_duplicates=True).obstacles
            assert [
                next((t for t in obstacles if t.startswith(text)), None) is not None for text in wanted
            ] == [True] * 4
            assert len(obstacles) == 4
            with pytest.raises(Refused, match="nothing was changed"):
                adopt(dsn, move_duplicates=True)
            assert contents(connection, columns)[1] == before
            connection.execute(
                "alter table their_list drop constraint their_list_id_fkey; "
                "alter table image disable trigger keeps;"
                "alter table image disable rule quietly; "
                "alter table image_duplicates rename to their_duplicates"
            )
            assert adopt(dsn, move_duplicates=True).pending == ()
            assert connection.execute("select count(*) from their_duplicates").fetchone() == (0,)

    def test_different_records_with_one_identifier_are_refused(self, old):
        dsn = old(OLDEST, rows=40, cluttered=False)
        with connected(dsn) as connection:
            connection.execute("alter table image drop constraint image_pkey")
            connection.execute(
                "update image set identifier = gen_random_uuid() where false;"
                "update image set identifier = (select identifier from image order by url limit 1) "
                "where url in (select url from image order by url limit 3)"
            )
            [obstacle] = inspect(connection, move_duplicates=True).obstacles
            assert obstacle.startswith("image: different records share 1 identifier, so none is a copy")


SMALL = st.integers(1, 4)


@pytest.fixture
def without_keys(dsn):
    with connected(dsn) as connection, connection.transaction(force_rollback=True):
        connection.execute("alter table image drop constraint image_identifier_key")
        connection.execute("drop index image_provider_fid_idx, image_url_key")
        yield connection


def stays(rows):
    """Return the positions of the rows that stay: all that share no key with a newer row that stays."""
    found: list[int] = []
    for place, row in enumerate(rows):
        if not any(mine == theirs for other in found for mine, theirs in zip(row, rows[other], strict=True)):
            found.append(place)
    return found


@given(rows=st.lists(st.tuples(SMALL, SMALL, SMALL), min_size=2, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_row_is_removed_only_if_a_newer_one_stays(without_keys, rows):
    """Rows are (identifier, foreign identifier, URL), newest first."""
    with without_keys.transaction(force_rollback=True):
        check_removal(without_keys, rows)


def check_removal(connection, rows):
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    for place, (identifier, key, url) in enumerate(rows):
        connection.execute(
            "insert into image (identifier, provider, foreign_identifier, url, license, title, "
            "foreign_landing_url, created_on,"
            " updated_on, removed_from_source)"
            " values (%s, 'museum', %s, %s, 'by', %s, 'https://x.example', now(), %s, false)",
            [UUID(int=identifier), f"r{key}", f"https://{url}.example", place, moment - timedelta(place)],
        )
    removal = Removal(connection, "image", (IDENTIFIER, KEY, URL))
    total = removal.find()
    number = 1
    while number <= total:
        number = removal.move(number)
    kept = stays(rows)
    places = "select title::int from {} order by 1"
    there = [place for (place,) in connection.execute(places.format("image"))]
    aside = [place for (place,) in connection.execute(places.format("image_duplicates"))]
    deleted = [place for (place,) in connection.execute(places.format("deleted_image"))]
    assert there == kept
    assert sorted(there + aside + deleted) == list(range(len(rows)))  # none is lost, none is in two places
    for place in deleted:  # another record that has the URL of one that stays
        assert {rows[k][2] for k in kept} >= {rows[place][2]}
        assert rows[place][0] not in {rows[k][0] for k in kept}
        assert rows[place][1] not in {rows[k][1] for k in kept}
    named = dict(connection.execute("select title::int, duplicate_of from image_duplicates").fetchall())
    for place, identifier in named.items():
        of = next(k for k in kept if UUID(int=rows[k][0]) == identifier)
        assert any(mine == theirs for mine, theirs in zip(rows[place], rows[of], strict=True))
