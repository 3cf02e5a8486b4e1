"""Receivers of metrics: StatsD over UDP, and OTLP over HTTP. Both keep what tasks have sent."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA

from catalog.core.metrics import PREFIX, Metric

Series = tuple[str, frozenset[tuple[str, str]]]


class Received:
    """The sums of counters and the newest values of gauges, by name and tags, without Airflow's own.

    Attributes:
        environment: Settings of the tasks whose metrics are received.
        processes: Name and value of the attributes of each process that sent something.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.counters: Counter[Series] = Counter()
        self.gauges: dict[Series, float] = {}
        self.processes: list[dict[str, str]] = []
        self._lock = threading.Lock()

    def take(self, kind: str, name: str, tags: dict[str, str], value: float) -> None:
        """Take a value from the wire."""
        if not name.startswith(f"{PREFIX}.catalog."):
            return
        series = name.removeprefix(f"{PREFIX}."), frozenset(tags.items())
        with self._lock:
            if kind == "counter":
                self.counters[series] += value  # type: ignore[assignment]
            else:
                self.gauges[series] = value

    def of(self, metric: Metric, *tags: str) -> float | None:
        """Return the value of a metric, or None if it was not sent."""
        series = metric.name, frozenset(zip(metric.tags, tags, strict=True))
        with self._lock:
            return self.counters.get(series) if metric.kind == "counter" else self.gauges.get(series)


@contextmanager
def statsd() -> Iterator[Received]:
    """Receive packets of StatsD with tags as InfluxDB writes them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        received = Received(
            {
                "AIRFLOW__METRICS__STATSD_ON": "True",
                "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
                "AIRFLOW__METRICS__STATSD_PORT": str(server.getsockname()[1]),
                "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
            }
        )

        def listen() -> None:
            while packet := server.recv(65_535):
                for line in packet.decode().splitlines():
                    head, _, rest = line.rpartition(":")
                    name, *tags = head.split(",")
                    value, kind = rest.split("|")
                    named = dict(tag.split("=") for tag in tags)
                    received.take({"c": "counter", "g": "gauge"}.get(kind, kind), name, named, float(value))

        thread = threading.Thread(target=listen)
        thread.start()
        yield received
        server.sendto(b"", server.getsockname())  # an empty packet ends the thread
        thread.join()


@contextmanager
def otlp() -> Iterator[Received]:
    """Receive OTLP as protobuf over HTTP. Counters must come as differences."""
    received = Received(
        {"AIRFLOW__METRICS__OTEL_ON": "True", "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}
    )

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                named = {one.key: one.value.string_value for one in resource.resource.attributes}
                received.processes.append(named)
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        _take(received, metric)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield received
        server.shutdown()
        thread.join()


def _take(received: Received, metric: Any) -> None:
    kind = {"sum": "counter"}.get(metric.WhichOneof("data"), metric.WhichOneof("data"))
    if kind not in ("counter", "gauge"):
        return
    if kind == "counter":
        assert metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_DELTA
    for point in (metric.sum if kind == "counter" else metric.gauge).data_points:
        tags = {attribute.key: attribute.value.string_value for attribute in point.attributes}
        received.take(kind, metric.name, tags, getattr(point, point.WhichOneof("value")))
