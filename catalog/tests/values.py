"""Helpers for values whose types are wider, and servers that are older, than what a test expects."""

from typing import Any, TypeVar

import psycopg
import pytest

Value = TypeVar("Value")


def present(value: Value | None) -> Value:
    """Return a value that must not be None."""
    assert value is not None
    return value


def need(connection: psycopg.Connection[Any], version: int) -> None:
    """Skip a test of what PostgreSQL has since a version; the catalog works with 13 and later."""
    if connection.info.server_version < version * 10_000:
        pytest.skip(f"PostgreSQL {version} or newer is needed")
