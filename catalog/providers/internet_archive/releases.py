"""The files of a release: which are tracks, and what they say about them."""

from pathlib import PurePosixPath
from urllib.parse import quote

from catalog.provider_api import (
    AudioFile,
    Json,
    Raw,
    UnexpectedResponse,
    count_at,
    dig,
    items_at,
    milliseconds,
    tags_of,
)

SITE = "https://archive.org"
FORMATS = ("mp3", "ogg", "flac", "wav", "aiff")  # the first one is played


def described(body: Json) -> None:
    """Check that a response describes a release with all of its files, or says that it was withdrawn.

    Raises:
        UnexpectedResponse: The response is neither; for an unknown release, the API returns an empty object.
    """
    if dig(body, "is_dark") is True:
        return
    files, announced = items_at(body, "files"), count_at(body, "files_count")
    if not files or len(files) != announced:
        raise UnexpectedResponse(f"{len(files)} of {announced} files are listed")


def many(raw: Raw, key: str) -> list[Raw]:
    """Return the values of a key, of which there may be one, a list of them, or several in one text."""
    values = raw.get(key)
    return [
        part
        for value in (values if isinstance(values, list) else [values])
        for part in tags_of(value, separator=";")
    ]


def tracks(files: list[Raw]) -> dict[str, list[Raw]]:
    """Return the public audio files of each track, the best one first, by the name of the original."""
    found: dict[str, list[Raw]] = {}
    for file in files:
        if extension(file) in FORMATS and file.get("private") != "true":
            original = file.get("original")  # a list of names if a file was made from several
            made = file.get("source") == "derivative" and isinstance(original, str)
            found.setdefault(original if made else file["name"], []).append(file)
    return {name: sorted(of, key=lambda f: FORMATS.index(extension(f))) for name, of in found.items()}


def extension(file: Raw) -> str:
    return PurePosixPath(str(file.get("name"))).suffix[1:].lower()


def audio_file(identifier: str, file: Raw) -> AudioFile:
    return AudioFile(
        url=f"{SITE}/download/{quote(identifier, safe='')}/{quote(file['name'])}",
        filetype=extension(file),
        filesize=file.get("size"),
        duration=milliseconds(file.get("length")),
    )


def named(files: list[Raw], key: str) -> Raw:
    """Return what the first file that says it says about the track."""
    return next((file[key] for file in files if file.get(key)), None)


def position(track: Raw) -> Raw:
    """Return the position of a track such as `03` or `3/12`.

    >>> position("3/12"), position("03"), position(None)
    ('3', '03', None)
    """
    return track.partition("/")[0] if isinstance(track, str) else track
