"""Which records are sensitive: those whose title, description or tags contain a term of the list.

As in the filtered index, terms match whole words, and are compared in their normal form. In scripts without
spaces a term matches anywhere.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

DESCRIPTION = "meta_data ->> 'description'"  # the column that is read in addition
_GROUP = 200  # terms of a regular expression
_OUTSIDE = r"[^\p{L}\p{N}\p{M}_]"  # a word
_GAP = r"[^\p{L}\p{N}\p{M}_\x1e]+"  # between the words of a phrase, which is within one text
_BETWEEN = "\x1e"  # texts


class Sensitive:
    """Finds sensitive records.

    Args:
        terms: The terms.
        normal_form: Returns the form in which texts are compared.
    """

    def __init__(self, terms: Iterable[str], normal_form: Callable[[str], str]) -> None:
        self._normal_form = normal_form
        patterns = [_pattern(normal_form(term)) for term in terms]
        self._patterns = [
            "|".join(f"(?:{p})" for p in patterns[i : i + _GROUP]) for i in range(0, len(patterns), _GROUP)
        ]

    def __call__(self, titles: pa.Array, descriptions: pa.Array, tags: pa.ListArray) -> pa.BooleanArray:
        """Return which of the records are sensitive."""
        names = pa.ListArray.from_arrays(tags.offsets, tags.values.field("name"))
        texts = pc.binary_join_element_wise(
            *(pc.fill_null(texts, "") for texts in (titles, descriptions)),
            pc.fill_null(pc.binary_join(names, _BETWEEN), ""),
            _BETWEEN,
        )
        ascii_only = pc.string_is_ascii(texts)
        normal = pc.ascii_lower(texts)
        if not pc.all(ascii_only).as_py():
            others = [self._normal_form(text) for text in texts.filter(pc.invert(ascii_only)).to_pylist()]
            normal = pc.replace_with_mask(normal, pc.invert(ascii_only), pa.array(others, pa.string()))
        found = pa.array([False] * len(texts))
        for pattern in self._patterns:
            found = pc.or_(found, pc.match_substring_regex(normal, pattern))
        return found


def _pattern(term: str) -> str:
    words = term.split()
    text = _GAP.join(re.escape(word) for word in words)
    begin = "" if _without_spaces(words[0][0]) else f"(?:^|{_OUTSIDE})"
    end = "" if _without_spaces(words[-1][-1]) else f"(?:$|{_OUTSIDE})"
    return f"{begin}{text}{end}"


def _without_spaces(char: str) -> bool:
    return (unicodedata.category(char) == "Lo" and unicodedata.east_asian_width(char) in "WF") or (
        "\u0e00" <= char <= "\u0eff"  # Thai and Lao
    )
