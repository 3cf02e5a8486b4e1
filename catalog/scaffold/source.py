"""Writes the source of a new provider from what was found in its pages."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from catalog.core.jsontypes import Json, JsonObject
from catalog.core.media import MediaType
from catalog.scaffold.fields import Fields, expression
from catalog.scaffold.new import NewProvider
from catalog.scaffold.paging import Address, Paging
from catalog.scaffold.recorded import Shape

TEMPLATES = Path(__file__).parent
CLASSES = ("ApiKey", "Audio", "Counted", "Image", "Links", "Rate", "Tokens")
# A license is never guessed: nobody may publish a work under one that it does not have.
UNLICENSED = (
    "        # TODO no value is the address or name of a license; without one, every item is skipped\n"
)
HELPERS = (
    *("compact", "dig", "license_from_name", "license_from_url", "milliseconds", "missing", "size_in_bytes"),
    *("tags_of", "width_and_height"),
)
_NUMBER = re.compile("0|[1-9][0-9]{0,8}")
NOT_GUESSED = ("bit_rate", "sample_rate", "genres", "audio_set", "alt_files")  # of an Audio
EXTENSIONS: dict[MediaType, str] = {"image": "jpg", "audio": "mp3"}


def source(new: NewProvider, shape: Shape, url: Address, *, guessed: bool) -> str:
    """Return the source of provider.py, laid out by the formatter.

    Args:
        new: Names and media types.
        shape: What was found in the pages.
        url: The address of the first page.
        guessed: The pages are those of a real API.
    """
    fields, paging, site = shape.fields, shape.paging, f"https://{urlsplit(new.url).hostname}"
    identifier = expression(fields.foreign_identifier)
    site = _within_quotes(site).replace("{", "{{").replace("}", "}}")
    base = next((f"{{raw.get('{name}')}}" for name in paging.beside), site)  # the name is an identifier
    files = dict.fromkeys(str(expression(path)) for path in fields.url.values())
    recorded = f"`./just catalog record {new.name} --out …` shows real responses"
    values = {
        "title": _in_docstring(new.title),
        "url": _in_docstring(url.endpoint),
        "class_name": new.class_name,
        "name": new.name,
        "catalog_names": ", ".join(f'"{m}": "{new.catalog_name(m)}"' for m in new.media),
        "medium": " and ".join("images" if m == "image" else m for m in new.media),
        "key": _key(new, url.secrets),
        "params": _params(url.params) if guessed or url.params else '{"per_page": 100}',
        "pages": _paginator(paging, url),
        "origin": "these are guesses; check each" if guessed else f"what the API calls these; {recorded}",
        "identifier": identifier or f"{next(iter(files), 'None')}  # TODO an identifier that never changes",
        "landing": expression(fields.foreign_landing_url)
        or f'f"{site}/{{item_id}}"  # TODO the page of an item',
        "file": (
            " or ".join(files) + ("  # TODO the largest is in different places" if fields.unsure else "")
        )
        or f'f"{base}/{{item_id}}.{EXTENSIONS[new.media[0]]}"  # TODO the file',
        "license": _license(fields),
        "unlicensed": "" if fields.license else UNLICENSED,
        "mapping": _mapping(new, fields),
    }
    template = Template((TEMPLATES / "provider.template").read_text(encoding="utf-8"))
    tree = ast.parse(template.substitute(values, imports="Provider"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names = sorted({*used.intersection(CLASSES), "Provider", "Raw", "RecordResult"})
    names += [name for name in HELPERS if name in used]
    return formatted(template.substitute(values, imports=f"({', '.join(names)})"))


def formatted(text: str) -> str:
    """Return Python source in the formatter's layout."""
    ruff, file = Path(sys.executable).parent / "ruff", TEMPLATES.parent / "providers" / "new.py"
    for command in (["check", "--fix-only", "--select", "I", "--quiet"], ["format", "--quiet"]):
        text = subprocess.run(
            [ruff, *command, "--stdin-filename", file, "-"],
            input=text,
            encoding="utf-8",
            check=True,
            capture_output=True,
        ).stdout
    return text


