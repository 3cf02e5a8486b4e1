"""Checks that a version is not suspiciously small; the limits are those of a data refresh."""

from collections.abc import Iterable

from catalog.core.errors import Fatal
from catalog.core.wording import join_first
from catalog.publishing.manifest import Manifest

TOTAL = 0.10  # share of all records of a media type that may be missing
SOURCE = 0.5  # share of a provider that may be missing
SOURCE_SIZE = 1000  # records from which a provider is checked
REMEDY = (
    'If that is right, trigger a run with the conf {"accept_shrinkage": true}. The version before is still '
    "the newest."
)


def shrinkage(before: Manifest, now: Manifest) -> list[str]:
    """Return what a version has lost beyond the usual, one sentence with both numbers per finding."""
    found = [
        f"{media_type}: {now.rows.get(media_type, 0):,} records, {rows:,} are published"
        for media_type, rows in sorted(before.rows.items())
        if now.rows.get(media_type, 0) < (1 - TOTAL) * rows
    ]
    rows_now = {(one.media_type, one.provider): one.rows for one in now.providers}
    for one in before.providers:
        left = rows_now.get((one.media_type, one.provider), 0)
        if one.rows >= SOURCE_SIZE and left <= (1 - SOURCE) * one.rows:
            found.append(
                f"{one.media_type}: {left:,} records of {one.provider or 'no provider'}, "
                f"{one.rows:,} are published"
            )
    return found


def refuse_shrinkage(findings: Iterable[str]) -> None:
    """Raise Fatal if there are findings."""
    if findings := list(findings):
        small = join_first(findings, most=20, separator="; ")
        raise Fatal(f"the new version is suspiciously small: {small}. {REMEDY}")
