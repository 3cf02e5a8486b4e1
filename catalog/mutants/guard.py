"""Guard: a piece of source whose removal at least one test must notice."""

from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """A guard and its removal.

    Attributes:
        name: Name on the command line.
        holds: Property that the guard ensures, in one sentence.
        row: Row of the table in `docs/reliability.md`.
        file: Path below the repository's root.
        find: Piece of source to replace. It occurs exactly once in the file.
        replace: Source without the guard; the file must stay valid.
        tests: Tests that must fail: node ids below `catalog/tests`, or files.
        seconds: Time limit of a single test; a test that takes longer counts as hung.
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
        """Remove the guard from the source of its file.

        Args:
            source: Content of the file.

        Raises:
            ValueError: The piece does not occur exactly once, or the result is not valid Python.
        """
        if (found := source.count(self.find)) != 1:
            raise ValueError(
                f"{self.name}: `find` occurs {found} times in {self.file}, not once; update the guard"
            )
        result = source.replace(self.find, self.replace)
        if result == source:
            raise ValueError(f"{self.name}: the replacement changes nothing; update the guard")
        if self.file.endswith(".py"):
            try:
                compile(result, self.file, "exec")
            except SyntaxError as error:
                raise ValueError(
                    f"{self.name}: {self.file} is not valid Python after the removal: {error}"
                ) from None
        return result

    def node_ids(self) -> list[str]:
        """Return the tests as arguments of pytest, from the root."""
        return [f"catalog/tests/{test}" for test in self.tests]
