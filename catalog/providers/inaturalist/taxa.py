"""Titles and tags of taxa, with common names from the Catalogue of Life."""

import logging
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from psycopg import sql
from upath import UPath

from catalog.core.errors import Fatal
from catalog.core.files import is_local
from catalog.core.session import Connection, raise_memory
from catalog.core.sql_files import read_sql
from catalog.loading.delimited import Unreadable, bounded_lines, fault
from catalog.providers.inaturalist.dump_files import CHUNK, damage, header, missing_columns
from catalog.providers.inaturalist.progress import note_loaded, require, rows_loaded
from catalog.providers.inaturalist.provider import FILES

log = logging.getLogger(__name__)
_NAMES = {
    "vernacular_names": ("VernacularName.tsv", ("taxonID", "name", "country")),
    "scientific_names": ("NameUsage.tsv", ("ID", "scientificName")),
}


def load_names(connection: Connection, archive: UPath | None, token: str) -> dict[str, int]:
    """Load common names from the Catalogue of Life's archive (a ZIP in the format ColDP).

    Columns are selected by name, because the columns of the export change from time to time.

    Args:
        connection: Connection to the catalog database.
        archive: The archive; None loads no names.
        token: Token of the dump that the run has prepared.

    Returns:
        Table → number of rows.

    Raises:
        Fatal: The file is not such an archive, more than 1 % of the lines of a member are malformed, or the
            tables are no longer those of this dump.
        Retry: The archive is damaged.
    """
    with connection.transaction():
        if rows_loaded(connection, token, "names") is not None or archive is None:
            return {}
        found, unreadable = {}, 0
        with damage(archive.name), _local(archive) as packed, zipfile.ZipFile(packed) as files:
            for table in _NAMES:
                found[table], left_out = _copy_names(connection, files, table)
                unreadable += left_out
        if not all(found.values()):
            raise Fatal(
                f"{archive.name} holds no names: {found}; is it the Catalogue of Life in the format ColDP?"
            )
        note_loaded(connection, "names", sum(found.values()), unreadable)
    log.info("Catalogue of Life: %s, %s unreadable", found, f"{unreadable:,}")
    return found


def forget_names(connection: Connection) -> None:
    """Empty the tables of names, so that they are loaded, and taxa are named, again."""
    connection.execute("truncate inaturalist.vernacular_names, inaturalist.scientific_names")
    connection.execute("delete from inaturalist.loaded where name in ('names', 'taxa_named')")


@contextmanager
def _local(path: UPath) -> Iterator[IO[bytes]]:
    """Open a local copy of a file, because a ZIP is read from its end."""
    with path.open("rb") as source:
        if is_local(path):
            yield source
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(source, copy, CHUNK)
            yield copy


def _copy_names(connection: Connection, files: zipfile.ZipFile, table: str) -> tuple[int, int]:
    """Copy a member of the archive; return the numbers of rows and of skipped lines."""
    member, needed = _NAMES[table]
    try:
        opened = files.open(member)
    except KeyError:
        raise Fatal(
            f"the archive has no {member}; is it the Catalogue of Life in the format ColDP?"
        ) from None
    statement = sql.SQL("copy {} from stdin").format(sql.Identifier("inaturalist", table))
    seen = Unreadable(member)
    with opened as raw, BufferedReader(raw, CHUNK) as file, connection.cursor() as cursor:  # type: ignore[type-var]
        columns = [name.removeprefix("col:") for name in header(member, file)]
        if missing := set(needed) - set(columns):
            raise missing_columns(member, missing, columns)
        places = [columns.index(column) for column in needed]
        with cursor.copy(statement) as copy:
            for line in seen.counted(bounded_lines(file)):
                if reason := fault(line, len(columns)):
                    seen.add(reason, line)
                    continue
                row = line.decode().rstrip("\r\n").split("\t")
                copy.write_row([row[place] or None for place in places])
        seen.check()
        return cursor.rowcount, seen.number


def name_taxa(connection: Connection, token: str) -> int:
    """Compute title and tags of each taxon, after files and names were loaded.

    Args:
        connection: To the catalog database.
        token: Token of the dump that the run has prepared.

    Returns:
        The number of taxa.

    Raises:
        Fatal: The tables do not hold what was loaded of this dump.
    """
    with connection.transaction():
        if (known := rows_loaded(connection, token, "taxa_named")) is not None:
            return known
        require(connection, token, FILES, counted=True)
        raise_memory(connection, "work_mem", "512MB")
        connection.execute(read_sql(Path(__file__).with_name("taxa.sql")))
        taxa = connection.execute("select count(*) from inaturalist.taxa_named").fetchone()
        assert taxa
        note_loaded(connection, "taxa_named", taxa[0], 0)
        return int(taxa[0])
