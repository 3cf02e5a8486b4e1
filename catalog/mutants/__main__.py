"""`./just mutants [name …]`: find guards whose removal no test notices."""

import shutil
import sys
import time
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from catalog.cli import program
from catalog.core.errors import Refused
from catalog.mutants.guard import Guard
from catalog.mutants.guards import GUARDS
from catalog.mutants.trial import Outcome, Verdict, judge, run_tests, snapshot, tree_without


def main(names: Sequence[str]) -> int:
    """Remove guards one by one and run their tests.

    Args:
        names: Guards to remove; default: all.

    Returns:
        0 if each removal is noticed; 1 if one is not, or if a test fails without any.

    Raises:
        Refused: There is no guard of that name.
    """
    known = {guard.name: guard for guard in GUARDS}
    for name in names:
        if name not in known:
            similar = ", ".join(get_close_matches(name, known, cutoff=0.5)) or "none"
            raise Refused(
                f"there is no guard {name!r}; similar names: {similar}; all are in catalog/mutants/guards."
            )
    chosen = [known[name] for name in names] or list(GUARDS)
    verdicts: list[tuple[Guard, Verdict]] = []
    with snapshot() as tree:
        if not _pass_with_all_guards(chosen, tree):
            return 1
        for number, guard in enumerate(chosen, 1):
            print(f"[{number}/{len(chosen)}] {guard.name}: {guard.holds}", flush=True)
            verdict = judge(guard, tree)
            print(f"    {verdict.message} ({verdict.seconds:.0f} s)", flush=True)
            verdicts.append((guard, verdict))
    _summary(verdicts)
    return 0 if all(verdict.noticed for _, verdict in verdicts) else 1


def _pass_with_all_guards(guards: Sequence[Guard], tree: Path) -> bool:
    """Return True if the tests pass with all guards; otherwise their failures would prove nothing."""
    tests = sorted({test for guard in guards for test in guard.node_ids()})
    print(f"{len(guards)} guards; running their {len(tests)} tests without any removal …", flush=True)
    began = time.monotonic()
    with tree_without(None, tree) as folder:
        outcome = run_tests(folder, tests, max(g.seconds for g in guards), stop_at_first=False)
    print(f"    {time.monotonic() - began:.0f} s", flush=True)
    for test in outcome.failed:
        print(f"FAILS WITH ALL GUARDS: {test}")
    if outcome.hung:
        print("HANGS WITH ALL GUARDS")
    if outcome.broken:
        print(outcome.broken)
    return outcome == Outcome()


def _summary(verdicts: Sequence[tuple[Guard, Verdict]]) -> None:
    width = max(len(guard.name) for guard, _ in verdicts)
    room = max(40, shutil.get_terminal_size().columns - width - 12)
    print(f"\n{'guard':{width}} row   s  outcome")
    for guard, verdict in verdicts:
        message = " ".join(verdict.message.split())
        shown = message if verdict.noticed else message[:room]
        print(f"{guard.name:{width}} {guard.row:3} {verdict.seconds:3.0f}  {shown}")
    missed = [guard.name for guard, verdict in verdicts if not verdict.noticed]
    seconds = sum(verdict.seconds for _, verdict in verdicts)
    print(f"\n{len(verdicts)} guards in {seconds:.0f} s, {len(verdicts) - len(missed)} noticed.")
    if missed:
        print(f"Not noticed: {', '.join(missed)}")


if __name__ == "__main__":
    program.run(lambda: main(sys.argv[1:]), "just mutants")
