"""All rules, in the order in which they are applied."""

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
