"""Reads creators and subjects from a search result of Europeana.

Creators are given as names, or as URIs of agents. The labels of agents are a separate list, which also
contains contributors and the people depicted.
"""

from catalog.provider_api import Json, Raw, as_list, dig

LANGUAGES = ("en", "def")  # in order of preference; "def" stands for no or an unknown language


def creator(item: Raw) -> str | None:
    """Return the names of all creators, in order; None if there are none.

    If there are as many labels as agents, they are matched by position. Otherwise the first labels are
    assumed to be those of the creators, who come first in a record.
    """
    named = as_list(item.get("dcCreator")) or labels(item.get("dcCreatorLangAware"))
    agents, names = as_list(item.get("edmAgent")), [label(one) for one in as_list(item.get("edmAgentLabel"))]
    known = dict(zip(map(str, agents), names, strict=True)) if len(agents) == len(names) else {}
    unknown = iter([] if known else names)
    words = [known.get(str(name), next(unknown, None)) if is_address(name) else name for name in named]
    return "; ".join(dict.fromkeys(word for word in words if isinstance(word, str) and word)) or None


def concepts(item: Raw) -> list[str]:
    """Return the subjects of a work in one language, without URIs."""
    found = labels(item.get("edmConceptPrefLabelLangAware")) or [
        label(one) for one in as_list(item.get("edmConceptLabel"))
    ]
    return [name for name in found if isinstance(name, str) and name and not is_address(name)]


def labels(by_language: Json) -> list[Json]:
    """Return the names in the preferred language, else in the first one given."""
    if not isinstance(by_language, dict):
        return []
    preferred = (by_language[language] for language in LANGUAGES if by_language.get(language))
    return as_list(next(preferred, next(iter(by_language.values()), None)))


def label(one: Json) -> Json:
    """Return a label such as `{"en": "Ada"}` in the preferred language, else in the first one given."""
    found = next((text for language in LANGUAGES if (text := dig(one, language))), None)
    return found or (next(iter(one.values()), None) if isinstance(one, dict) else None)


def is_address(name: Json) -> bool:
    return isinstance(name, str) and "://" in name
