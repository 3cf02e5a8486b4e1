"""`./just soak`: see the package."""

import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from catalog.cli import program
from catalog.local.lifecycle import StackError
from catalog.soak.soak import Soak

out = Console(soft_wrap=True)


def main(
    seed: Annotated[
        int | None, typer.Option(help="Makes the plan; without, one is chosen and printed.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0, help="How long faults are injected.")] = 10,
    keep: Annotated[bool, typer.Option(help="Keep the folder of the stack, also when all is well.")] = False,
) -> None:
    """Let a stack of its own work while its parts are killed, then hold everything against what it must be."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="catalog-soak-"))
    folder.chmod(0o755)
    out.print(f"seed {seed}, {minutes:g} minutes, in {folder}")
    began, soak = time.monotonic(), Soak(folder, seed, minutes, lambda text: out.print(text, highlight=False))
    failed = True
    try:
        soak.run()
        failed = bool(soak.journal.violations)
    except (Exception, KeyboardInterrupt) as error:
        out.print(f"ended early: {type(error).__name__}: {error}", style="bold red", markup=False)
        if not isinstance(error, (StackError, KeyboardInterrupt)):
            out.print("".join(traceback.format_exception(error)), markup=False, highlight=False)
    finally:
        soak.close(keep=keep or failed)
    soak.report(out)
    out.print(
        f"seed {seed}: {'FAILED' if failed else 'clean'} after {(time.monotonic() - began) / 60:.1f} minutes"
    )
    if failed or keep:
        out.print(f"logs and data are in {folder}; repeat it with --seed {seed} --minutes {minutes:g}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    program.run(lambda: typer.run(main), "just soak", StackError)
