"""Secrets of the containers, as files below `.secrets`, and what `.env` sets, sorted by who may see it; before each `./just compose`.

Compose mounts a file into the containers that name it. Mounted files keep their mode and owner, and each
image has a user of its own, so the files are readable and the folder is not: nobody else on this machine gets
to them.
"""

import base64
import json
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from catalog.cli import program
from catalog.core.settings import SETTINGS

ROOT = Path(__file__).parents[2]


def _password() -> str:
    return secrets.token_hex(24)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


MADE_UP: dict[str, Callable[[], str]] = {
    **dict.fromkeys(
        (
            "postgres_password",
            *(
                f"{role}_db_password"
                for role in ("airflow", "catalog", "catalog_reader", "api", "api_staging", "celery")
            ),
            *("search_root_password", "search_password", "search_reader_password"),
            *("storage_root_password", "storage_password", "broker_password", "admin_password"),
            *("jwt_secret", "api_secret_key"),
        ),
        _password,
    ),
    "fernet_key": _fernet_key,
}
# Entries of `.env` in which an earlier version kept them.
_BEFORE = {
    "postgres_password": "POSTGRES_PASSWORD",
    "storage_root_password": "MINIO_PASSWORD",
    "fernet_key": "FERNET_KEY",
    "jwt_secret": "JWT_SECRET",
}
# Variables that are no secrets: those that are declared, without these.
_SECRET_VARIABLES = {
    "GITHUB_API_KEY",
    "OAUTH2_PROVIDER_SECRETS",
    "OAUTH2_AUTH_KEYS",
    "OAUTH2_ACCESS_TOKENS",
    "STAGING_DEPLOY",
}
_PLAIN = {f"AIRFLOW_VAR_{s.name}" for s in SETTINGS if s.kind.startswith("Variable")} - {
    f"AIRFLOW_VAR_{name}" for name in _SECRET_VARIABLES
} | {s.name for s in SETTINGS if s.kind == "environment"}
FILES = ("settings.json", "alerts.json", "tasks.json")
_ENTRY = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)")


class MalformedError(Exception):
    """An entry of `.env` or a file of `.secrets` that cannot be used; the text names it and the way out."""


