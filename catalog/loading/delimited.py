"""Tab-separated files of third parties, read in bounded memory; a small share of bad lines is tolerated."""

from collections.abc import Iterable, Iterator
from io import BufferedIOBase

from catalog.core.errors import Fatal

LINE = 1 << 20  # maximum bytes of a line
FIELD = 131_072  # maximum characters of a field
SHARE = 0.01  # maximum share of unreadable lines
FEW = 10  # unreadable lines that a file of any length may have
AHEAD = 1_000  # unreadable lines tolerated, above the share, before the whole file has been read


def bounded_lines(file: BufferedIOBase) -> Iterator[bytes]:
    """Yield lines with their line ends; a line over `LINE` bytes is cut and has no line end."""
    while line := file.readline(LINE):
        if not line.endswith(b"\n"):
            rest = file.readline(LINE)
            if not rest and len(line) < LINE:  # the last line of the file
                line += b"\n"
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(LINE)
        yield line


def fault(line: bytes, columns: int) -> str | None:
    """Return why a line cannot be read as N fields, or None if it can. The files use no quoting.

    Args:
        line: With its line end.
        columns: Number of fields.
    """
    if not line.endswith(b"\n"):
        return f"longer than {LINE:,} bytes"
    if b"\0" in line:
        return "NUL"
    if b"\b" in line:  # COPY is given this byte as its quote character, because it should not occur
        return "backspace"
    try:
        fields = line.decode().rstrip("\r\n").split("\t")
    except UnicodeDecodeError:
        return "not UTF-8"
    if len(fields) != columns:
        return f"{len(fields)} fields instead of {columns}"
    if len(line) > FIELD and max(map(len, fields)) > FIELD:
        return f"a field of more than {FIELD:,} characters"
    return None


class Unreadable:
    """Counts the lines of a file and the unreadable lines among them.

    Args:
        name: Name of the file, for messages.
    """

    def __init__(self, name: str) -> None:
        self.lines = self.number = 0
        self._name, self._last = name, ""

    def counted(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the lines and count them."""
        for line in lines:
            self.lines += 1
            yield line

    def add(self, reason: str, line: bytes) -> None:
        """Count an unreadable line. Raises Fatal if there are far too many already."""
        self.number += 1
        self._last = f"{reason}: {line[:200]!r}"
        if self.number > AHEAD + SHARE * self.lines:
            self._fail()

    def check(self) -> None:
        """Raise Fatal if too many lines are unreadable; to be called at the end of the file."""
        if self.number > max(FEW, SHARE * self.lines):
            self._fail()

    def _fail(self) -> None:
        raise Fatal(
            f"{self._name}: {self.number:,} of {self.lines:,} lines cannot be read, more than {SHARE:.0%}; "
            f"the last one: {self._last}"
        )
