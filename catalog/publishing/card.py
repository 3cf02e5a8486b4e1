"""The dataset card: what a version contains, under which licenses, and how to query it."""

from collections import Counter
from collections.abc import Iterable

from humanize import naturalsize

from catalog.core.media import MediaType
from catalog.publishing.columns import columns
from catalog.publishing.manifest import Manifest
from catalog.publishing.versions import MODERATED

_UNSAFE = str.maketrans({char: f"\\{char}" for char in "\\`*_[]<>|#~"} | {"\n": " ", "\r": " "})
_HEAD = """# Media catalog, version {version}

Records of openly licensed media: where each work is, who made it, and under which license. The files contain
no media, only what describes them.

| | |
| --- | --- |
| Version | {version}, published on {day} |
| State of the catalog | {taken} (one snapshot for all files) |
| Records | {rows} |
| Size | {size} |
| Sensitive records | {sensitive} |
| Decisions of moderators | {moderated} |
| Records left out for these two reasons | {left_out} |
| Version of the schema | {schema} |

Records that were deleted from the catalog, or removed by their source, are left out.

## Files

`<media type>/<provider>/*.parquet`, compressed with zstd; records are in the order of the catalog's table,
about that of their changes. In the name of a provider's folder, each byte that is not a lower-case letter,
digit, `-` or `_`, and a `_` in front, is written as `~` and two hexadecimal digits; records without a
provider are in `~null`. `manifest.json` lists
each file with its number of records, size and SHA-256; `croissant.json` describes the columns for
machine-learning tools.{changes}
"""
_QUERY = """## How to query it

    -- DuckDB, in the folder of this version
    select source, license, count(*) from 'image/*/*.parquet' group by all order by 3 desc;
    select title, url from 'image/*/*.parquet'
     where list_contains(list_transform(tags, lambda t: t.name), 'cat');

    # pandas
    pandas.read_parquet("image/flickr", columns=["identifier", "title", "license"])
"""
_LICENSES = """## Licenses and attribution

Each **work** is under the license that its record names: `license`, `license_version`, and, where the record
has it, `license_url` in `meta_data`. Users of a work have to follow it; licenses with `by` in their name
ask for attribution, for example: "`title`" by `creator`, from `foreign_landing_url`, under the license's name
with its URL.
A version of a license that has no URL of its own, such as 2.1, is not linked.
Sources can be wrong about licenses: check the landing page before you rely on one.
The **records** come from the sources below, whose own terms may apply to them.
"""


def card(manifest: Manifest) -> bytes:
    """Return the card of a version as Markdown."""
    rows = ", ".join(f"{number:,} {media_type}" for media_type, number in manifest.rows.items())
    parts = [
        _HEAD.format(
            version=manifest.version,
            day=manifest.published_on[:10],
            taken=manifest.snapshot.taken_on,
            rows=rows,
            size=naturalsize(manifest.bytes),
            sensitive="included" if manifest.settings.get("include_sensitive") else "left out",
            moderated="applied" if manifest.settings.get(MODERATED) else "not applied",
            left_out=", ".join(f"{number:,} {kind}" for kind, number in manifest.left_out.items())
            or "unknown",
            schema=manifest.schema_version,
            changes=_changes(manifest),
        ),
        _QUERY,
        "## Columns\n",
    ]
    media_types: list[MediaType] = [m for m in ("image", "audio") if manifest.rows.get(m)]
    for media_type in media_types:
        parts.append(f"`{media_type}`\n")
        described = ((f"`{c.name}`", f"`{c.type}`", c.about) for c in columns(media_type))
        parts.append(_table(("Column", "Type", "Meaning"), described))
    parts += [_LICENSES, _table(("License", "Records"), _by_license(manifest))]
    parts.append("## Records by source and license\n")
    parts.append(
        _table(
            ("Media type", "Source", "License", "Records"),
            (
                (one.media_type, _text(one.source), _name(one.license, one.license_version), f"{one.rows:,}")
                for one in manifest.licenses
            ),
        )
    )
    return "\n".join(parts).encode()


def _changes(manifest: Manifest) -> str:
    changes = manifest.changes
    if changes is None:
        return ""
    lost = f"`{_text(changes.lost)}` of version {changes.against} is missing or altered"
    if not changes.files:
        return f"\n\nThere is no change set: {lost}."
    numbers = "; ".join(
        f"{media_type}: {changes.added[media_type]:,} added, {changes.changed[media_type]:,} changed, "
        f"{changes.removed[media_type]:,} removed"
        for media_type in changes.files
    )
    return (
        "\n\n`changes/*.parquet` has the identifiers that differ from version "
        f"{changes.against} ({numbers}). A record counts as changed if its `updated_on` differs."
        + (f" There is none of the other media type: {lost}." if changes.lost else "")
    )


def _by_license(manifest: Manifest) -> Iterable[tuple[str, str]]:
    rows = Counter[tuple[str, str | None]]()
    for one in manifest.licenses:
        rows[(_name(one.license, one.license_version), one.license_url)] += one.rows
    for (name, url), number in rows.most_common():
        yield f"[{name}]({url})" if url else name, f"{number:,}"


def _name(license_name: str, version: str | None) -> str:
    return _text(f"{license_name} {version or ''}".strip())


def _text(value: str | None) -> str:
    return "(none)" if value is None else value.translate(_UNSAFE)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
