"""Whether DAG files and the installed package are of the same commit.

DAG files may come from a Git bundle, while everything that they import is the installed package. Files of one
commit with the package of another would work by luck, or fail in the middle of a run, so they are refused
when parsed.
"""

import json
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from catalog.core.settings import CATALOG_COMMIT
from catalog.dags.common.settings import environment

PACKAGE = Path(__file__).resolve().parents[2]
_COMMIT = re.compile("[0-9a-f]{40}")


class OtherCommit(Exception):
    """DAG files and the installed package are not of the same commit."""


def installed_commit() -> str | None:
    """Return CATALOG_COMMIT, or the commit that pip recorded (PEP 610, `direct_url.json`)."""
    if given := environment(CATALOG_COMMIT):
        return given
    try:
        origin = json.loads(distribution("media-catalog").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return None
    commit = origin.get("vcs_info", {}).get("commit_id")
    return str(commit) if commit else None


def checked_out_commit(file: Path) -> str | None:
    """Return the commit that a file was checked out from; None for a file that is not in a checkout.

    Airflow keeps each version of a Git bundle in a folder named after its commit, without `.git`; anywhere
    else Git is asked.
    """
    for folder in file.parents:
        if folder.parent.name == "versions" and _COMMIT.fullmatch(folder.name):
            return folder.name
        if (folder / ".git").exists():
            # The folder may be another user's, which Git would refuse to read.
            command = ["git", "-c", "safe.directory=*", "-C", str(folder), "rev-parse", "HEAD"]
            return subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=30
            ).stdout.strip()
    return None


@cache
def refuse_other_commit(file: str) -> None:
    """Refuse a DAG file of another commit than the installed package.

    Files of the package itself, outside of a checkout, or of another project pass.

    Raises:
        OtherCommit: Names both commits; Airflow shows it as the import error of the file.
    """
    path = Path(file).resolve()
    if path.is_relative_to(PACKAGE) or path.parts[-3:-1] != ("catalog", "dags"):
        return
    ours = checked_out_commit(path)
    if ours is None:
        return
    installed = installed_commit()
    if installed is None:
        raise OtherCommit(
            f"{path.name} was checked out of commit {ours}, but the installed package does not know "
            f"its own commit. Install it with `pip install git+<repository>@{ours}`, or set CATALOG_COMMIT."
        )
    if not ours.startswith(installed):
        raise OtherCommit(
            f"{path.name} is of commit {ours}, the installed package of {installed}. Install the "
            f"package of that commit everywhere, or let the Git bundle track {installed}."
        )
