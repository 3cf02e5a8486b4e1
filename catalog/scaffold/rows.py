"""`./just expect [name …]`: runs providers on their recordings and writes expected.jsonl."""

import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from upath import UPath

from catalog.cli import program
from catalog.cli.program import err
from catalog.cli.pull_output import mapping_tracebacks, show_rejects
from catalog.cli.pulling import RECORDED
from catalog.core.columns import COLUMNS
from catalog.core.errors import CatalogError
from catalog.core.jsontypes import JsonObject
from catalog.ingestion.assemble import client_for, replay_of, window_of
from catalog.ingestion.options import Options
from catalog.ingestion.parts import Manifest, Parts
from catalog.ingestion.pull import Pull
from catalog.ingestion.reasons import added_up
from catalog.ingestion.registry import FOLDER, api_names, provider_class
from catalog.ingestion.shortfalls import Advice
from catalog.ingestion.state import Checkpoint
from catalog.ingestion.windows import Window

_JSON = ("meta_data", "tags", "audio_set", "alt_files")


def pull_recording(
    provider: str,
    folder: Path,
    *,
    options: Options | None = None,
    checkpoint: Checkpoint | None = None,
    **more: Any,
) -> tuple[Manifest, Parts]:
    """Pull everything from the provider's own recording into `folder`."""
    cls, replay = provider_class(provider), replay_of(provider, FOLDER)
    window = window_of(cls, None, replay)
    parts = _parts(provider, folder, window)
    client = client_for(cls, None, replay=replay)
    pull = Pull(
        cls(),
        client,
        parts,
        run_id="test",
        window=window,
        options=options,
        checkpoint=checkpoint,
        advice=Advice(short=RECORDED, skipped=RECORDED),
        **more,
    )
    return pull.run(), parts


def _parts(provider: str, folder: Path, window: Window | None) -> Parts:
    return Parts(UPath(folder), provider, datetime(2024, 2, 11, tzinfo=UTC), window)


def unescape(field: str) -> str | None:
    if field == r"\N":
        return None
    return re.sub(r"\\(.)", lambda m: {"t": "\t", "n": "\n", "r": "\r"}.get(m.group(1), m.group(1)), field)


def read_rows(parts: Parts, manifest: Manifest) -> list[JsonObject]:
    """Return the rows of all media types, without NULLs and with decoded JSON."""
    rows = []
    for media_type in provider_class(manifest.provider).catalog_names:
        for path in parts.tsv_files(media_type, manifest):
            for line in path.read_text().splitlines():
                fields = zip(COLUMNS[media_type], map(unescape, line.split("\t")), strict=True)
                row = {
                    name: orjson.loads(value) if name in _JSON else value
                    for name, value in fields
                    if value is not None
                }
                rows.append({"media_type": media_type, **row})
    return rows


def as_lines(found: list[JsonObject]) -> bytes:
    """Return rows as expected.jsonl holds them."""
    return b"".join(orjson.dumps(row) + b"\n" for row in found)


def expected_file(provider: str) -> Path:
    return FOLDER / provider / "expected.jsonl"


def expect(provider: str) -> Manifest:
    """Write expected.jsonl: the rows of the provider's recording.

    Raises:
        CatalogError: The recording does not yield a whole pull, or no rows, so the file is unchanged. The
            message says which items were not written, and why.
    """
    with tempfile.TemporaryDirectory() as scratch, mapping_tracebacks():
        try:
            manifest, parts = pull_recording(provider, Path(scratch))
        except CatalogError as error:
            window = window_of(provider_class(provider), None, replay_of(provider, FOLDER))
            parts = _parts(provider, Path(scratch), window)
            counts = f" {'; '.join(lines)}." if (lines := outcomes(parts.load())) else ""
            show_rejects(parts)
            raise CatalogError(f"the recording is not read as a whole.{counts} {error}") from None
        if not (rows := read_rows(parts, manifest)):
            said = "its pages hold no items; check `items` of the paginator"
            if any(counts.fetched for counts in manifest.counts.values()):
                said = "; ".join(outcomes(manifest))
            raise CatalogError(f"the recording of {provider} yields no rows: {said}.")
        show_rejects(parts)
        expected_file(provider).write_bytes(as_lines(rows))
    return manifest


def undecided(provider: str) -> list[str]:
    """Return the lines of a provider's source that add-provider left to be decided, each with its place.

    A place is one that terminals and editors open: `catalog/providers/nappy/provider.py:12: …`.
    """
    return [
        f"{path.relative_to(FOLDER.parent.parent)}:{number}: {line.strip()}"
        for path in sorted((FOLDER / provider).glob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\bTODO\b", line)
    ]


def outcomes(manifest: Manifest | None) -> list[str]:
    """Return a line per media type: how many items were written, and why the others were not."""
    lines: list[str] = []
    if manifest is None:
        return lines
    for media_type, counts in manifest.counts.items():
        reasons = added_up(counts.skipped, counts.rejected)
        left = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
        lines.append(
            f"{manifest.provider}: {counts.written} of {counts.fetched} {media_type} items written; "
            f"left out: {left or 'none'}"
        )
    return lines


def main(names: list[str]) -> None:
    """Write expected.jsonl of the named providers, or of all, and print the outcomes.

    Raises:
        CatalogError: Something is left to be decided. The rows are written nevertheless, for comparison.
    """
    left: list[str] = []
    for name in names or api_names():
        for line in outcomes(expect(name)):
            err.print(line, soft_wrap=True)
        left += undecided(name)
    for line in left:
        err.print(line, soft_wrap=True)
    if left:
        raise CatalogError(
            "the rows are written, but the lines above are to be decided; tests fail until no TODO is left"
        )


if __name__ == "__main__":
    program.run(lambda: main(sys.argv[1:]), "just expect")
