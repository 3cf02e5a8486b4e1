"""`./just add-provider NAME URL [image] [audio] [--from PAGE …]` creates the folder of a new provider.

It contains a declaration, a mapping, a made-up recording in the shape that they assume, and the rows that
result from it. So the tests of all providers pass from the start, and show the effect of each change. With
`--from`, the shape is that of recorded pages of the real API.
"""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer
from rich.text import Text

from catalog.cli import program
from catalog.cli.program import err
from catalog.core.errors import CatalogError, Refused
from catalog.core.jsontypes import JsonObject, keys_in
from catalog.core.media import MediaType
from catalog.core.secrets import is_secret
from catalog.ingestion.json_reader import read_json
from catalog.ingestion.registry import FOLDER
from catalog.scaffold.fields import Fields
from catalog.scaffold.new import NewProvider
from catalog.scaffold.paging import Paging, address
from catalog.scaffold.recorded import Shape, read_pages, requests_of, shape_of, write_recording
from catalog.scaffold.rows import expect, outcomes
from catalog.scaffold.source import NOT_GUESSED, TEMPLATES, source

say = partial(err.print, soft_wrap=True)


def write(
    new: NewProvider, folder: Path, recorded: Sequence[Path] = (), posted: JsonObject | None = None
) -> Shape:
    """Write the provider's files to `folder`, which must not exist.

    Args:
        new: Names, address and media types.
        folder: The folder of the provider.
        recorded: Recorded pages of the real API; without them, the shape is made up, too.
        posted: The body of the POST that requests the first page; None if it is requested by GET.

    Returns:
        What was found in the pages.

    Raises:
        Refused: A recorded page cannot be read, or none holds a list of objects.
    """
    url = address(new.url, posted)
    bodies = read_pages(recorded, url.endpoint) if recorded else [sample_page(new)]
    requests = requests_of(recorded, url.endpoint)
    shape = shape_of(bodies, url, new.media, real=bool(recorded), requests=requests)
    text = source(new, shape, url, guessed=bool(recorded))
    about = "Made up by add-provider: two pages, one item without an identifier" + (
        "; the structure is that of the real API." if recorded else ", an empty page."
    )
    folder.mkdir(parents=True)
    with removed_on_error(folder):
        (folder / "recording").mkdir()
        (folder / "__init__.py").touch()
        write_recording(new.name, url, shape, folder / "recording", about)
        (folder / "provider.py").write_text(text, encoding="utf-8")
    return shape


