"""Run a program with its container's secrets in the environment: `python with_secrets.py PROGRAM ARGUMENT…`.

Compose mounts secrets as files; Airflow and the catalog read the environment. A variable `FROM_SECRETS_NAME`
is the template of the variable NAME: `{file}` is replaced by the content of /run/secrets/file, `{file|url}`
by its percent-encoded form, `{file|json}` by its form within a JSON string. Files that end in `.json` hold
further variables, those of `.env`. So neither compose.yml nor `docker inspect` shows a secret, and a
container has the secrets only that are mounted into it. The module imports only the standard library, because
health checks run it every half minute.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

PREFIX = "FROM_SECRETS_"
_DONE = "SECRETS_ARE_READ"  # set for child processes, which inherit the resolved environment
_PLACEHOLDER = re.compile(r"\{([a-z_]+)(?:\|(url|json))?\}")
_ENCODERS: dict[str | None, Callable[[str], str]] = {
    None: str,
    "url": lambda secret: quote(secret, safe=""),
    "json": lambda secret: json.dumps(secret)[1:-1],
}


class MissingSecret(Exception):
    """A template names a file that this container lacks."""


def resolve(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment with secrets in place of the templates.

    Args:
        environment: Environment of the container.
        folder: Folder of its secrets.

    Raises:
        MissingSecret: A file is missing; the message names it and the variable that needs it.
    """
    if _DONE in environment:
        return dict(environment)
    result = {name: value for name, value in environment.items() if not name.startswith(PREFIX)}
    for key, template in environment.items():
        if key.startswith(PREFIX):
            name = key.removeprefix(PREFIX)
            result[name] = _fill(template, name, folder)
    for file in sorted(folder.glob("*.json")):  # entries of `.env` take precedence
        result |= json.loads(file.read_bytes())
    return result | {_DONE: "true"}


def _fill(template: str, name: str, folder: Path) -> str:
    def secret(placeholder: re.Match[str]) -> str:
        file, encoding = placeholder.groups()
        try:
            content = (folder / file).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise MissingSecret(
                f"{name} needs the secret {file}, which cannot be read ({error.strerror}); "
                f"`./just compose` makes .secrets/{file}, and compose.yml says which containers get it"
            ) from None
        return _ENCODERS[encoding](content)

    return _PLACEHOLDER.sub(secret, template)


def main(arguments: list[str], folder: Path) -> None:
    try:
        environment = resolve(os.environ, folder)
    except MissingSecret as problem:
        sys.exit(f"entrypoint: {problem}")
    try:
        os.execvpe(arguments[0], arguments, environment)  # noqa: S606 - the container's own program
    except OSError as error:
        sys.exit(f"entrypoint: {arguments[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:], Path(os.environ.get("SECRETS_FOLDER", "/run/secrets")))
