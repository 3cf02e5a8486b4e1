"""A guard: a piece of the source whose removal at least one test must notice."""

from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """One guard, and how it is removed.

    Attributes:
        name: To run it by.
        holds: What the guard keeps from happening, in one sentence.
        row: Of the table in `docs/reliability.md`.
        file: Below the repository's root.
        find: The piece of source to replace. It occurs exactly once in the file.
        replace: What stands there instead, so that the guard is gone and the file is still valid.
        tests: The tests that should notice: node ids below `catalog/tests`, or files.
        seconds: That one of these tests may take; one that takes longer hangs.
    """

    name: str
    holds: str
    row: int
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]
    seconds: int = 60

    def mutated(self, source: str) -> str:
        """The file's text without the guard.

        Raises:
            ValueError: The piece does not occur exactly once, or the text is no valid Python afterwards.
        """
        if (found := source.count(self.find)) != 1:
            raise ValueError(
                f"{self.name}: its piece occurs {found} times in {self.file}, not once; renew the list"
            )
        text = source.replace(self.find, self.replace)
        if text == source:
            raise ValueError(f"{self.name}: the replacement changes nothing")
        if self.file.endswith(".py"):
            try:
                compile(text, self.file, "exec")
            except SyntaxError as error:
                raise ValueError(f"{self.name}: {self.file} is no valid Python without it: {error}") from None
        return text

    def node_ids(self) -> list[str]:
        """The tests as pytest is told them, from the root."""
        return [f"catalog/tests/{test}" for test in self.tests]
