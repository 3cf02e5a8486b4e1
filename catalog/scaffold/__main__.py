"""`./just add-provider NAME URL [image] [audio]` creates the folder of a new provider.

It contains a declaration, a mapping, a made-up recording in the shape that they assume, and the rows that
result from it. So the tests of all providers pass from the start, and show the effect of each change.
"""

import keyword
import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
import orjson
import typer
from rich.console import Console

from catalog.cli import program
from catalog.core.media import MediaType
from catalog.ingestion.provider import FOLDER, provider_names
from catalog.scaffold.rows import expect, expected_file

TEMPLATES = Path(__file__).parent
LONGEST_IMPORTS = 110 - len("from catalog.provider_api import ")
Medium = Literal["image", "audio"]
err = Console(stderr=True)


class NewProvider(msgspec.Struct, frozen=True):
    """Values of the templates."""

    title: str
    url: str
    media: tuple[MediaType, ...]

    @property
    def name(self) -> str:
        """`Made-Up Museum` → `made_up_museum`: the folder, and the DAG `made_up_museum_workflow`."""
        plain = unicodedata.normalize("NFKD", self.title).encode("ascii", "ignore").decode()
        return re.sub("[^a-z0-9]+", "_", plain.lower()).strip("_")

    @property
    def class_name(self) -> str:
        """`Made-Up Museum` → `MadeUpMuseum`."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    @property
    def endpoint(self) -> str:
        """The URL without its query."""
        return self.url.partition("?")[0]

    def catalog_name(self, medium: MediaType) -> str:
        """Return the short name that the catalog stores; each further media type has its own."""
        short = self.name.replace("_", "")
        return short if medium == self.media[0] else f"{short}_{medium}"

    def problem(self) -> str | None:
        """Return why the provider cannot be created, or None."""
        parts = urlsplit(self.url)
        if not re.fullmatch("[a-z][a-z0-9_]{1,39}", self.name) or keyword.iskeyword(self.name):
            return (
                f"the name {self.title!r} becomes {self.name!r}, which is not a valid name: use "
                "2 to 40 letters, digits and spaces"
            )
        if self.name in provider_names() or (FOLDER / self.name).exists():
            return f"the provider {self.name} exists already: {FOLDER / self.name}"
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return f"{self.url!r} is not the URL of an API; use one such as https://api.example.org/v1/images"
        return None


def write(new: NewProvider, folder: Path) -> list[Path]:
    """Write the provider's files to `folder`, which must not exist; return their paths."""
    recording = folder / "recording"
    recording.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "provider.py").write_text(source(new), encoding="utf-8")
    pages = (["1", "2"], ["3", ""])  # the last has no identifier and is skipped
    interactions = []
    for number, names in enumerate([*pages, []], 1):
        items = [item(new, name, new.media[n % len(new.media)]) for n, name in enumerate(names)]
        body = {"total": sum(map(len, pages)), "results": items}
        _write_json(recording / f"page_{number}.json", body)
        interactions.append(
            {
                "request": {"method": "GET", "url": new.endpoint, "params": {"page": f"{number}"}},
                "response": {
                    "status": 200,
                    "headers": {"content-type": "application/json"},
                    "body_file": f"page_{number}.json",
                },
            }
        )
    about = "Made up by add-provider: two pages, one item without an identifier, an empty page."
    _write_json(
        recording / "recording.json",
        {"provider": new.name, "date": None, "about": about, "interactions": interactions},
    )
    return sorted(p for p in folder.rglob("*") if p.is_file())


def source(new: NewProvider) -> str:
    """Return the source of provider.py."""
    catalog_names = ", ".join(f'"{m}": "{new.catalog_name(m)}"' for m in new.media)
    records = {m: (TEMPLATES / f"{m}.template").read_text(encoding="utf-8") for m in new.media}
    if len(new.media) == 1:
        mapping = f"        return {new.media[0].capitalize()}(\n{records[new.media[0]]}        )\n"
    else:
        mapping = (
            "".join(
                f'        if raw.get("type") == "{m}":  # TODO what tells {m} from others\n'
                f"            return {m.capitalize()}(\n"
                + "".join(f"    {line}\n" for line in records[m].splitlines())
                + "            )\n"
                for m in new.media
            )
            + '        return Skip("of another type")\n'
        )
    names = sorted(
        {"Counted", "RecordResult", "Provider", "Rate", "Raw", "Skip", *(m.capitalize() for m in new.media)},
        key=str.lower,
    )
    names += ["license_from_url", "missing"]
    imports = ", ".join(names)
    if len(imports) > LONGEST_IMPORTS:  # one per line, as the formatter does
        imports = "(\n" + "".join(f"    {name},\n" for name in names) + ")"
    template = Template((TEMPLATES / "provider.template").read_text(encoding="utf-8"))
    text = template.substitute(
        title=new.title,
        url=new.url,
        endpoint=new.endpoint,
        class_name=new.class_name,
        name=new.name,
        catalog_names=catalog_names,
        imports=imports,
        mapping=mapping,
        medium=" and ".join("images" if m == "image" else m for m in new.media),
    )
    return text.rstrip() + "\n"


def item(new: NewProvider, name: str, medium: MediaType) -> dict[str, object]:
    """Return a made-up item in the shape that the template's mapping reads."""
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


def _write_json(path: Path, value: object) -> None:
    path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def main(
    title: Annotated[str, typer.Argument(help='Its name as it is written: "Made-Up Museum".')],
    url: Annotated[str, typer.Argument(help="Address of the API's list of items.")],
    media: Annotated[list[str] | None, typer.Argument(help="image, audio or both; default: image.")] = None,
) -> None:
    """Create the folder of a new provider."""
    wanted: Sequence[str] = media or ["image"]
    if wrong := [m for m in wanted if m not in ("image", "audio")]:
        _refuse(f"{wrong[0]!r} is not a media type; use image or audio")
    new = NewProvider(title, url, tuple(dict.fromkeys(wanted)))  # type: ignore[arg-type]
    if problem := new.problem():
        _refuse(problem)
    folder = FOLDER / new.name
    provider_names.cache_clear()  # it was called before this provider existed
    for path in write(new, folder):
        err.print(f"  {path.relative_to(FOLDER.parent.parent)}", highlight=False)
    expect(new.name)
    err.print(f"  {expected_file(new.name).relative_to(FOLDER.parent.parent)}", highlight=False)
    err.print(
        (TEMPLATES / "next_steps.template").read_text(encoding="utf-8").replace("$name", new.name),
        highlight=False,
        soft_wrap=True,
    )


def _refuse(problem: str) -> None:
    err.print(f"[bold red]add-provider:[/] {problem}.", highlight=False, soft_wrap=True)
    sys.exit(2)


if __name__ == "__main__":
    program.run_function(main, "just add-provider")
