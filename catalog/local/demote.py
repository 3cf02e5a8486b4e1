"""Run native servers as another user when we are root: PostgreSQL refuses root, so it runs as `nobody`."""

import os
import pwd
import stat
from pathlib import Path
from typing import TypedDict


class Demotion(TypedDict, total=False):
    """Keywords of `subprocess.Popen` that change the user."""

    user: int
    group: int
    extra_groups: list[int]


def demotion() -> Demotion:
    """Return the `subprocess.Popen` keywords that drop root's privileges; {} for an ordinary user."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def reachable(path: Path) -> bool:
    """Return True if any user may traverse the folders above a path; a home directory is often 0700."""
    path = path.resolve()
    return all(p.stat().st_mode & stat.S_IXOTH for p in (path, *path.parents) if p.exists())


def make_folders(demoted: Demotion, *folders: Path) -> None:
    """Make folders, owned by the demoted user."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        if demoted:
            os.chown(folder, demoted["user"], demoted["group"])