@contextmanager
def removed_on_error(folder: Path, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Remove a folder that is not completed, even if the command is interrupted; not on the errors `but`."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, but):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def sample_page(new: NewProvider) -> dict[str, object]:
    """Return a page of an API that nobody has seen yet."""
    items = [sample_item(new, f"{n}", new.media[(n - 1) % len(new.media)]) for n in (1, 2, 3)]
    return {"total": len(items), "results": items}


def sample_item(new: NewProvider, name: str, medium: MediaType) -> dict[str, object]:
    """Return a made-up item."""
    site = f"https://{urlsplit(new.url).hostname}"
    common = {
        "id": name,
        "type": medium,
        "page_url": f"{site}/items/{name}",
        "license_url": "https://creativecommons.org/licenses/by/4.0/",
        "title": f"Made-up item {name}",
        "author": "Mia Maker",
        "author_url": f"{site}/people/mia",
        "tags": ["made", "up"],
    }
    if medium == "image":
        return {**common, "file_url": f"{site}/files/{name}.jpg", "width": 1200, "height": 800}
    return {**common, "file_url": f"{site}/files/{name}.mp3", "seconds": 61.5}


def posted(text: str | None) -> JsonObject | None:
    """Return the body of a POST.

    Raises:
        Refused: It is not a JSON object, or holds a key of the API, which would be kept.
    """
    if text is None:
        return None
    try:
        found = read_json(text.encode())
    except (ValueError, UnicodeEncodeError) as error:
        raise Refused(f"--body cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise Refused('--body must be a JSON object, such as {"query": "clouds", "page": 1}')
    if secret := next(filter(is_secret, keys_in(found)), None):
        raise Refused(
            f"--body holds a secret, {secret!r}, which would be kept; leave it out, and override ApiKey.sign"
        )
    return found


def guesses(shape: Shape, media: Sequence[MediaType]) -> list[str]:
    """Return, as lines, what was found in recorded pages."""
    paging, fields = shape.paging, shape.fields
    given = {n: v for n, v in msgspec.structs.asdict(paging).items() if v and v != getattr(Paging(), n)}
    given.pop("kind", None)
    doubt, number = given.pop("doubt", None), given.pop("repeated", None)
    given = {"items": paging.items or "are the response itself", **given}
    given |= {"the page's own number:": number} if number else {}
    pages = ", ".join(f"{name} {value}" for name, value in given.items())
    internal = {"tag_name", "medium", "wrapper", "unsure", "license_is_name", "license_version", "size"}
    known = [name for name, value in msgspec.structs.asdict(fields).items() if value and name not in internal]
    unneeded = {*internal}
    unneeded |= {"width", "height"} if "image" not in media or fields.size else set()
    unneeded |= {"duration"} if "audio" not in media else set()
    absent = [name for name in Fields.__struct_fields__ if name not in (*known, *unneeded)]
    absent += NOT_GUESSED if "audio" in media else []
    absent += [] if paging.total else ["the number of items (`total`), against which a pull is checked"]
    absent += [doubt] if doubt else []
    return [
        f"pages: {paging.kind}, {pages}",
        f"found: {', '.join(known)}",
        f"not found: {', '.join(absent) or 'nothing is missing'}",
    ]


def main(
    title: Annotated[str, typer.Argument(help='Its name as it is written: "Made-Up Museum".')],
    url: Annotated[str, typer.Argument(help="Address of the API's list of items, with the query of a page.")],
    media: Annotated[list[str] | None, typer.Argument(help="image, audio or both; default: image.")] = None,
    recorded: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            exists=True,
            help="A recorded page of the API (JSON), or a folder of them; may be repeated. Its structure is "
            "kept, all values are made up.",
        ),
    ] = None,
    body: Annotated[
        str | None,
        typer.Option(
            help="For an API that is searched by POST: the JSON object that requests the first page."
        ),
    ] = None,
) -> None:
    """Create the folder of a new provider."""
    wanted: Sequence[str] = media or ["image"]
    if wrong := [m for m in wanted if m not in ("image", "audio")]:
        _refuse(f"{wrong[0]!r} is not a media type; use image or audio")
    new = NewProvider(title, url, tuple(dict.fromkeys(wanted)))  # type: ignore[arg-type]
    if problem := new.problem():
        _refuse(problem)
    folder = FOLDER / new.name
    try:
        shape = write(new, folder, recorded or (), posted(body))
    except Refused as error:
        _refuse(f"{error}".rstrip("."))
    if shape.fields.license is None:
        for line in guesses(shape, new.media):
            say(line)
        raise CatalogError(
            f"{folder} is made, but no value of an item is the address or the name of a license, and none is "
            "guessed: every item is skipped. Map the license at the TODO of provider.py, then run "
            f"./just expect {new.name}"
        )
    try:
        with removed_on_error(folder, but=(CatalogError,)):
            lines = [*(guesses(shape, new.media) if recorded else ()), *outcomes(expect(new.name))]
    except CatalogError as error:
        raise CatalogError(
            f"{folder} is made, but does not run yet. Correct its provider.py, then run "
            f"./just expect {new.name}. At present, {error}"
        ) from None
    for path in sorted(p for p in folder.rglob("*") if p.suffix != ".pyc" and p.is_file()):
        say(f"  {path.relative_to(FOLDER.parent.parent)}")
    for line in lines:
        say(line)
    steps = "guessed_steps.template" if recorded else "next_steps.template"
    say((TEMPLATES / steps).read_text(encoding="utf-8").replace("$name", new.name))


def _refuse(problem: str) -> None:
    say(Text("just add-provider:", "bold red"), f"{problem}.")
    sys.exit(2)


if __name__ == "__main__":
    program.run_function(main, "just add-provider")
