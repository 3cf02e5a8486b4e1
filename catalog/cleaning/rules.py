"""All rules, in the order in which they are applied."""

from collections.abc import Collection

from catalog.cleaning.licenses import LICENSES
from catalog.cleaning.meta_data import META_DATA
from catalog.cleaning.numbers import NUMBERS_RULE
from catalog.cleaning.rule import Rule
from catalog.cleaning.tags import ESCAPES, TAGS
from catalog.cleaning.texts import TEXTS
from catalog.cleaning.urls import URLS

RULES: dict[str, Rule] = {
    rule.name: rule for rule in (META_DATA, LICENSES, ESCAPES, TEXTS, TAGS, URLS, NUMBERS_RULE)
}
"""Name → rule. Metadata becomes an object before the license's URL is added to it, and characters are what
they stand for before texts are cleaned."""


def rules_before(name: str, chosen: Collection[str]) -> list[Rule]:
    """Return the rules that count a row before another one does, so that each row is counted once.

    Rules that change `url` are the last ones: whether a row gets another URL depends on other rows, too.

    Args:
        name: Name of the other rule.
        chosen: Names of all rules that count.
    """
    order = sorted((rule for rule in RULES.values() if rule.name in chosen), key=lambda r: "url" in r.writes)
    return order[: order.index(RULES[name])]
