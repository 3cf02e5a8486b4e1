"""The conf of a run that accepts what another run was refused for, as messages name it."""

import json
from collections.abc import Mapping

from catalog.core.jsontypes import Json
from catalog.core.secrets import without_secrets


def accepting(conf: Mapping[str, Json] | None, key: str, value: Json = True) -> str:
    """Return the conf of a run that does the same as another one and accepts what that one was refused for.

    With the key alone, the run might do something else, and accept what nobody has seen of that. A conf that
    holds something secret is not quoted.

    Args:
        conf: The conf of the refused run, as it was given.
        key: Key of the conf that accepts.
        value: Its value.

    >>> accepting({"index_only": True}, "accept_shrinkage")
    '{"index_only": true, "accept_shrinkage": true}'
    """
    said = json.dumps({**(conf or {}), key: value}, ensure_ascii=False)
    if without_secrets(said) == said:
        return said
    return f"{json.dumps({key: value}, ensure_ascii=False)} and all else that the conf of this run has"
