"""Readable, bounded and unique names of objects for a provider or a license."""

import re
from hashlib import sha256


def query_id(prefix: str, *about: object) -> str:
    """The query_id of a batched update that a DAG composes.

    Whatever the texts hold, the result matches `^[a-z][a-z0-9_]{0,39}$`; the digest at its end tells apart
    what is written alike.

    Args:
        prefix: Small letters, digits and underscores, 20 characters at most.
        about: What the update is about, such as a provider string.
    """
    readable = re.sub(r"[^a-z0-9]+", "_", "_".join(map(str, about)).lower()).strip("_")
    end = f"_{digest(*about, length=8)}"
    return f"{prefix}_{readable}"[: 40 - len(end)].rstrip("_") + end


def digest(*about: object, length: int = 12) -> str:
    """Hexadecimal digits that are the same for the same values only. length: of the result."""
    # The representation keeps ("a", "b") and ("a b",) apart, and lone surrogates are escaped in it.
    return sha256(ascii(about).encode()).hexdigest()[:length]
