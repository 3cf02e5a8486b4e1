"""Determines the type and media type of a record's file, and removes file extensions from titles.

A provider gives a type in one of three forms: an extension ("jpeg"), a MIME type ("image/svg+xml;
charset=utf-8") or its subtype ("svg+xml"). Without one, the extension in the URL's path decides.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from catalog.core.columns import WIDTHS
from catalog.core.jsontypes import Json
from catalog.core.media import MediaType


def _same(names: str) -> dict[str, str]:
    return {name: name for name in names.split()}


# Extension → stored type.
EXTENSIONS: dict[MediaType, dict[str, str]] = {
    "image": _same("avif bmp gif heic ico jpg png svg tiff webp")
    | {"jpeg": "jpg", "jpe": "jpg", "jfif": "jpg", "tif": "tiff"},
    "audio": _same("aac aiff flac m4a m4b mid mka mp3 mp4 oga ogg opus wav webm wma")
    | {"midi": "mid", "aif": "aiff"},
}
# MIME subtypes, registered or not, that differ from the extension; without a leading "x-".
_MIME_NAMES: dict[MediaType, dict[str, str]] = {
    "image": {
        "svg+xml": "svg",
        "pjpeg": "jpg",
        "apng": "png",
        "ms-bmp": "bmp",
        "windows-bmp": "bmp",
        "icon": "ico",
        "vnd.microsoft.icon": "ico",
    },
    "audio": {
        "mpeg": "mp3",
        "mpeg3": "mp3",
        "mpeg-3": "mp3",
        "wave": "wav",
        "pn-wav": "wav",
        "vnd.wave": "wav",
        "vorbis": "ogg",
        "aacp": "aac",
        "ms-wma": "wma",
        "matroska": "mka",
        "basic": "au",
    },
}

_VIDEO = frozenset("avi divx f4v flv m2ts m2v m4v mkv mov mpe mpeg mpg mpv mts ogm ogv rmvb vob wmv".split())
_SOUND_OR_VIDEO = frozenset("3g2 3gp asf rm".split())
_NEITHER = frozenset(
    """
    7z djv djvu doc docx epub fbx glb gltf htm html obj odp ods odt pdf ply ppt pptx rar rtf stl swf tar tgz
    usdz x3d xhtml xls xlsx zip
    """.split()
)
_ANOTHER: dict[MediaType, frozenset[str]] = {
    "image": _VIDEO | _SOUND_OR_VIDEO | _NEITHER | EXTENSIONS["audio"].keys(),
    "audio": _VIDEO | _NEITHER | EXTENSIONS["image"].keys(),
}
_ANOTHER_MAIN_TYPE = frozenset(("font", "message", "model", "multipart", "text", "video"))
_MAIN_TYPES = _ANOTHER_MAIN_TYPE | {"application", "audio", "image"}
_ANOTHER_APPLICATION = re.compile(r"(?:.+\+)?(?:xml|json|zip)|msword|vnd\..+|shockwave-flash")
_DJVU = frozenset(("vnd.djvu", "x.djvu", "djvu"))  # documents, although registered as image types

_IN_TITLES = _VIDEO | _SOUND_OR_VIDEO | EXTENSIONS["image"].keys() | EXTENSIONS["audio"].keys()
LONGEST_EXTENSION = 1 + max(map(len, _IN_TITLES))  # including the dot


def extension_of(url: str) -> str:
    """Return the extension in a URL's path, in lower case and without the dot; "" if there is none."""
    path = url.partition("#")[0].partition("?")[0]
    name = path[path.rfind("/") + 1 :] if path.find("/", 8) > 0 else ""
    return name.rpartition(".")[2].lower() if "." in name else ""


class Kind(NamedTuple):
    """The kind of a file.

    Attributes:
        is_other_media_type: The file is not of the record's media type.
        filetype: The stored type, at most five characters (the size of the column); None if unknown.
    """

    is_other_media_type: bool
    filetype: str | None


def kind_of(given: Json, url: str, media_type: MediaType) -> Kind:
    """Determine the kind of a record's file.

    Args:
        given: The provider's type, if any; a type that belongs to another media type is not stored.
        url: The cleaned URL of the file.
        media_type: The media type of the record.

    Returns:
        The kind; whether the media type fits depends on the MIME type, else on the extension in the URL.
    """
    last = url.rpartition(".")[2].lower() if "?" in url else ""  # a file name in the query
    return _kind(given if type(given) is str else "", extension_of(url), last[:6], media_type)


@lru_cache(4096)
def _kind(given: str, extension: str, last: str, media_type: MediaType) -> Kind:
    main, name = _mime(given)
    return Kind(_is_another(main, name, extension, media_type), _type(name, extension, last, media_type))


def _is_another(main: str, name: str, extension: str, media_type: MediaType) -> bool:
    if main in ("audio", "image"):
        return main != media_type or name in _DJVU
    if main in _ANOTHER_MAIN_TYPE:
        return True
    if main == "application" and (name in _ANOTHER[media_type] or _ANOTHER_APPLICATION.fullmatch(name)):
        return True
    return extension in _ANOTHER[media_type]


def _type(name: str, extension: str, last: str, media_type: MediaType) -> str | None:
    known = EXTENSIONS[media_type]
    if found := known.get(name) or _MIME_NAMES[media_type].get(name):
        return found
    if (
        len(name) <= WIDTHS["filetype"]
        and name.isascii()
        and name.isalnum()
        and name not in _ANOTHER[media_type] | _MAIN_TYPES
    ):
        return name
    return known.get(extension) or known.get(last)


def _mime(given: str) -> tuple[str, str]:
    """Split a MIME type into main type and subtype, in lower case; the main type may be missing ("")."""
    main, _, subtype = given.partition(";")[0].strip().lower().rpartition("/")
    return main.strip(), subtype.strip().removeprefix(".").removeprefix("x-")


def without_extension(title: str) -> str:
    """Remove the extensions of media files from the end of a title.

    >>> without_extension("Map of X.svg"), without_extension("IMG 1.jpeg.JPG")
    ('Map of X', 'IMG 1')
    >>> without_extension(".jpg"), without_extension("what is .mp3"), without_extension("St. Mary")
    ('.jpg', 'what is .mp3', 'St. Mary')
    """
    end = len(title)
    while (dot := title.rfind(".", max(end - LONGEST_EXTENSION, 0), end)) > 0:
        if title[dot + 1 : end].lower() not in _IN_TITLES or title[dot - 1].isspace():
            break
        end = dot
    return title[:end]
