"""Which records are sensitive: those whose title, description or tags contain a term of the list.

Those that their provider calls mature are sensitive as well (`MATURE`).

As in the filtered index, terms match whole words, and are compared in their normal form. Punctuation, also
`_`, separates words, in a term as in a text. In scripts without spaces a term matches anywhere.

Two passes keep the cost low for lists of thousands of terms. The first, in C++, finds the texts that may
contain a term: it knows only the word boundaries of ASCII, so that its automaton stays small. The second
examines those few texts exactly.
"""

import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

# The column that is read in addition. In adopted catalogs, `meta_data` may be a list or a string with JSON.
DESCRIPTION = (
    "case jsonb_typeof(meta_data) when 'object' then meta_data ->> 'description' else meta_data #>> '{}' end"
)
# The rule is that of the search index (`says_mature`): any value that is not empty, zero, or says false.
MATURE = (
    """coalesce(meta_data -> 'mature' not in ('null', 'false', '0', '""', '[]', '{}')"""
    " and lower(meta_data ->> 'mature') <> 'false', false)"
)
_GROUP = 1_000  # terms of a regular expression of the first pass; more do not fit into RE2's cache of states
_BETWEEN = "\x1e"  # texts; no word of a phrase is in another text
_WORD = re.compile(r"[^\W_]+")


class _Term(NamedTuple):
    """A term of the second pass.

    Attributes:
        begin: Its first word, which every text with the term contains.
        pattern: Finds the term exactly.
    """

    begin: str
    pattern: re.Pattern[str]


class Sensitive:
    """Finds sensitive records.

    Args:
        terms: The terms.
        normal_form: Returns the form in which texts are compared.
    """

    def __init__(self, terms: Iterable[str], normal_form: Callable[[str], str]) -> None:
        self._normal_form = normal_form
        normal = sorted({" ".join(_apart(normal_form(term)).split()) for term in terms} - {""})
        self._likely = [
            "|".join(_likely(term) for term in normal[i : i + _GROUP]) for i in range(0, len(normal), _GROUP)
        ]
        self._by_word = defaultdict[str, list[_Term]](list)  # whose first word is a whole word of the text
        self._anywhere: list[_Term] = []
        for term in normal:
            found = _Term(term.split()[0], _exact(term))
            word = _WORD.search(term)
            if word and not _unbounded(term, word):
                self._by_word[word[0]].append(found)
            else:
                self._anywhere.append(found)

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
        mask, apart = pa.repeat(pa.scalar(False), len(texts)), pc.replace_substring(normal, "_", " ")
        for pattern in self._likely:
            mask = pc.or_(mask, pc.match_substring_regex(apart, pattern))
        exact = [self._contains_term(text) for text in normal.filter(mask).to_pylist()]
        return pc.replace_with_mask(mask, mask, pa.array(exact, pa.bool_()))

    def _contains_term(self, text: str) -> bool:
        words = self._by_word.keys() & _WORD.findall(text)
        return any(term.pattern.search(text) for word in words for term in self._by_word[word]) or any(
            term.begin in text and term.pattern.search(text) for term in self._anywhere
        )


def _apart(term: str) -> str:
    """Return a term with spaces in the place of the punctuation between its words."""

    def apart(found: re.Match[str]) -> str:
        return " " if all(unicodedata.category(char)[0] in "PZ" for char in found[0]) else found[0]

    words = rf"(?:(?<=[^\W_])|(?<=[{_marks()}]))(?:[^\w{_marks()}]|_)+(?=[^\W_])"
    return re.sub(words, apart, term)


def _likely(term: str) -> str:
    """Return a pattern that matches at least where the term is, with the boundaries of ASCII words.

    It is for texts with spaces in the place of `_`, which is a letter of a word to regular expressions.
    """
    words = term.replace("_", " ").split()
    if not words:
        return ""
    begin = r"\b" if re.match(r"\w", words[0][0], re.ASCII) else ""
    end = r"\b" if re.match(r"\w", words[-1][-1], re.ASCII) else ""
    return begin + r"\W+".join(re.escape(word) for word in words) + end


def _exact(term: str) -> re.Pattern[str]:
    text = rf"(?:[^\w{_marks()}{_BETWEEN}]|_)+".join(re.escape(word) for word in term.split())
    begin = "" if _without_spaces(term[0]) else rf"(?<![^\W_])(?<![{_marks()}])"
    end = "" if _without_spaces(term[-1]) else rf"(?![^\W_]|[{_marks()}])"
    return re.compile(begin + text + end)


def _unbounded(term: str, word: re.Match[str]) -> bool:
    """Return whether a text with the term may have more letters beside this word of it."""
    first, last = word.start() == 0, word.end() == len(term)
    return (first and _without_spaces(term[0])) or (last and _without_spaces(term[-1]))


@cache
def _marks() -> str:
    """Return the combining marks as ranges of a regular expression; Python does not count them to words."""
    found = (code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == "M")
    runs = [list(run) for _, run in groupby(enumerate(found), lambda numbered: numbered[1] - numbered[0])]
    return "".join(f"{chr(run[0][1])}-{chr(run[-1][1])}" for run in runs)


def _without_spaces(char: str) -> bool:
    return (unicodedata.category(char) == "Lo" and unicodedata.east_asian_width(char) in "WF") or (
        "\u0e00" <= char <= "\u0eff"  # Thai and Lao
    )
