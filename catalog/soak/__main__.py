"""Command `./just soak`."""

import random
import shutil
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from catalog.cli import program
from catalog.cli.program import out
from catalog.local.lifecycle import StackError
from catalog.soak.soak import Soak

say = partial(out.print, soft_wrap=True)


def main(
    seed: Annotated[
        int | None, typer.Option(help="Determines the plan; default: chosen at random and printed.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0, help="How long faults are injected.")] = 10,
    keep: Annotated[
        bool, typer.Option(help="Keep the folder of the stack, even without violations.")
    ] = False,
) -> None:
    """Run a separate stack while its parts are killed, and compare all results with a reference."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="catalog-soak-"))
    folder.chmod(0o755)
    say(f"seed {seed}, {minutes:g} minutes, in {folder}")
    began = time.monotonic()
    soak = Soak(folder, seed, minutes, say)
    failed = True
    try:
        soak.run()
        failed = bool(soak.journal.violations)
    except (Exception, KeyboardInterrupt) as error:
        say(f"ended early: {type(error).__name__}: {error}", style="bold red")
        if not isinstance(error, (StackError, KeyboardInterrupt)):
            say("".join(traceback.format_exception(error)))
    finally:
        soak.close(keep=keep or failed)
    soak.report(out)
    outcome, elapsed = "FAILED" if failed else "clean", (time.monotonic() - began) / 60
    say(f"seed {seed}: {outcome} after {elapsed:.1f} minutes")
    if failed or keep:
        say(f"logs and data are in {folder}; repeat with --seed {seed} --minutes {minutes:g}", soft_wrap=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    program.run_function(main, "just soak", StackError)