def _key(new: NewProvider, secrets: list[str]) -> str:
    """Return the declaration of the key, which is one parameter."""
    if not secrets:
        return ""
    param, *others = secrets
    more = f"    # TODO also secret: {', '.join(map(repr, others))}; override ApiKey.sign\n" if others else ""
    variable = f"API_KEY_{new.name.upper()}"
    return f'{more}    key = ApiKey("{variable}", {param!r}, "https://TODO.example.org/where-to-get-one")\n'


def _params(params: JsonObject) -> str:
    return "{" + ", ".join(f"{name!r}: {_literal(value)}" for name, value in params.items()) + "}"


def _literal(value: Json) -> str:
    """Return the literal of a parameter's value; a number in a query is one in the source, too."""
    return value if isinstance(value, str) and _NUMBER.fullmatch(value) else repr(value)


def _within_quotes(text: str) -> str:
    """Return a text as it is written between double quotes."""
    return repr(text)[1:-1].replace('"', r"\"")


def _in_docstring(text: str) -> str:
    """Return a text, in one line, as it is written in a docstring."""
    return repr(" ".join(text.split()))[1:-1].replace('"""', r"\"\"\"")


def _paginator(paging: Paging, url: Address) -> str:
    """Return the expression of the paginator, without what is the default."""
    given: dict[str, object] = {"items": paging.items}
    if paging.kind == "Tokens" or (paging.kind == "Counted" and paging.param != "page"):
        given["param"] = paging.param
    if paging.kind == "Counted":
        given |= {"first": paging.first} if paging.first != 1 else {}
        given |= {"step": paging.step} if paging.step != 1 else {}
    for name in ("following", "following_header", "more", "pages", "total", "beside"):
        if value := getattr(paging, name):
            given[name] = value
    if url.posted:
        given["body"] = url.body(paging.param)
    arguments = ", ".join(f"{name}={value!r}" for name, value in given.items())
    return f"{paging.kind}({url.endpoint!r}, {arguments})"


def _license(fields: Fields) -> str:
    """Return the expression of the license."""
    if fields.license is None:
        return 'license_from_url(raw.get("TODO"))'
    if not fields.license_is_name:
        return f"license_from_url({expression(fields.license)})"
    version = f", {expression(fields.license_version)}" if fields.license_version else ""
    return f"license_from_name({expression(fields.license)}{version})"


def _mapping(new: NewProvider, fields: Fields) -> str:
    """Return the statements that make a record of each media type; the last one needs no condition."""
    text = ""
    for medium in new.media[:-1]:
        kind = expression(fields.medium) or 'raw.get("type")'
        text += f'        if {kind} == "{medium}":  # TODO what tells {medium} from others\n'
        text += f"            return {_record(medium, fields)}\n"
    return text + f"        return {_record(new.media[-1], fields)}\n"


def _record(medium: MediaType, fields: Fields) -> str:
    given = {
        "foreign_identifier": "item_id",
        "foreign_landing_url": "landing",
        "url": "url",
        "license": "license_",
    }
    names = ["title", "creator", "creator_url", "thumbnail"]
    names += ["width", "height"] if medium == "image" else ["duration"]
    absent = []
    for name in (*names, "filesize"):
        found = expression(getattr(fields, name))
        if found is None and fields.size and name in ("width", "height"):
            found = f"width_and_height({expression(fields.size)})[{('width', 'height').index(name)}]"
        convert = {"duration": "milliseconds", "filesize": "size_in_bytes"}.get(name)
        if found:
            given[name] = f"{convert}({found})" if convert else found
        else:
            absent.append(name)
    if fields.tags and fields.tag_name:
        given["tags"] = f"[dig(tag, {fields.tag_name!r}) for tag in {expression(fields.tags)} or []]"
    elif fields.tags:
        given["tags"] = f"tags_of({expression(fields.tags)})"
    else:
        absent.append("tags")
    if fields.meta_data:
        item = f"{expression(fields.wrapper)} or {{}}" if fields.wrapper else "raw"
        given["meta_data"] = f"compact({item}, {', '.join(map(repr, fields.meta_data))})"
    lines = "".join(f"{name}={value},\n" for name, value in given.items())
    missing = f"# TODO not found: {', '.join(absent)}\n" if absent else ""
    missing += f"# TODO not looked for: {', '.join(NOT_GUESSED)}\n" if medium == "audio" else ""
    return f"{medium.capitalize()}(\n{lines}{missing})"
