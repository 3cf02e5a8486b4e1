"""Which records are sensitive: those whose title, description or tags contain a term of the list.

Those that their provider calls mature are sensitive as well (`MATURE`).

As in the filtered index, terms match whole words, and are compared in their normal form. Signs, also `_`,
only separate words, in a term as in a text: `#tag` is `tag`, and `c++` is `c`. In scripts without spaces,
each letter is a word, and a term matches anywhere. Symbols such as emoji count only in a term that has
neither letters nor digits, and then each of them. So whatever the filtered index hides is left out; a few
other records may be, too.

Two passes keep the cost low for lists of thousands of terms. The first, in C++, finds the texts that may
contain a term: it knows only the word boundaries of ASCII, so that its automaton stays small. The second
examines those few texts exactly.
"""

import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import groupby, pairwise
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
        normal = sorted({words for term in terms for words in _words(normal_form(term))})
        self._likely = [
            "|".join(_likely(term) for term in normal[i : i + _GROUP]) for i in range(0, len(normal), _GROUP)
        ]
        self._by_word = defaultdict[str, list[_Term]](list)  # whose first word is a whole word of the text
        self._anywhere: list[_Term] = []
        for term in normal:
            found = _Term(term[0], _exact(term))
            bounded = next((word for word in term if not _is_unbounded(word)), None)
            if bounded:
                self._by_word[_runs().findall(bounded)[0]].append(found)
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
        words = self._by_word.keys() & _runs().findall(text)
        return any(term.pattern.search(text) for word in words for term in self._by_word[word]) or any(
            term.begin in text and term.pattern.search(text) for term in self._anywhere
        )


def _words(term: str) -> list[tuple[str, ...]]:
    """Return the words that follow each other in texts with a term; of one without words, each symbol alone.

    Which symbols the engine's tokenizer leaves out depends on its version.
    """
    letters = rf"[{_spaceless()}]|(?:{_letter()}{_mark()}*)+"
    if words := re.findall(letters, term):
        return [tuple(words)]
    return [(char,) for char in term if unicodedata.category(char) == "So"]


def _is_unbounded(word: str) -> bool:
    """Return whether a word may have letters beside it: it is a symbol, or of a script without spaces."""
    return _is_spaceless(word[0]) or not word[0].isalnum()


def _joined(words: Sequence[str], close: str, apart: str) -> str:
    """Return a pattern for words, one after the other.

    Args:
        words: The words.
        close: Pattern of what may be between two of them.
        apart: Pattern of what must be between two that have spaces, and cannot be beside each other.
    """
    text = re.escape(words[0])
    for before, word in pairwise(words):
        text += (close if _is_unbounded(before) or _is_unbounded(word) else apart) + re.escape(word)
    return text


def _likely(words: Sequence[str]) -> str:
    """Return a pattern that matches at least where the term is, with the boundaries of ASCII words.

    It is for texts with spaces in the place of `_`, which is a letter of a word to regular expressions.
    """
    begin = r"\b" if re.match(r"\w", words[0][0], re.ASCII) else ""
    end = r"\b" if re.match(r"\w", words[-1][-1], re.ASCII) else ""
    return begin + _joined(words, r"\W*", r"\W+") + end


def _exact(words: Sequence[str]) -> re.Pattern[str]:
    letter, mark = _letter(), _mark()
    close = rf"(?:(?![{_spaceless()}])[^\w{_BETWEEN}]|_)*"
    # A mark belongs to the letter before it, if there is one.
    marked = "".join(rf"(?<!{letter}{mark * number})" for number in range(4))
    begin = "" if _is_unbounded(words[0]) else marked
    end = "" if _is_unbounded(words[-1]) else rf"(?!{letter}|{mark})"
    return re.compile(begin + _joined(words, close, rf"(?:[^\w{_marks()}{_BETWEEN}]|_){close}") + end)


@cache
def _runs() -> re.Pattern[str]:
    """Return a pattern of letters and digits of scripts with spaces, up to a mark."""
    return re.compile(f"{_letter()}+")


def _letter() -> str:
    """Return a pattern of a letter or digit of scripts with spaces."""
    return rf"[^\W_{_spaceless()}]"


def _mark() -> str:
    """Return a pattern of a combining mark of them."""
    return rf"(?:(?![{_spaceless()}])[{_marks()}])"


@cache
def _marks() -> str:
    """Return the combining marks as ranges of a regular expression; Python does not count them to words."""
    return _ranges(lambda char: unicodedata.category(char)[0] == "M")


@cache
def _spaceless() -> str:
    """Return the letters of scripts without spaces as ranges of a regular expression."""
    return _ranges(_is_spaceless)


def _ranges(belongs: Callable[[str], bool]) -> str:
    found = (code for code in range(sys.maxunicode + 1) if belongs(chr(code)))
    runs = [list(run) for _, run in groupby(enumerate(found), lambda numbered: numbered[1] - numbered[0])]
    return "".join(f"{chr(run[0][1])}-{chr(run[-1][1])}" for run in runs)


def _is_spaceless(char: str) -> bool:
    return (unicodedata.category(char) == "Lo" and unicodedata.east_asian_width(char) in "WF") or (
        "\u0e00" <= char <= "\u0eff"  # Thai and Lao
    )
