"""Tab-separated files of other origin, read in bounded memory; a share of bad lines is tolerated."""

from collections.abc import Iterable, Iterator
from io import BufferedIOBase

from catalog.core.errors import Fatal

LINE = 1 << 20  # bytes that are kept of a line; a longer one cannot be read
FIELD = 131_072  # characters a field may have
SHARE = 0.01  # of the lines that may be unreadable
FEW = 10  # unreadable lines that any file may have, however short
AHEAD = 1_000  # unreadable lines that may come before the share of those read so far counts


def bounded_lines(file: BufferedIOBase) -> Iterator[bytes]:
    """Yield lines with their line ends; of a line over `LINE` bytes only the beginning, without one."""
    while line := file.readline(LINE):
        if not line.endswith(b"\n"):
            rest = file.readline(LINE)
            if not rest and len(line) < LINE:  # the last line of the file
                line += b"\n"
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(LINE)
        yield line


def fault(line: bytes, columns: int) -> str | None:
    """Why a line cannot be read as that many fields; None when it can. Quoting is unknown to these files."""
    if not line.endswith(b"\n"):
        return f"longer than {LINE:,} bytes"
    if b"\0" in line:
        return "NUL"
    if b"\b" in line:  # what COPY is told to take for a quote, because it should not occur
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
    """Counts the lines of a file, and those of them that cannot be read.

    Args:
        name: The file's, for messages.
    """

    def __init__(self, name: str) -> None:
        self.lines = self.number = 0
        self._name, self._last = name, ""

    def counted(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The lines, which are counted as they go by."""
        for line in lines:
            self.lines += 1
            yield line

    def add(self, reason: str, line: bytes) -> None:
        """Count a line that cannot be read. Raises Fatal when there are far too many already."""
        self.number += 1
        self._last = f"{reason}: {line[:200]!r}"
        if self.number > AHEAD + SHARE * self.lines:
            self._fail()

    def check(self) -> None:
        """Raise Fatal when more lines than the share cannot be read. All have been seen."""
        if self.number > max(FEW, SHARE * self.lines):
            self._fail()

    def _fail(self) -> None:
        raise Fatal(
            f"{self._name}: {self.number:,} of {self.lines:,} lines cannot be read, more than {SHARE:.0%}; "
            "the last one: "
            f"{self._last}"
        )
