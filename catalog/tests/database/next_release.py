"""A made-up next release: a copy of the source tree with one more migration of the catalog database."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from catalog.local.stack import ROOT

REVISION = "9001"
HALF_WAY = 9001  # an advisory lock: while a session holds it, the migration waits half-way
MIGRATION = f'''
"""Made up: what a migration may do, which only adds."""

from alembic import op

revision = "{REVISION}"
down_revision = "%s"
TABLES = ("image", "audio", "deleted_image", "deleted_audio", "ingestion_report", "image_popularity_metrics")
LOCKS = {{table: "ACCESS EXCLUSIVE, an instant" for table in TABLES}}
INDEXES = {{"image_made_up": "create index concurrently image_made_up on public.image (created_on)"}}


def upgrade() -> None:
    for table in TABLES:
        op.execute(f"alter table {{table}} add column made_up text")
    op.execute("select pg_advisory_xact_lock({HALF_WAY})")
    op.execute("create table made_up (id int primary key)")
    op.execute("create index on ingestion_report (made_up)")
'''


class NextRelease:
    """Runs commands of the next release, each as a process that sees only its source tree."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ignored = shutil.ignore_patterns("tests", "__pycache__", "benchmarks")
        shutil.copytree(ROOT / "catalog", folder / "catalog", ignore=ignored)
        versions = folder / "catalog" / "database" / "migrations" / "versions"
        newest = max(path.name.partition("_")[0] for path in versions.glob("[0-9]*.py"))
        (versions / f"{REVISION}_made_up.py").write_text(MIGRATION % newest, encoding="utf-8")

    def start(self, *arguments: str, dsn: str) -> "subprocess.Popen[str]":
        """Start a `catalog` command of the next release."""
        return subprocess.Popen(
            [sys.executable, "-c", "from catalog.cli import main; main()", *arguments, "--dsn", dsn],
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(self._folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, dsn: str) -> tuple[int, str]:
        """Return the exit status of a command, and its output as one line."""
        with self.start(*arguments, dsn=dsn) as process:
            said, _ = process.communicate(timeout=120)
        return process.returncode, " ".join(said.split())
