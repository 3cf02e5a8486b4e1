"""Rows of an old catalog that should be unique and are not."""

from uuid import UUID

import pytest

from catalog.database.adoption import adopt, look
from catalog.ingestion.errors import Refused
from catalog.tests.database.adopted import OLDEST, connected, contents, duplicate, old

pytestmark = pytest.mark.database
__all__ = ["old"]


class TestDuplicates:
    def test_are_refused_with_examples(self, old):
        dsn = old(OLDEST, cluttered=False)
        with connected(dsn) as connection:
            duplicate(connection)
            columns, before = contents(connection)
            refused = look(connection).refused
            assert [text.partition(" in ")[0] for text in refused] == [
                "image: 4 rows too many have the same provider, md5(foreign_identifier),",
                "image: 4 rows too many have the same url,",
            ]
            assert all("2 groups" in text and "--duplicates newest" in text for text in refused)
            with pytest.raises(Refused, match="4 rows too many"):
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
                "select to_jsonb(i) - '{standardized_popularity,duplicate_of,moved_on}'::text[], duplicate_of from image_duplicates i"
            ).fetchall()
            deleted = connection.execute(
                "select to_jsonb(i) - '{standardized_popularity,deleted_on,deleted_reason}'::text[], deleted_reason from deleted_image i"
            ).fetchall()
            assert (len(aside), len(deleted)) == (4, 2)
            assert {reason for _, reason in deleted} == {"duplicate"}
            moved = {UUID(row["identifier"]): row for row, _ in aside + deleted}
            assert {**stays, **moved} == everything
            keys = [(row["provider"], row["foreign_identifier"]) for row, _ in aside]
            kept = [(before[of]["provider"], before[of]["foreign_identifier"]) for _, of in aside]
            assert keys == kept

    def test_of_what_is_deleted_go_to_the_other_table(self, old):
        """One of the records that share a URL was deleted before."""
        dsn = old("December 2023", cluttered=False)
        with connected(dsn) as connection:
            duplicate(connection)
            [(identifier, key)] = connection.execute(
                "select identifier, foreign_identifier from image where foreign_identifier like '% other' limit 1"
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