def entries(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, name, value) of each entry of an `.env`.

    A value is literal between single quotes; between double quotes a backslash escapes the next character, or an n for
    a line break; without quotes it ends at ` #`.

    Raises:
        MalformedError: A quote is not closed, or something follows it.
    """
    for number, line in enumerate(text.splitlines(), 1):
        found = _ENTRY.fullmatch(line)
        if not found or line.lstrip().startswith("#"):
            continue
        name, value = found[1], found[2]
        quoted = value[:1] in ("'", '"')
        yield number, name, _unquoted(number, name, value) if quoted else re.sub(r"(^|\s+)#.*", "", value)


def _unquoted(number: int, name: str, value: str) -> str:
    quote = value[0]
    inner = r"[^']*" if quote == "'" else r"(?:[^\"\\]|\\.)*"
    found = re.fullmatch(rf"{quote}({inner}){quote}(?:\s+#.*)?", value)
    if not found:
        raise MalformedError(
            f".env, line {number}: {name} has a quote that is not closed, or text behind it. Put the value between single quotes; "
            'one that has single quotes itself between double quotes, with \\ before each " and \\ in it'
        )
    if quote == "'":
        return found[1]
    return _ESCAPED.sub(lambda m: "\n" if m[1] == "n" else m[1], found[1])


def audience(name: str) -> str | None:
    """Which containers an entry of `.env` is for.

    Returns:
        `settings.json`, which every Airflow container has; `alerts.json`, those that send alerts;
        `tasks.json`, those that run tasks; None for what compose.yml itself asks for, and for names that mean
        nothing to Airflow or the catalog.
    """
    if name in _PLAIN or name.startswith("AIRFLOW__"):
        return "settings.json"
    if name.startswith("AIRFLOW_CONN_SLACK_"):
        return "alerts.json"
    if name.startswith(("AIRFLOW_VAR_", "AIRFLOW_CONN_")):
        return "tasks.json"
    return None


def prepare(root: Path) -> Iterator[str]:
    """Create what is missing below root, and yield what was done.

    Raises:
        MalformedError: An entry or a file cannot be used, or a secret of `.env` is not the one below `.secrets`.
            Nothing has been changed.
    """
    env, folder = (root / ".env").resolve(), root / ".secrets"  # a link's target is changed, not the link
    text = _text_of(env)
    found = {name: value for _, name, value in entries(text)}
    _refuse_what_would_be_lost(text, folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    made = []
    for name, make in MADE_UP.items():
        if not (folder / name).exists():
            before = found.get(_BEFORE.get(name, ""), "")
            _write(folder / name, (before or make()) + "\n")
            made.append(name)
    if made:
        yield f"made in {folder}: {', '.join(sorted(made))}"
    sorted_out: dict[str, dict[str, str]] = {file: {} for file in FILES}
    for name, value in found.items():
        if value and (file := audience(name)):
            sorted_out[file][name] = value
    for file, wanted in sorted_out.items():
        as_text = json.dumps(wanted, indent=1) + "\n"
        path = folder / file
        if not path.exists() or path.read_text(encoding="utf-8") != as_text:
            _write(path, as_text)
    for path in folder.iterdir():
        path.chmod(0o444)
    if env.exists():
        yield from _mend(env, text)


def _text_of(env: Path) -> str:
    if not env.exists():
        return ""
    if not env.is_file():
        raise MalformedError(f"{env} should be a file; move it away")
    try:
        return env.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"{env} is not UTF-8 (byte {error.start}); save it in that encoding") from None


def _refuse_what_would_be_lost(text: str, folder: Path) -> None:
    """Compare the secrets of an earlier version's `.env` with the files that replace them, before anything is changed."""
    if folder.exists() and not folder.is_dir():
        raise MalformedError(f"{folder} should be a folder; move the file away")
    for name in MADE_UP:
        if (folder / name).exists() and not (folder / name).read_text(encoding="utf-8").strip():
            raise MalformedError(
                f"{folder / name} is empty; put the secret there, or delete the file to have one made"
            )
    files = {before: folder / name for name, before in _BEFORE.items()}
    seen: dict[str, str] = {}
    for number, name, value in entries(text):
        if name not in files or not value:
            continue
        if seen.setdefault(name, value) != value:
            raise MalformedError(
                f".env, line {number}: {name} is there twice, with two values; keep the right one"
            )
        file = files[name]
        if file.exists() and file.read_text(encoding="utf-8").rstrip("\n") != value:
            raise MalformedError(
                f".env, line {number}: {name} is another secret than {file}. Keep the one that the databases were "
                f"made with: delete the line from .env, or put its value into the file"
            )


def _mend(env: Path, text: str) -> Iterator[str]:
    """Restrict the mode of `.env`, and remove the secrets that have files now."""
    if mode := stat.S_IMODE(env.stat().st_mode) & 0o077:
        env.chmod(0o600)
        yield f"{env} could be read by others (mode {mode | 0o600:o}); its mode is 600 now"
    moved = {number: name for number, name, _ in entries(text) if name in _BEFORE.values()}
    if moved:
        kept = [line for number, line in enumerate(text.splitlines(), 1) if number not in moved]
        scratch = env.with_name(".env.new")
        scratch.touch(0o600)
        scratch.write_text("\n".join(kept) + "\n", encoding="utf-8")
        scratch.replace(env)
        yield f"taken out of {env}, because .secrets has them: {', '.join(moved.values())}"


def _write(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def main() -> None:
    for line in prepare(ROOT):
        print(line, file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    program.run(main, "just compose", MalformedError)
