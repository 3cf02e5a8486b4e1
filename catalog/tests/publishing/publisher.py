"""The steps of a run of `publish_dataset`, without Airflow, and what readers find."""

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
from upath import UPath

from catalog.publishing import new_version, parts, release, retention, run_version, writing
from catalog.publishing.columns import columns


class Publisher:
    """Publishes versions of a catalog database to a folder.

    Args:
        dsn: The database.
        root: The folder of all versions.
        pages: Heap pages of a range.
        least: Mean number of rows in a range from which a provider is read by ranges.
    """

    def __init__(self, dsn, root, pages=4, least=2):
        self.dsn, self.pages, self.least = dsn, pages, least
        self.settings = {"include_sensitive": True}
        self.root = root if isinstance(root, UPath) and root.protocol == "s3" else UPath(f"file://{root}")

    @contextmanager
    def connected(self):
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            yield connection

    def begin(self, run="run", **options):
        with self.connected() as connection:
            return new_version.begin(
                connection,
                self.root,
                run,
                self.settings,
                lambda: parts.plan(connection, pages=self.pages, least=self.least),
                **options,
            )

    def write(self, run="run", **options):
        with self.connected() as control, self.connected() as holder:
            number = run_version.working(control, self.root, run).number
            return writing.write_parts(control, holder, self.root, number, **options)

    def compare(self, run="run"):
        with self.connected() as connection:
            version = run_version.working(connection, self.root, run)
            return release.compare_with_newest(connection, self.root, version)

    def publish(self, run="run", **options):
        with self.connected() as connection:
            version = run_version.working(connection, self.root, run)
            return release.publish(connection, self.root, version, **options)

    def delete_old(self, keep=3):
        with self.connected() as connection:
            return retention.delete_old(connection, self.root, keep)

    def run(self, run="run", **options):
        """Do all steps but the deletion; return the number of the version."""
        number = self.begin(run).number
        self.write(run)
        self.compare(run)
        self.publish(run, **options)
        return number

    def pointer(self):
        """Return the number of the newest version."""
        path = self.root / "latest.json"
        return json.loads(path.read_text())["version"] if path.exists() else None

    def manifest(self, number=None):
        return json.loads((self.root / f"v{number or self.pointer()}" / "manifest.json").read_text())

    def rows(self, media_type="image", number=None):
        """Return the records of a version by identifier, as readers find them; check the manifest."""
        number = number or self.pointer()
        found, folder = {}, self.root / f"v{number}"
        manifest = self.manifest(number)
        for file in manifest["files"] + manifest["documents"]:
            data = (folder / file["path"]).read_bytes()
            assert len(data) == file["bytes"]
            assert hashlib.sha256(data).hexdigest() == file["sha256"]
        for file in manifest["files"]:
            if file["media_type"] == media_type:
                with (folder / file["path"]).open("rb") as stream:
                    rows = pq.ParquetFile(stream).read().to_pylist()
                assert len(rows) == file["rows"]
                assert {row["provider"] for row in rows} == {file["provider"]}
                for row in rows:
                    assert row["identifier"] not in found
                    found[row["identifier"]] = row
        return found

    def files(self):
        """Return the paths and contents of all files below the root."""
        root = Path(self.root.path)
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def table(connection, media_type="image"):
    """Return the records of the catalog by identifier, as they should be published."""
    names = ", ".join(c.name for c in columns(media_type))
    found = {}
    with connection.cursor() as cursor:
        cursor.execute(f"select {names} from {media_type} where not removed_from_source")
        for values in cursor:
            row = dict(zip([c.name for c in columns(media_type)], values, strict=True))
            found[str(row["identifier"])] = {**row, "identifier": str(row["identifier"])}
    return found


def comparable(row):
    """Return a record with JSON values parsed, and the keys of tags that are published."""
    row = dict(row)
    for name in ("meta_data", "audio_set", "alt_files"):
        if isinstance(row.get(name), str):
            row[name] = json.loads(row[name])
    if row["tags"] is not None:
        row["tags"] = [
            {key: tag.get(key) for key in ("name", "provider", "accuracy")}
            for tag in (row["tags"] if isinstance(row["tags"], list) else [])
            if isinstance(tag, dict) and isinstance(tag.get("name"), str)
        ]
    return row
