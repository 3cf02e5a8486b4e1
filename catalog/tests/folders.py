"""Folders for servers that tests start."""

import os
import shutil
import tempfile
from pathlib import Path

MEMORY, DISK = Path("/dev/shm"), Path("/var/tmp")
NEEDED = 8 << 30  # bytes


def folder_for_servers(prefix: str) -> Path:
    """Create a folder that servers demoted to another user can reach, unlike pytest's own.

    It is in memory where there is enough: creating a database takes a tenth of the time there. The caller
    deletes it.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=MEMORY if _is_roomy(MEMORY) else DISK))
    folder.chmod(0o755)
    return folder


def _is_roomy(folder: Path) -> bool:
    try:
        free, flags = shutil.disk_usage(folder).free, os.statvfs(folder).f_flag
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return False
    return not flags & os.ST_NOEXEC and min(free, available) >= NEEDED  # servers run programs from there
