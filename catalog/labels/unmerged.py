"""What of a file of labels is not merged: counts by reason, with examples for the report."""

import msgspec

_EXAMPLES = 3  # lines that are shown for each reason
_SHOWN = 200  # characters of such a line


class UnmergedLines(msgspec.Struct):
    """How many lines and single labels of a file are not merged, by reason.

    Attributes:
        numbers: Reason → number of lines; of labels, if the reason begins with `label: `.
        examples: Reason → the first lines with it, as number and beginning.
        read: Number of lines, without blank ones.
        unusable: Number of those that cannot be used, whatever the least confidence is.
        cut: The last line, as number and beginning, if the file ends within it. Otherwise "".
    """

    numbers: dict[str, int] = {}
    examples: dict[str, list[str]] = {}
    read: int = 0
    unusable: int = 0
    cut: str = ""

    def add(self, reason: str, number: int, line: int, text: bytes) -> None:
        """Count a reason; keep the first lines with it."""
        self.numbers[reason] = self.numbers.get(reason, 0) + number
        shown = self.examples.setdefault(reason, [])
        if len(shown) < _EXAMPLES:
            shown.append(_shown(line, text))

    def add_unusable(self, reason: str, line: int, text: bytes, *, cut: bool) -> None:
        """Count a line that cannot be used, whatever the least confidence is.

        Args:
            reason: Why.
            line: Its number.
            text: The line.
            cut: It is the last one, and the file ends within it.
        """
        self.add(reason, 1, line, text)
        self.unusable += 1
        if cut:
            self.cut = _shown(line, text)


def _shown(line: int, text: bytes) -> str:
    """Return the number and the beginning of a line."""
    return f"line {line:,}: {text[:_SHOWN].decode(errors='replace')!a}"
