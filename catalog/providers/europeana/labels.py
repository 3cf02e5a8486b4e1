"""Names in a search result of Europeana: who made a work, and what it is about.

Creators stand there as text, or as the addresses of agents. The labels of agents are another list: of
creators, contributors and people that are shown.
"""

from typing import Any

from catalog.provider_api import Raw, dig

LANGUAGES = ("en", "def")  # those to prefer; "def" is text in no language, or in one that is not named


def creator(item: Raw) -> str | None:
    """All creators in words, in order; None when none is named.

    Where each agent has one label, both stand at the same place of their lists. Otherwise creators are
    taken to come first among the agents, as they do in a record.
    """
    named = listed(item.get("dcCreator")) or labels(item.get("dcCreatorLangAware"))
    agents, names = listed(item.get("edmAgent")), [label(one) for one in listed(item.get("edmAgentLabel"))]
    known = dict(zip(map(str, agents), names, strict=True)) if len(agents) == len(names) else {}
    unknown = iter([] if known else names)
    words = [known.get(str(name), next(unknown, None)) if is_address(name) else name for name in named]
    return "; ".join(dict.fromkeys(word for word in words if isinstance(word, str) and word)) or None


def concepts(item: Raw) -> list[str]:
    """What the work is about, in one language; addresses tell nobody anything."""
    found = labels(item.get("edmConceptPrefLabelLangAware")) or [
        label(one) for one in listed(item.get("edmConceptLabel"))
    ]
    return [name for name in found if isinstance(name, str) and name and not is_address(name)]


def labels(by_language: Any) -> list[Any]:
    """The names in the first language that is preferred, or else in the first there is."""
    if not isinstance(by_language, dict):
        return []
    preferred = (by_language[language] for language in LANGUAGES if by_language.get(language))
    return listed(next(preferred, next(iter(by_language.values()), None)))


def label(one: Any) -> Any:
    """A label of `{"en": "Ada"}` in a preferred language, or else in the first there is."""
    found = next((text for language in LANGUAGES if (text := dig(one, language))), None)
    return found or (next(iter(one.values()), None) if isinstance(one, dict) else None)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def is_address(name: Any) -> bool:
    return isinstance(name, str) and "://" in name
