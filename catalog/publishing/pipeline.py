"""Threads that convert, write and store row groups while the next rows are received."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import cycle
from typing import Any, Self, TypeVar

import pyarrow as pa

from catalog.publishing.scratch import scratch_folder

_CONVERTERS = 2  # threads that convert batches
_WRITERS = 2  # threads that write files, so that the last row groups do not wait for each other
_STORED = 2  # files that are stored at a time; who has a third one waits

T = TypeVar("T")


class Worker:
    """Threads that work while their caller prepares the next thing; one thread keeps the order.

    Args:
        most: Number of things that may be unfinished; at more, the caller waits.
        threads: Number of threads.
    """

    def __init__(self, most: int, threads: int = 1) -> None:
        self._threads, self._most = ThreadPoolExecutor(threads), most
        self._unfinished = deque[Future[Any]]()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do something, with one thread after what was submitted before.

        Raises:
            Exception: That of earlier work.
        """
        future = self._threads.submit(work)
        self._unfinished.append(future)
        if len(self._unfinished) > self._most:
            self._unfinished.popleft().result()
        return future

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


class Pipeline:
    """Threads for successive row groups: some convert them, some compress and write, some store files.

    The caller receives rows meanwhile. Nearly all of it is C++ that holds no lock of Python's. Each file has
    one writer, which keeps the order of its row groups. The pipeline outlives a part, so that the next one is
    received while the last row groups of a part are converted and stored.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        # Arrow's default keeps 60 MB more of what is freed, and takes a tenth more processor time.
        pa.set_memory_pool(pa.system_memory_pool())
        self.folder = self._stack.enter_context(scratch_folder())  # for files that are not complete
        self.storing = self._stack.enter_context(closing(Worker(_STORED, threads=_STORED)))
        self.writers = cycle(
            [self._stack.enter_context(closing(Worker(_CONVERTERS))) for _ in range(_WRITERS)]
        )
        self._converting = self._stack.enter_context(ThreadPoolExecutor(_CONVERTERS))
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)  # which `scratch_folder` explains

    def add(
        self, writer: Worker, convert: Callable[[], pa.Table], write: Callable[[pa.Table], None]
    ) -> Future[None]:
        """Convert and write a row group; wait while too many are unfinished.

        Args:
            writer: One of `writers`.
            convert: Returns the row group; runs beside others.
            write: Writes it; runs after that of the row group before.

        Raises:
            Exception: That of an earlier row group.
        """
        converted = self._converting.submit(convert)
        return writer.submit(lambda: write(converted.result()))
