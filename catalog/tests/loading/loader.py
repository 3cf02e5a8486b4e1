"""Records, and a loader that writes them into TSV parts and loads those into a real PostgreSQL."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg
from upath import UPath

from catalog.core.licenses import CC0
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.ingestion.parts import Counts, Manifest
from catalog.ingestion.records import Audio, Image
from catalog.ingestion.tsv import Encoder
from catalog.ingestion.urls import UrlCleaner
from catalog.loading.load import Load
from catalog.loading.report import LoadKey, LoadReport


def jpg(number: int | str) -> str:
    """Return the URL of an image's file."""
    return f"https://example.org/{number}.jpg"


def image(number: int | str, **fields: Any) -> Image:
    """Return an image with a license and the fields given."""
    base = {
        "foreign_identifier": f"id{number}",
        "foreign_landing_url": f"https://example.org/{number}",
        "url": jpg(number),
        "license": CC0,
    }
    return Image(**{**base, **fields})


def audio(number: int | str, **fields: Any) -> Audio:
    """Return an audio record with a license and the fields given."""
    base = {
        "foreign_identifier": f"id{number}",
        "foreign_landing_url": f"https://example.org/{number}",
        "url": f"https://example.org/{number}.mp3",
        "license": CC0,
    }
    return Audio(**{**base, **fields})


def delete(catalog: Connection, number: int) -> None:
    """Delete a record as the deletion DAG does: into the table of deleted records."""
    key = f"id{number}"
    catalog.execute(
        """
        insert into deleted_image
        select image.*, now(), 'takedown' from image where foreign_identifier = %s
        """,
        [key],
    )
    catalog.execute("delete from image where foreign_identifier = %s", [key])


def outcome(report: LoadReport) -> tuple[int, int, int, int, int]:
    """Return the numbers of rows: inserted, updated, unchanged, skipped, rejected."""
    return (
        report.inserted,
        report.updated,
        report.unchanged,
        sum(report.skipped.values()),
        sum(report.rejected.values()),
    )


class Loader:
    """Load lists of records, each list as one part and, unless given otherwise, as a run of its own."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn, self.folder = dsn, UPath(folder)

    def lines(
        self, records: Iterable[Image | Audio], provider: str = "example", media_type: MediaType = "image"
    ) -> list[str]:
        """Return the lines of the records' TSV part."""
        encoder = Encoder(media_type, provider, UrlCleaner())
        return [encoder.line(r) for r in records]

    def __call__(
        self,
        records: Sequence[Image | Audio],
        *,
        provider: str = "example",
        media_type: MediaType = "image",
        run_id: str | None = None,
        token: str | None = None,
        lines: Sequence[str | bytes] | None = None,
        counts: Counts | None = None,
        complete: bool = True,
        started: datetime | None = None,
        whole: bool = False,
        window: tuple[datetime, datetime] | None = None,
        times: Sequence[tuple[int, datetime]] = (),
        **options: Any,
    ) -> LoadReport:
        """Load the records, or the lines in their place, each as a page of its own if pages have `times`.

        `options` are those of `Load`.
        """
        lines = self.lines(records, provider, media_type) if lines is None else lines
        pages = [[line] for line in lines] if times else [lines]
        parts = []
        for number, page in enumerate(pages):
            parts.append(self.folder / f"{uuid.uuid4().hex}_{number:06}.tsv")
            parts[-1].write_bytes(
                b"".join(line if isinstance(line, bytes) else line.encode() for line in page)
            )
        token = token or uuid.uuid4().hex
        manifest = Manifest(
            provider="example",
            run_id=token,
            window=window,
            replayed=False,
            started=started or datetime.now(UTC),
            token=token,
            pages=len(pages),
            times=list(times),
            seconds=1.5,
            counts={media_type: counts or Counts(fetched=len(lines), written=len(lines))},
            complete=complete,
            whole=whole,
        )
        key = LoadKey("example_workflow", run_id or token)
        with psycopg.connect(self.dsn) as connection:
            self.connection = connection
            load = Load(
                connection,
                media_type,
                provider,
                parts,
                manifest,
                key,
                rejects=self.folder / "rejects.jsonl",
                **options,
            )
            return load.run()

    def rejects(self) -> list[dict[str, Any]]:
        """Return the list of the rows that the last load did not keep."""
        path = self.folder / "rejects.jsonl"
        return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
