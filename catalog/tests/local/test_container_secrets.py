"""Secrets of the containers: generated once, private to their owner, migrated from an earlier `.env`."""

import json
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.containers import secrets
from catalog.core.settings import SETTINGS

WILD = "p@s/s w#o'r\"d%$\\ü"
# An `.env` of an earlier version.
BEFORE = """# ours
POSTGRES_PASSWORD=kept
MINIO_PASSWORD=kept-too
FERNET_KEY=
UI_PORT=8081
AIRFLOW_VAR_API_KEY_FLICKR='p@s/s w#o"r%$d'   # of our account
AIRFLOW_CONN_SLACK_ALERTS="{\\"password\\": \\"p'\\\\\\\\\\"}"
AIRFLOW_VAR_ENVIRONMENT=production # a remark
export DEFAULT_RETRY_COUNT=3
AIRFLOW_VAR_API_KEY_JAMENDO=
"""


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("before", [None, "", BEFORE])
def test_they_are_made_once(tmp_path, before):
    if before is not None:
        (tmp_path / ".env").write_text(before)
    messages = list(secrets.prepare(tmp_path))
    folder = tmp_path / ".secrets"
    first = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(first) == {*secrets.GENERATORS, *secrets.FILES}
    assert list(secrets.prepare(tmp_path)) == []
    assert {path.name: path.read_text() for path in folder.iterdir()} == first
    values = [first[name].rstrip("\n") for name in secrets.GENERATORS]
    assert len({*values}) == len(values)
    assert all(len(v) >= 32 or v.startswith("kept") for v in values)
    assert not [v for v in values if any(v in message for message in messages)]
    assert (mode(folder), {mode(path) for path in folder.iterdir()}) == (0o700, {0o444})


def test_existing_secrets_stay(tmp_path):
    (tmp_path / ".secrets").mkdir()
    (tmp_path / ".secrets" / "catalog_db_password").write_text(WILD)
    list(secrets.prepare(tmp_path))
    assert (tmp_path / ".secrets" / "catalog_db_password").read_text() == WILD


def test_an_earlier_env_is_carried_over_and_closed(tmp_path):
    """Its secrets are moved to files, its mode is restricted, and each change is reported."""
    env = tmp_path / ".env"
    env.write_text(BEFORE)
    env.chmod(0o644)
    output = "\n".join(secrets.prepare(tmp_path))
    assert (tmp_path / ".secrets" / "postgres_password").read_text() == "kept\n"
    assert (tmp_path / ".secrets" / "storage_root_password").read_text() == "kept-too\n"
    assert mode(env) == 0o600
    assert "mode 644" in output
    assert "removed from" in output
    assert "kept" not in output
    left = env.read_text()
    assert left.splitlines() == [
        line for line in BEFORE.splitlines() if not line.startswith(("POSTGRES_", "MINIO_", "FERNET_"))
    ]


def test_a_copied_template_is_closed(tmp_path):
    (tmp_path / ".env").write_text((secrets.ROOT / ".env.template").read_text())
    (tmp_path / ".env").chmod(0o664)
    assert [line for line in secrets.prepare(tmp_path) if "mode 664" in line]
    assert mode(tmp_path / ".env") == 0o600


def test_entries_go_to_the_services_that_need_them(tmp_path):
    (tmp_path / ".env").write_text(BEFORE + "AIRFLOW__API__BASE_URL=https://catalog.example\n")
    list(secrets.prepare(tmp_path))
    read = {name: json.loads((tmp_path / ".secrets" / name).read_text()) for name in secrets.FILES}
    assert read == {
        "settings.json": {
            "AIRFLOW_VAR_ENVIRONMENT": "production",
            "DEFAULT_RETRY_COUNT": "3",
            "AIRFLOW__API__BASE_URL": "https://catalog.example",
        },
        "alerts.json": {"AIRFLOW_CONN_SLACK_ALERTS": '{"password": "p\'\\\\"}'},
        "tasks.json": {"AIRFLOW_VAR_API_KEY_FLICKR": 'p@s/s w#o"r%$d'},
    }
    (tmp_path / ".env").write_text("")
    list(secrets.prepare(tmp_path))
    assert (tmp_path / ".secrets" / "tasks.json").read_text() == "{}\n"


