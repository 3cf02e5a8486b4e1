"""Run a program with the secrets of its container in its environment: `python with_secrets.py PROGRAM ARGUMENT…`.

Compose mounts secrets as files; Airflow and the catalog read the environment. An entry `FROM_SECRETS_NAME` is
the pattern of the entry NAME: `{file}` stands for the text of /run/secrets/file, `{file|url}` for it as a
part of an address, `{file|json}` as a part of a JSON text. Files that end in `.json` hold further entries,
those of `.env`. So secrets stand neither in compose.yml nor in `docker inspect`, and a container without a
file cannot use it. Only the standard library is imported: health checks start this program every half minute.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

PREFIX = "FROM_SECRETS_"
_DONE = "SECRETS_ARE_READ"  # programs that are started by such a program have it all
_PLACE = re.compile(r"\{([a-z_]+)(?:\|(url|json))?\}")
_FORMS: dict[str | None, Callable[[str], str]] = {
    None: str,
    "url": lambda text: quote(text, safe=""),
    "json": lambda text: json.dumps(text)[1:-1],
}


class NoSecretError(Exception):
    """A pattern names a file that this container does not have."""


def filled(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """An environment in which patterns have become what they stand for.

    Args:
        environment: What the container was given.
        folder: Where its secrets lie.

    Raises:
        NoSecretError: Names the file and the entry that needs it.
    """
    if _DONE in environment:
        return dict(environment)
    result = {name: value for name, value in environment.items() if not name.startswith(PREFIX)}
    for name, pattern in environment.items():
        if name.startswith(PREFIX):
            name = name.removeprefix(PREFIX)
            result[name] = _PLACE.sub(lambda found, name=name: _text(folder, name, found), pattern)  # type: ignore[misc]
    for file in sorted(folder.glob("*.json")):  # what the operator wrote counts
        result |= json.loads(file.read_bytes())
    return result | {_DONE: "true"}


def _text(folder: Path, name: str, found: re.Match[str]) -> str:
    try:
        text = (folder / found[1]).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise NoSecretError(
            f"{name} needs the secret {found[1]}, which cannot be read ({error.strerror}); "
            f"`./just compose` makes .secrets/{found[1]}, and compose.yml says which containers get it"
        ) from None
    return _FORMS[found[2]](text)


def main(arguments: list[str], folder: Path) -> None:
    try:
        environment = filled(os.environ, folder)
    except NoSecretError as problem:
        sys.exit(f"entrypoint: {problem}")
    try:
        os.execvpe(arguments[0], arguments, environment)  # noqa: S606 - the container's own program
    except OSError as error:
        sys.exit(f"entrypoint: {arguments[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:], Path(os.environ.get("SECRETS_FOLDER", "/run/secrets")))
