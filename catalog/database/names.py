"""Readable, bounded and unique names of objects for a provider or a license."""

import re
from hashlib import sha256


def query_id(prefix: str, *about: object) -> str:
    """Return a query_id for a batched update that a DAG composes.

    The result matches `^[a-z][a-z0-9_]{0,39}$` whatever the values are. The digest at its end distinguishes
    values that are written alike.

    Args:
        prefix: Lower-case letters, digits and underscores, at most 20 characters.
        about: What the update is about, such as the name of a provider in the catalog.
    """
    readable = re.sub(r"[^a-z0-9]+", "_", "_".join(map(str, about)).lower()).strip("_")
    end = f"_{digest(*about, length=8)}"
    return f"{prefix}_{readable}"[: 40 - len(end)].rstrip("_") + end


def digest(*about: object, length: int = 12) -> str:
    """Return a hexadecimal digest of values.

    Args:
        about: The values.
        length: Number of digits.
    """
    # The representation distinguishes ("a", "b") from ("a b",) and escapes lone surrogates.
    return sha256(ascii(about).encode()).hexdigest()[:length]
