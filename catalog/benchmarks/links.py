"""Checks of links compared with a bare client that sends HEAD for each; memory, and the cost of removals.

BENCH_LINKS (default: 200,000) images of one provider, and a tenth as many of another one, on BENCH_HOSTS
hosts (default: 200). A server in its own process answers at once, so the rate of the hosts is not a limit;
each provider is one slice, planned, checked with the task's number of workers, and judged. The bare client
of the same library (`requests`) has as many threads, and no rules of robots.txt, rates or database. Then
samples of a provider are planned and judged, with few and with BENCH_LINKS open removals.
"""

import asyncio
import itertools
import logging
import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection as Pipe

import psycopg
import requests
from requests.adapters import HTTPAdapter

from catalog.benchmarks._servers import postgres
from catalog.core.session import Connection
from catalog.database import schema
from catalog.links.checker import Checker
from catalog.links.conclude import conclude
from catalog.links.pauses import Pauses, PauseTable
from catalog.links.plan import Survey, plan
from catalog.links.slots import SharedSlots
from catalog.links.survey import check_links
from catalog.links.web import Web

LINKS = int(os.environ.get("BENCH_LINKS", "200000"))
HOSTS = int(os.environ.get("BENCH_HOSTS", "200"))
WORKERS = 16  # as in the DAG
SAMPLE = 1_000
FAST = 1_000_000.0  # requests a second for a host
_SPAWN = multiprocessing.get_context("spawn")
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\n"
_FIRST_BYTE = (
    b"HTTP/1.1 206 Partial Content\r\nContent-Type: image/jpeg\r\nContent-Range: bytes 0-0/1000\r\n"
    b"Content-Length: 1\r\n\r\ni"
)
_NO_ROBOTS = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
ROWS = """
    insert into image (identifier, created_on, updated_on, provider, source, foreign_identifier,
                       foreign_landing_url, url, license, filesize, removed_from_source)
    select time_ordered_uuid(), now(), now(), name, name, n, 'https://example.org/' || name || n,
           'http://' || (%(hosts)s::text[])[1 + n %% %(number)s] || ':' || %(port)s || '/' || name || n, 'by',
           1000, %(removed)s
      from generate_series(1, %(rows)s) n, cast(%(name)s as text) name
"""
REMOVALS = """
    insert into link_removal (media_type, provider, identifier, url, first_gone_on, last_gone_on, checks,
                              run_id, removed_on)
    select 'image', provider, identifier, url, now(), now(), 3, 'before', now() from image where provider = %s
"""


def hosts() -> list[str]:
    """Return addresses of this machine, which stand for hosts."""
    return [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(HOSTS)]


class _Answers(asyncio.Protocol):
    """Answers each request at once, without looking at more than its first letters."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(
            _NO_ROBOTS if b"/robots.txt" in data[:64] else _HEAD if data.startswith(b"HEAD") else _FIRST_BYTE
        )


def _serve(pipe: Pipe, addresses: list[str]) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        first = await loop.create_server(_Answers, addresses[0], 0)
        port = first.sockets[0].getsockname()[1]
        others = [await loop.create_server(_Answers, address, port) for address in addresses[1:]]
        pipe.send(port)
        await loop.run_in_executor(None, pipe.recv)
        for server in (first, *others):
            server.close()

    asyncio.run(serve())


@contextmanager
def server() -> Iterator[int]:
    """Run the server in a process of its own, and yield its port."""
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(theirs, hosts()))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def bare(dsn: str, provider: str) -> float:
    """Request the links of a provider, and robots.txt of each host; return the seconds."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select url from image where provider = %s", [provider]).fetchall()
    urls = iter([url for (url,) in rows])
    origins = [url.rpartition("/")[0] for (url,) in rows[:HOSTS]]
    adapter, lock = HTTPAdapter(pool_connections=HOSTS, pool_maxsize=WORKERS), threading.Lock()

    def work() -> None:
        session = requests.Session()
        session.mount("http://", adapter)
        while True:
            with lock:
                url = next(urls, None)
            if url is None:
                return
            session.head(url, timeout=30)

    began = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        for answer in pool.map(lambda origin: requests.get(f"{origin}/robots.txt", timeout=30), origins):
            assert answer.status_code == 404
        for done in [pool.submit(work) for _ in range(WORKERS)]:
            done.result()
    return time.perf_counter() - began


