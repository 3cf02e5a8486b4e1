"""A memory limit of a process and its children, by a control group; its page cache counts, too."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOTS = (  # of version 2 and of version 1, and the file with the limit
    (Path("/sys/fs/cgroup"), "memory.max"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
)


@contextmanager
def memory_limit(pid: int, size: int) -> Iterator[bool]:
    """Limit the memory of a process and of the children that it starts from now on.

    Args:
        pid: The process.
        size: Limit in bytes.

    Yields:
        Whether the machine allows it; otherwise the memory is not limited.
    """
    for root, file in _ROOTS:
        group = root / f"catalog-bench-{pid}"
        try:
            group.mkdir()
            if not (group / file).exists():  # not a control group, but a folder
                raise FileNotFoundError(group / file)
            (group / file).write_text(str(size))
            (group / "cgroup.procs").write_text(str(pid))
        except OSError:
            if group.exists():
                group.rmdir()
            continue
        try:
            yield True
        finally:
            for member in (group / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):  # it has ended
                    (root / "cgroup.procs").write_text(member)
            group.rmdir()
        return
    yield False
