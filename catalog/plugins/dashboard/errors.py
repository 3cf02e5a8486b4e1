"""What users may see of an error by which a part of a page is missing."""

import logging

import psycopg

from catalog.core.errors import CatalogError
from catalog.core.secrets import without_secrets
from catalog.core.setting import Malformed

log = logging.getLogger(__name__)


def explained(part: str, error: Exception) -> str:
    """Log the error of a part of a page, and return what users may see of it."""
    log.warning("dashboard: %s: %s", part, without_secrets(repr(error)))
    if isinstance(error, CatalogError | Malformed):  # written for users, and without secrets
        return str(error)
    if isinstance(error, psycopg.OperationalError):
        return f"it does not answer, refuses the login, or takes too long ({type(error).__name__})"
    return type(error).__name__
