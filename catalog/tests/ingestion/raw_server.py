"""Servers that do with a connection what no HTTP server does."""

import socket
import threading
from contextlib import contextmanager, suppress


class RawServer:
    """Hands each connection to `serve`, in a thread of its own. `connections` counts them."""

    def __init__(self, serve):
        self._serve, self.connections = serve, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.stopped = threading.Event()
        self._open = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._handle, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _handle(self, connection):
        with connection, suppress(OSError):
            self._serve(connection)

    def url(self, path="/api", host="127.0.0.1", scheme="http"):
        return f"{scheme}://{host}:{self.port}{path}"

    def drip(self, connection, chunks, pause=0.02):
        """Send chunks, a little time apart, until the other side has enough."""
        for chunk in chunks:
            connection.sendall(chunk)
            if self.stopped.wait(pause):
                return

    def close(self):
        self.stopped.set()
        for end in (self._listener, *self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def raw_server(serve):
    """A server that calls serve(server, connection) for each connection."""
    server: RawServer = RawServer(lambda connection: serve(server, connection))
    try:
        yield server
    finally:
        server.close()


def request(connection):
    """The head of the next request on a connection; b"" when there is none."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        received = connection.recv(65_536)
        if not received:
            return b""
        data += received
    return data
