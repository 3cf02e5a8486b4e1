"""Secrets of the containers, as files below `.secrets`: generated ones, and entries of `.env` by audience.

`./just compose` runs this first. Compose mounts a file into the containers that name it. Mounted files keep
their mode and owner, and each image has another user, so the files are readable by all, and the folder by its
owner only: no other user of this machine has access.
"""

import base64
import json
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from catalog.cli import program
from catalog.core.files import write_atomically
from catalog.core.settings import SETTINGS, airflow_variable

ROOT = Path(__file__).parents[2]


def _password() -> str:
    return secrets.token_hex(24)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


_DATABASE_ROLES = ("airflow", "catalog", "catalog_reader", "api", "api_reader", "api_staging", "celery")
# How to generate each secret.
GENERATORS: dict[str, Callable[[], str]] = {
    "postgres_password": _password,
    **{f"{role}_db_password": _password for role in _DATABASE_ROLES},
    "search_root_password": _password,
    "search_password": _password,
    "search_reader_password": _password,
    "storage_root_password": _password,
    "storage_password": _password,
    "broker_password": _password,
    "admin_password": _password,
    "jwt_secret": _password,
    "api_secret_key": _password,
    "fernet_key": _fernet_key,
}
# Entries of `.env` in which an earlier version kept secrets.
_EARLIER_ENTRIES = {
    "postgres_password": "POSTGRES_PASSWORD",
    "storage_root_password": "MINIO_PASSWORD",
    "fernet_key": "FERNET_KEY",
    "jwt_secret": "JWT_SECRET",
}
_SECRET_VARIABLES = {
    "GITHUB_API_KEY",
    "OAUTH2_PROVIDER_SECRETS",
    "OAUTH2_AUTH_KEYS",
    "OAUTH2_ACCESS_TOKENS",
    "STAGING_DEPLOY",
}
_PLAIN = {s.name for s in SETTINGS if s.kind == "environment"} | {
    airflow_variable(s.name)
    for s in SETTINGS
    if s.kind.startswith("Variable") and s.name not in _SECRET_VARIABLES
}
FILES = ("settings.json", "alerts.json", "tasks.json")
_ENTRY = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)")


class Unusable(Exception):
    """An entry of `.env`, or a file of `.secrets`, cannot be used; the message names it and the remedy."""


class Entry(NamedTuple):
    """One entry of `.env`."""

    line: int
    name: str
    value: str


def parse_env(content: str) -> Iterator[Entry]:
    r"""Parse an `.env`.

    Values between single quotes are literal. Between double quotes `\` escapes the next character, and `\n`
    is a line break. A value without quotes ends at ` #`.

    Args:
        content: Content of the file.

    Raises:
        Unusable: A quote is not closed, or something follows it.
    """
    for number, line in enumerate(content.splitlines(), 1):
        match = _ENTRY.fullmatch(line)
        if not match or line.lstrip().startswith("#"):
            continue
        name, value = match[1], match[2]
        quoted = value[:1] in ("'", '"')
        plain = _unquote(number, name, value) if quoted else re.sub(r"(^|\s+)#.*", "", value)
        yield Entry(number, name, plain)


def _unquote(number: int, name: str, value: str) -> str:
    quote = value[0]
    inner = r"[^']*" if quote == "'" else r"(?:[^\"\\]|\\.)*"
    match = re.fullmatch(rf"{quote}({inner}){quote}(?:\s+#.*)?", value)
    if not match:
        raise Unusable(
            f".env, line {number}: {name} has a quote that is not closed, or characters after it. "
            "Put the value between single quotes; if it has single quotes itself, between double quotes, "
            'with \\ before each " and \\ in it'
        )
    if quote == "'":
        return match[1]
    return _ESCAPED.sub(lambda m: "\n" if m[1] == "n" else m[1], match[1])


