"""Rules of tags: their form and duplicates, and escaped characters in them, in titles and in creators."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, LiteralString

from catalog.cleaning.rule import AGAIN, Cleaned, Rule, parsed
from catalog.cleaning.texts import ESCAPED, MARKUP, UNTIDY, Ambiguous, clean_text, unescaped
from catalog.ingestion.fields import MAX_TAGS, accuracy_of, clean_tags

_KEYS = frozenset(("name", "provider", "accuracy"))
NO_ARRAY = "tags that are not an array"
NO_ACCURACY = "a tag whose accuracy is not a number from 0 to 100"


class _Kept(ValueError):
    """Tags from which ingestion would lose something. The message is the reason why they stay."""


def _listed(text: str) -> list[Any]:
    """Return the tags that a stored JSON value stands for; the value may be JSON in a string."""
    value = parsed(text)
    if isinstance(value, str) and value.strip():
        try:
            value = parsed(value)
        except (ValueError, RecursionError):
            raise _Kept(NO_ARRAY) from None
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return [value]
    if isinstance(value, list):
        return value
    if value:
        raise _Kept(NO_ARRAY)
    return []


def _usable(tag: Any, provider: str | None) -> bool:
    """Return whether a tag says something; refuse one from which ingestion would lose something."""
    if tag is None or tag == {} or (isinstance(tag, str) and not tag.strip()):
        return False
    own = tag if isinstance(tag, dict) else {"name": tag}
    name, owner, accuracy = own.get("name"), own.get("provider"), own.get("accuracy")
    if own.keys() - _KEYS:
        raise _Kept("a tag with other keys")
    if name is None or (isinstance(name, str) and not name.strip()):
        return False
    if not isinstance(name, str):
        raise _Kept("a tag whose name is not text")
    if accuracy is not None and accuracy_of(accuracy) is None:
        raise _Kept(NO_ACCURACY)
    if owner is not None and not isinstance(owner, str):
        raise _Kept("a tag whose provider is not text")
    if not (owner and owner.strip()) and not provider:
        raise _Kept("a tag without a provider, of a record without one")
    return True


def _renamed(tag: Any, change: Callable[[str], str]) -> Any:
    if isinstance(tag, str):
        return change(tag)
    if isinstance(tag, dict) and isinstance(tag.get("name"), str):
        return {**tag, "name": change(tag["name"])}
    return tag


def _clean(row: Mapping[str, Any], change: Callable[[str], str] = str) -> Cleaned:
    found = Cleaned()
    stored = row["tags"]
    if stored is None:
        return found
    try:
        tags = [_renamed(tag, change) for tag in _listed(stored) if _usable(tag, row["provider"])]
    except (_Kept, Ambiguous) as reason:
        found.left.append(f"tags: {reason}" if isinstance(reason, Ambiguous) else str(reason))
        return found
    lost = Counter[str]()
    cleaned = clean_tags(tags, row["provider"] or "", lost)
    if lost:
        found.left.append("a tag of markup alone, or too many tags")
        return found
    value = parsed(cleaned) if cleaned else None
    if cleaned != clean_tags(value, row["provider"] or "", lost):
        found.left.append(f"tags: {AGAIN}")
    elif value is None or value != parsed(stored):
        found.changes["tags"] = value
    return found


def _condition(_columns: tuple[str, ...]) -> LiteralString:
    bad: LiteralString = (
        "jsonb_typeof(tag) <> 'object' or jsonb_typeof(tag -> 'name') is distinct from 'string'"
        " or jsonb_typeof(tag -> 'provider') is distinct from 'string'"
        " or jsonb_typeof(tag -> 'accuracy') <> 'number'"
        " or (jsonb_typeof(tag) = 'object' and tag - 'name' - 'provider' - 'accuracy' <> '{}')"
        " or tag ->> 'name' = '' or (tag ->> 'name') collate \"C\" ~ '" + UNTIDY + "|" + MARKUP + "'"
        " or tag ->> 'provider' = '' or (tag ->> 'provider') collate \"C\" ~ '" + UNTIDY + "'"
        " or case when jsonb_typeof(tag -> 'accuracy') = 'number'"
        " then not (tag -> 'accuracy')::numeric between 0 and 100 end"
    )
    too_many: LiteralString = f"jsonb_array_length(tags) > {MAX_TAGS}"
    return (
        "case when tags is null then false when jsonb_typeof(tags) <> 'array' or tags = '[]' then true when "  # noqa: S608 - constants
        + too_many
        + " then true else (select coalesce(bool_or("
        + bad
        + "), false) or count(*) <> count(distinct tag) from jsonb_array_elements(tags) tag) end"
    )


TAGS = Rule(
    "tags",
    "tags that are not an array of objects, have no name, or a provider or accuracy of another form; white "
    "space and HTML in their names; duplicates",
    ("tags",),
    ("provider",),
    _condition,
    _clean,
)


def _unescape(row: Mapping[str, Any]) -> Cleaned:
    cleaned = Cleaned()
    for column in ("title", "creator"):
        text = row[column]
        if text is None:
            continue
        try:
            plain = unescaped(text)
        except Ambiguous as reason:
            cleaned.left.append(f"{column}: {reason}")
            continue
        if plain != text:
            clean_text(row, column, plain, cleaned)
    tags = _escaped_tags(row)
    cleaned.changes.update(tags.changes)
    cleaned.left += tags.left
    return cleaned


def _escaped_tags(row: Mapping[str, Any]) -> Cleaned:
    """Clean the tags if one of them is escaped; the others are for the rule of tags."""
    seen = []

    def change(name: str) -> str:
        plain = unescaped(name)
        seen.append(plain != name)
        return plain

    found = _clean(row, change)
    if any(seen):
        return found
    return Cleaned(left=[reason for reason in found.left if reason.startswith("tags: ")])


def _escaped(_columns: tuple[str, ...]) -> LiteralString:
    return f"title ~ '{ESCAPED}' or creator ~ '{ESCAPED}' or tags::text ~ '{ESCAPED}'"


ESCAPES = Rule(
    "escapes",
    r"characters written as `\u00e9`, or `u00e9` where that can be no number or word, in titles, creators "
    "and tags",
    ("title", "creator", "tags"),
    ("provider",),
    _escaped,
    _unescape,
)