def test_no_secret_variable_goes_to_all_services():
    secret = [
        s.name
        for s in SETTINGS
        if any(word in s.name for word in ("KEY", "SECRET", "TOKEN", "PASSWORD", "OAUTH2"))
    ]
    secret = [name for name in secret if "…" not in name]
    assert len(secret) >= 4
    for name in (*secret, "API_KEY_ANY", "STAGING_DEPLOY", "SOMETHING_ELSE"):
        assert secrets.audience(f"AIRFLOW_VAR_{name}") == "tasks.json"
    assert secrets.audience("AIRFLOW_CONN_AWS_DEFAULT") == "tasks.json"
    assert secrets.audience("OTEL_EXPORTER_OTLP_ENDPOINT") == "settings.json"
    assert secrets.audience("UI_PORT") is secrets.audience("POSTGRES_PASSWORD") is None


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])))
def test_any_value_can_be_written(value):
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    written = [f'"{escaped}"'] + ([f"'{value}'"] if "'" not in value else [])
    for text in written:
        assert list(secrets.parse_env(f"  NAME = {text}  # remark")) == [(1, "NAME", value)]


@pytest.mark.parametrize("line", ["NAME='open", "NAME='a' b", 'NAME="open\\"', "NAME='it's'"])
def test_a_quote_that_is_not_closed_is_named_and_nothing_is_changed(tmp_path, line, monkeypatch, capsys):
    (tmp_path / ".env").write_text(f"POSTGRES_PASSWORD=old\n{line}\n")
    monkeypatch.setattr(secrets, "ROOT", tmp_path)
    with pytest.raises(secrets.Unusable, match=r"^\.env, line 2: NAME has a quote"):
        secrets.main()
    assert capsys.readouterr().err == ""
    assert not (tmp_path / ".secrets").exists()
    assert "old" in (tmp_path / ".env").read_text()


@pytest.mark.parametrize(
    ("env", "words"),
    [(b"FERNET_KEY=the-true-one\n", "FERNET_KEY differs from"), (b"AIRFLOW_VAR_X=\xff\n", "is not UTF-8")],
)
def test_no_secret_is_lost(tmp_path, env, words):
    """An older `.env` is added after `.secrets` was made; its key decrypts Airflow's connections."""
    list(secrets.prepare(tmp_path))
    before = {path.name: path.read_bytes() for path in (tmp_path / ".secrets").iterdir()}
    (tmp_path / ".env").write_bytes(env)
    with pytest.raises(secrets.Unusable, match=words):
        list(secrets.prepare(tmp_path))
    assert {path.name: path.read_bytes() for path in (tmp_path / ".secrets").iterdir()} == before
    assert (tmp_path / ".env").read_bytes() == env


def test_two_values_of_one_secret_are_refused(tmp_path):
    (tmp_path / ".env").write_text("FERNET_KEY=one\nFERNET_KEY=two\n")
    with pytest.raises(secrets.Unusable, match="line 2: FERNET_KEY has two values"):
        list(secrets.prepare(tmp_path))
    assert not (tmp_path / ".secrets").exists()


def test_the_same_secret_in_both_is_removed_from_env(tmp_path):
    list(secrets.prepare(tmp_path))
    key = (tmp_path / ".secrets" / "fernet_key").read_text()
    (tmp_path / ".env").write_text(f"FERNET_KEY={key}UI_PORT=1\n")
    list(secrets.prepare(tmp_path))
    assert (tmp_path / ".env").read_text() == "UI_PORT=1\n"
    assert (tmp_path / ".secrets" / "fernet_key").read_text() == key


def test_an_empty_secret_is_refused(tmp_path):
    list(secrets.prepare(tmp_path))
    path = tmp_path / ".secrets" / "fernet_key"
    path.chmod(0o600)
    path.write_text("")
    with pytest.raises(secrets.Unusable, match="fernet_key is empty"):
        list(secrets.prepare(tmp_path))


def test_a_link_stays_a_link(tmp_path):
    real = tmp_path / "elsewhere" / "env"
    real.parent.mkdir()
    real.write_text("MINIO_PASSWORD=abc\nUI_PORT=1\n")
    (tmp_path / ".env").symlink_to(real)
    list(secrets.prepare(tmp_path))
    assert (tmp_path / ".env").is_symlink()
    assert real.read_text() == "UI_PORT=1\n"
