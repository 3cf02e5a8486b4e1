"""`catalog search` and `catalog tag-policy`: searching the index, explaining and comparing tag policies."""

import json
import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from catalog.cli.connections import ENGINE, api, engine
from catalog.cli.output import AsJson, print_json
from catalog.cli.program import err, out
from catalog.core.errors import Fatal
from catalog.core.media import MediaType
from catalog.data_refresh.search import policy_diff
from catalog.data_refresh.search.identity import filtered_name
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.queries import search
from catalog.data_refresh.search.tag_policy import DEFAULT, RULES, TagPolicy, built_with, policy_from

policies = typer.Typer(no_args_is_help=True, help="Explain and compare the policies for searched tags.")

Media = Annotated[MediaType, typer.Option("--media", help="image or audio")]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        help="A policy as JSON, as in TAG_POLICY. Default: AIRFLOW_VAR_TAG_POLICY, else the built-in one.",
    ),
]


def policy_of(path: Path | None) -> TagPolicy:
    text = path.read_text(encoding="utf-8") if path else os.environ.get("AIRFLOW_VAR_TAG_POLICY")
    try:
        return policy_from(msgspec.json.decode(text)) if text else DEFAULT
    except (msgspec.DecodeError, RecursionError) as error:
        raise Fatal(f"the tag policy is not JSON: {error}") from None


def search_command(
    words: str,
    media: Media = "image",
    filtered: Annotated[
        bool, typer.Option("--filtered", help="Omit media that contain sensitive terms.")
    ] = False,
    size: Annotated[int, typer.Option(min=1, max=100, help="Hits to show.")] = 10,
    open_first: Annotated[
        bool, typer.Option("--open", help="Open the file of the best hit in the browser.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Search the index as the API does."""
    alias = filtered_name(media) if filtered else media
    hits = search(Indexes(engine(), patience=0), alias, words.strip(), size)
    if open_first and hits.first:
        if url := web_address(hits.first[0].source.get("url")):
            typer.launch(url)
        else:
            err.print("The best hit has no address that a browser may open.")
    if as_json:
        print_json(msgspec.structs.asdict(hits) | {"first": [hit.source for hit in hits.first]})
        raise typer.Exit(0 if hits.total else 1)
    table = Table(
        "score",
        "title",
        "creator",
        "source",
        "license",
        "tags",
        "identifier",
        title=f"{hits.total:,} {'hit' if hits.total == 1 else 'hits'} for {words!r} in {hits.index}",
    )
    for hit in hits.first:
        shown = map(hit.text, ("title", "creator", "source", "license"))
        table.add_row(f"{hit.score:.2f}", *shown, hit.tags(6), hit.identifier)
    out.print(table)
    if not hits.total:
        raise typer.Exit(1)


def web_address(url: Any) -> str:
    """Return a URL if a browser may open it; "" for other values, such as `file:` URLs."""
    try:
        return url if isinstance(url, str) and urlsplit(url).scheme in ("http", "https") else ""
    except ValueError:
        return ""


@policies.command()
def explain(
    key: Annotated[str, typer.Option("--id", help="Identifier or row id.")],
    media: Media = "image",
    policy: PolicyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show which rule keeps or drops each tag of a record."""
    chosen = policy_of(policy)
    with api() as connection:
        verdicts = policy_diff.explain(connection, media, key, chosen)
    if as_json:
        print_json(
            {"policy": chosen.digest, "tags": [{"tag": tag, "dropped_by": rule} for tag, rule in verdicts]}
        )
        return
    table = Table(
        "tag",
        "provider",
        "accuracy",
        "in the document",
        "rule",
        title=f"{media} {key} under policy {chosen.digest}",
    )
    for tag, rule in verdicts:
        about = tag if isinstance(tag, dict) else {"name": json.dumps(tag)}
        shown = [str(about.get(k, "")) for k in ("name", "provider", "accuracy")]
        table.add_row(*shown, Text("no", "red") if rule else Text("yes", "green"), rule or "")
    out.print(table)
    _which_built(media, chosen)


def _meta(media_type: MediaType) -> dict[str, Any]:
    """Return what the live index says of itself; empty if there is none. Raises SeveralIndexes."""
    return Indexes(engine(), patience=0).live_meta(media_type)


def _which_built(media_type: MediaType, chosen: TagPolicy) -> None:
    if ENGINE in os.environ and (digest := _meta(media_type).get("tag_policy_digest")):
        same = (
            "the same policy"
            if digest == chosen.digest
            else f"policy {digest}; rebuild it with {media_type}_data_refresh, conf index_only"
        )
        out.print(f"The live index was built with {same}.")


@policies.command()
def diff(
    policy: PolicyFile = None,
    media: Media = "image",
    rows: Annotated[int, typer.Option("--sample", min=1, help="Number of records in the sample.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Show what a changed policy would do to a sample of the API database. Nothing is changed."""
    built = built_with(_meta(media)) if ENGINE in os.environ else None
    old, new = built or DEFAULT, policy_of(policy)
    with api() as connection:
        difference = policy_diff.compare(policy_diff.sample(connection, media, rows), old, new)
    if as_json:
        print_json({"old": old.digest, "new": new.digest, **msgspec.to_builtins(difference)})
        return
    share = difference.changed / max(difference.rows, 1)
    title = f"{difference.changed:,} of {difference.rows:,} documents would change ({share:.1%})"
    table = Table(
        "tags", f"policy {old.digest}{'' if built else ' (default)'}", f"policy {new.digest}", title=title
    )
    for rule in ("kept", *RULES):
        table.add_row(rule, f"{difference.before.get(rule, 0):,}", f"{difference.after.get(rule, 0):,}")
    out.print(table)
    for word, names in (("gained", difference.gained), ("lost", difference.lost)):
        if names:
            shown = ", ".join(f"{name} ({number:,})" for name, number in names.most_common(10))
            out.print(f"{word} most: {shown}")
