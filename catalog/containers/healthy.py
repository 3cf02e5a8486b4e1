"""Health check of the triggerer or dag-processor of a container: `python healthy.py TriggererJob`.

Like `airflow jobs check --local`, it looks for a running job of this host with a recent heartbeat. It does
not import Airflow: that takes five seconds of processor time, every half minute.
"""

import os
import socket
import sys
from contextlib import suppress

import psycopg

from catalog.core import airflow_names

RECENT = 60  # seconds; a heartbeat comes every five
_ALIVE = """
    select count(*) from job
     where job_type = %s and state = 'running' and hostname = any(%s)
       and latest_heartbeat > now() - make_interval(secs => %s)
"""


def hostnames() -> list[str]:
    """Return the names by which Airflow may know this host."""
    found = {socket.gethostname(), socket.getfqdn()}
    with suppress(OSError):
        answers = socket.getaddrinfo(socket.gethostname(), None, 0, socket.SOCK_DGRAM, 0, socket.AI_CANONNAME)
        found |= {answer[3] for answer in answers if answer[3]}
    return sorted(found)


def alive(address: str, job_type: str) -> bool:
    """Return True if a job of this host has a recent heartbeat.

    Args:
        address: Address of Airflow's database.
        job_type: `TriggererJob` or `DagProcessorJob`.
    """
    with psycopg.connect(address.replace("+psycopg2", "", 1), connect_timeout=10) as connection:
        row = connection.execute(_ALIVE, [job_type, hostnames(), RECENT]).fetchone()
    return bool(row and row[0])


def main(job_type: str) -> int:
    if alive(os.environ[airflow_names.ADDRESS], job_type):
        return 0
    print(f"no {job_type} of {', '.join(hostnames())} in the last {RECENT} seconds")  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
