"""Shortens and divides texts in Slack's markup, never within a link or an escape, and strips the markup."""

import html
import re

_ATOM = re.compile(r"<[^<>\n]*>|&(?:amp|lt|gt);|.", re.DOTALL)
_LINK = re.compile(r"<([^<>|\n]*)(?:\|([^<>\n]*))?>")
_EMPHASIS = re.compile(r"(?<![\w*_`])([*_`])(?=\S)([^\n]*?\S)\1(?![\w*_`])")


def shortened(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters, which says how many are left out, if any are.

    Args:
        text: In Slack's markup.
        limit: At least 60.
    """
    if len(text) <= limit:
        return text
    room = limit - len(_left_out(len(text)))
    kept = _head(text, room)
    return kept + _left_out(len(text) - len(kept))


def _left_out(number: int) -> str:
    return f" … ({number:,} more characters)"


def divided(lines: list[str], limit: int) -> list[str]:
    """Return texts of at most `limit` characters that hold the lines in order.

    A line that is too long alone is continued in the next text. A link that is too long is replaced by its
    length.

    Args:
        lines: In Slack's markup.
        limit: At least 60.
    """
    texts: list[str] = []
    for line in lines:
        for part in _parts(line, limit):
            if texts and len(texts[-1]) + 1 + len(part) <= limit:
                texts[-1] += f"\n{part}"
            else:
                texts.append(part)
    return texts


def _parts(line: str, limit: int) -> list[str]:
    if len(line) <= limit:
        return [line]
    parts, atoms = [""], (_bounded(match[0], limit) for match in _ATOM.finditer(line))
    for atom in atoms:
        if len(parts[-1]) + len(atom) > limit:
            parts.append("")
        parts[-1] += atom
    return parts


def _bounded(atom: str, limit: int) -> str:
    return atom if len(atom) <= limit else f"(a link of {len(atom):,} characters)"


def _head(text: str, limit: int) -> str:
    """Return the longest beginning of at most `limit` characters that cuts no link or escape."""
    end = 0
    for match in _ATOM.finditer(text):
        if match.end() > limit:
            break
        end = match.end()
    return text[:end]


def plain(text: str) -> str:
    """Return a text without markup, as terminals show it.

    Args:
        text: In Slack's markup.
    """
    text = _LINK.sub(lambda match: f"{match[2]} ({match[1]})" if match[2] else match[1], text)
    return html.unescape(_EMPHASIS.sub(r"\2", text))