def audience(name: str) -> str | None:
    """Return the file that an entry of `.env` belongs to, which decides the containers that can read it.

    Args:
        name: Name of the entry.

    Returns:
        `settings.json` for all Airflow containers, `alerts.json` for those that send alerts, `tasks.json` for
        those that run tasks; None for entries that only compose.yml uses, and for unknown ones.
    """
    if name in _PLAIN or name.startswith(("AIRFLOW__", "OTEL_")):
        return "settings.json"
    if name.startswith("AIRFLOW_CONN_SLACK_"):
        return "alerts.json"
    if name.startswith(("AIRFLOW_VAR_", "AIRFLOW_CONN_")):
        return "tasks.json"
    return None


def prepare(root: Path) -> Iterator[str]:
    """Create the missing secrets, write the files made from `.env`, and restrict access.

    Args:
        root: Folder of `.env` and `.secrets`.

    Yields:
        Messages about what was changed.

    Raises:
        Unusable: An entry or a file cannot be used, or a secret of `.env` differs from the one below
            `.secrets`. Nothing has been changed.
    """
    # The target of a symbolic link is changed, not the link.
    env, folder = (root / ".env").resolve(), root / ".secrets"
    content = _read_env(env)
    _check_secrets(content, folder)
    values = {entry.name: entry.value for entry in parse_env(content)}
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    created = []
    for name, generate in GENERATORS.items():
        if not (folder / name).exists():
            earlier = values.get(_EARLIER_ENTRIES.get(name, ""), "")
            write_atomically(folder / name, f"{earlier or generate()}\n".encode())
            created.append(name)
    if created:
        yield f"created in {folder}: {', '.join(sorted(created))}"
    _write_env_files(folder, values)
    for path in folder.iterdir():
        path.chmod(0o444)
    if env.exists():
        yield from _secure_env(env, content)


def _read_env(env: Path) -> str:
    if not env.exists():
        return ""
    if not env.is_file():
        raise Unusable(f"{env} should be a file; move it away")
    try:
        return env.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Unusable(f"{env} is not UTF-8 (byte {error.start}); save it in that encoding") from None


def _check_secrets(content: str, folder: Path) -> None:
    """Refuse secrets that would be lost: those whose value in `.env` differs, and empty files."""
    if folder.exists() and not folder.is_dir():
        raise Unusable(f"{folder} should be a folder; move the file away")
    for name in GENERATORS:
        if (folder / name).exists() and not (folder / name).read_text(encoding="utf-8").strip():
            raise Unusable(
                f"{folder / name} is empty; put the secret there, or delete the file to generate a new one"
            )
    files = {entry: folder / name for name, entry in _EARLIER_ENTRIES.items()}
    seen: dict[str, str] = {}
    for number, name, value in parse_env(content):
        if name not in files or not value:
            continue
        if seen.setdefault(name, value) != value:
            raise Unusable(f".env, line {number}: {name} has two values; keep the right one")
        file = files[name]
        if file.exists() and file.read_text(encoding="utf-8").rstrip("\n") != value:
            raise Unusable(
                f".env, line {number}: {name} differs from {file}. Keep the secret that the databases were "
                "created with: delete the line from .env, or copy its value to the file"
            )


def _write_env_files(folder: Path, values: Mapping[str, str]) -> None:
    files: dict[str, dict[str, str]] = {file: {} for file in FILES}
    for name, value in values.items():
        if value and (file := audience(name)):
            files[file][name] = value
    for file, entries in files.items():
        content = json.dumps(entries, indent=1) + "\n"
        path = folder / file
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            write_atomically(path, content.encode())


def _secure_env(env: Path, content: str) -> Iterator[str]:
    """Restrict the mode of `.env`, and remove the secrets that now have files."""
    if mode := stat.S_IMODE(env.stat().st_mode) & 0o077:
        env.chmod(0o600)
        yield f"{env} was readable by others (mode {mode | 0o600:o}); its mode is now 600"
    moved = {e.line: e.name for e in parse_env(content) if e.name in _EARLIER_ENTRIES.values()}
    if moved:
        kept = [line for number, line in enumerate(content.splitlines(), 1) if number not in moved]
        write_atomically(env, ("\n".join(kept) + "\n").encode(), 0o600)
        yield f"removed from {env}, as .secrets has them: {', '.join(moved.values())}"


def main() -> None:
    for line in prepare(ROOT):
        print(line, file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    program.run(main, "just compose", Unusable)
