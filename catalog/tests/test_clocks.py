"""What a database has dated is compared with the clock of that database, and not with that of a worker."""

import ast
from pathlib import Path

CATALOG = Path(__file__).parents[1]
# Not in production, or on one machine.
ELSEWHERE = {"benchmarks", "dag_docs", "local", "mutants", "scaffold", "soak", "tests"}
# File → what its clock is for. None is compared with a time that a database has stored and acted upon.
ALLOWED = {
    "cli/ingest.py": "names a folder of the machine that makes it",
    "cli/status.py": "shows ages to the person at this machine",
    "dags/airflow_log_cleanup.py": "is compared with files of workers, which have no other clock",
    "dags/common/conf.py": "is a day that has not come, of which no conf may ask",
    "dags/common/variables.py": "is part of a marker: a malformed setting is named once a day",
    "dags/pr_review_reminders.py": "is compared with days of GitHub",
    "database/earlier_runs.py": "is part of a name that no other run has",
    "ingestion/key_check.py": "is a day that is asked for; nothing is stored",
    "ingestion/pull.py": "is a default for pulls without a database; tasks pass that of the lease",
    "ingestion/retries.py": "is compared with the time of a server's answer",
    "maintenance/rds_restore.py": "is compared with times of AWS, which refuses requests of a wrong clock",
    "plugins/dashboard/rendering.py": "shows ages to people",
    "providers/auckland_museum/provider.py": "ends all parts of a search but the last, which has no end",
    "providers/metropolitan_museum/objects.py": "is a day on which nothing can have changed",
    "providers/science_museum/provider.py": "is a year after which no object was made",
    "publishing/scratch.py": "is compared with files of the same machine",
}


def reads_clock(node):
    """Return whether a node is a call of `datetime.now`, `time.time` or the like."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    owner = node.func.value
    name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
    return (name, node.func.attr) in {
        *(("datetime", call) for call in ("now", "today", "utcnow")),
        ("date", "today"),
        *(("time", call) for call in ("time", "time_ns")),
    }


def test_only_these_files_read_the_clock_of_the_machine():
    found = {
        str(path.relative_to(CATALOG))
        for path in CATALOG.rglob("*.py")
        if path.relative_to(CATALOG).parts[0] not in ELSEWHERE
        and any(map(reads_clock, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == ALLOWED.keys()