def _now() -> datetime:
    return datetime.now(UTC)


def check(dsn: str, provider: str) -> tuple[list[float], int]:
    """Check all links of a provider.

    Returns:
        The seconds of plan, checks and judgement, and the peak memory in kB.
    """
    logging.disable(logging.WARNING)
    survey = Survey("bench", "image", provider, 1, 1)
    moments = [time.perf_counter()]
    with psycopg.connect(dsn, autocommit=True) as connection, psycopg.connect(dsn, autocommit=True) as shared:
        plan(connection, survey, now=_now(), size=0, again=0)
        moments.append(time.perf_counter())
        pauses = Pauses(PauseTable(lambda: shared, provider), provider, _now)
        web = Web(SharedSlots(lambda: shared, FAST, pauses), user_agent="Bench/1.0", private_hosts=hosts())
        check_links(
            connection,
            survey,
            Checker(web, "Bench").check,
            pauses,
            now=_now,
            clock=time.monotonic,
            sleep=time.sleep,
            workers=WORKERS,
        )
        moments.append(time.perf_counter())
        found = conclude(connection, survey, now=_now)
        moments.append(time.perf_counter())
        rows = connection.execute("select count(*) from image where provider = %s", [provider]).fetchone()
    assert rows == (found.there,)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return [end - begin for begin, end in itertools.pairwise(moments)], memory


def sample(connection: Connection, run_id: str, provider: str) -> tuple[float, float]:
    """Plan and judge a sample whose links are there, and removed ones besides; return the seconds of both."""
    survey = Survey(run_id, "image", provider)
    began = time.perf_counter()
    plan(connection, survey, now=_now(), size=SAMPLE, again=SAMPLE)
    planned = time.perf_counter()
    connection.execute(
        "update link_check set checked_on = now(), outcome = 'unclear', reason = 'made up' where run_id = %s",
        [run_id],
    )
    checked = time.perf_counter()
    conclude(connection, survey, now=_now)
    return planned - began, time.perf_counter() - checked


def main() -> None:
    sizes = {"small": LINKS // 10, "large": LINKS}
    with postgres("bench") as (database, _):
        dsn = database.dsn("bench")
        schema.upgrade(dsn)
        with server() as port, psycopg.connect(dsn, autocommit=True) as connection:
            where = {"hosts": hosts(), "number": HOSTS, "port": port}
            for name, rows in sizes.items():
                values = {"name": name, "rows": rows, "removed": False, **where}
                connection.execute(ROWS, values)
            connection.execute("vacuum analyze image")
            print(f"{HOSTS:,} hosts, {WORKERS} workers")
            print(f"{'':36} {'links/s':>9} {'x bare':>7} {'plan s':>7} {'judge s':>8} {'MB':>6}", flush=True)
            for name, rows in sizes.items():
                with ProcessPoolExecutor(1, _SPAWN) as pool:
                    floor = pool.submit(bare, dsn, name).result()
                with ProcessPoolExecutor(1, _SPAWN) as pool:
                    (planned, seconds, judged), memory = pool.submit(check, dsn, name).result()
                print(f"{f'bare client, {rows:,} links':36} {rows / floor:>9,.0f}", flush=True)
                print(
                    f"{f'checks of {rows:,} links':36} {rows / seconds:>9,.0f} {floor / seconds:>7.2f} "
                    f"{planned:>7.1f} {judged:>8.1f} {memory / 1000:>6,.0f}",
                    flush=True,
                )
            for name, rows in (("few", SAMPLE), ("many", LINKS)):
                values = {"name": name, "rows": rows, **where}
                connection.execute(ROWS, {**values, "removed": True})
                connection.execute(REMOVALS, [name])
                connection.execute("vacuum analyze image, link_removal, link_check")
                planned, judged = sample(connection, f"sample of {name}", name)
                text = f"sample, {rows:,} open removals"
                print(f"{text:36} {'':>9} {'':>7} {planned:>7.2f} {judged:>8.2f}", flush=True)
