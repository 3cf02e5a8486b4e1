"""Only hosts on the public internet are asked, at every hop, by the address that is connected to."""

import gc
import ipaddress
import re
import socket
import ssl
import struct
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug import Response

from catalog.core.errors import BadAddress, Fatal, Retry
from catalog.ingestion import transport
from catalog.ingestion.addresses import is_global
from catalog.ingestion.client import Client
from catalog.ingestion.file_facts import FileFacts
from catalog.ingestion.rate import NoThrottle
from catalog.ingestion.sender import Limits
from catalog.ingestion.sessions import tls_probe
from catalog.tests.ingestion.raw_server import raw_server, request

pytestmark = pytest.mark.enable_socket

GLOBAL = """
    8.8.8.8 93.184.216.34 192.31.196.1 223.255.255.254 2001:4860:4860::8888 2620:4f:8000::1 ::ffff:8.8.8.8
    2002:808:808:: 64:ff9b::808:808 2001:0:808:808::f7f7:f7f7
"""
NOT_GLOBAL = """
    0.0.0.0 127.0.0.1 127.255.255.255 10.1.1.1 172.16.0.1 172.31.255.255 192.168.0.1 169.254.169.254
    100.64.0.1 100.100.100.200 192.0.0.8 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 192.88.99.1
    224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 fe80::1 fe80::1%eth0 fec0::1 fc00::1
    fd00:ec2::254 ff02::1 2001:db8::1 3fff::1 100::1 5f00::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1
    ::ffff:0:127.0.0.1 2002:7f00:1:: 2002:a9fe:a9fe:: 64:ff9b::7f00:1 64:ff9b:1::1
    2001:0:808:808::80ff:fffe 2001:0:7f00:1::f7f7:f7f7
"""


@pytest.mark.parametrize("address", GLOBAL.split())
def test_addresses_of_the_public_internet(address):
    assert is_global(address)
    assert is_global(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", NOT_GLOBAL.split())
def test_addresses_that_are_not(address):
    assert not is_global(address)


@given(st.ip_addresses(v=4))
def test_an_address_in_another_form_is_what_it_stands_for(address):
    number = int(address)
    mapped = ipaddress.IPv6Address((0xFFFF << 32) + number)
    six_to_four = ipaddress.IPv6Address((0x2002 << 112) + (number << 80))
    translated = ipaddress.IPv6Address((0x64FF9B << 96) + number)
    teredo = ipaddress.IPv6Address((0x20010000 << 96) + (0x08080808 << 64) + (number ^ 0xFFFFFFFF))
    for other in (mapped, six_to_four, translated, teredo):
        assert is_global(other) == is_global(address)


@given(st.ip_addresses(v=6))
def test_any_address_is_one_or_the_other(address):
    assert is_global(address) in (True, False)


def test_what_is_no_address():
    with pytest.raises(ValueError, match="does not appear to be"):
        is_global("museum.example")


# asked for real


@pytest.fixture(autouse=True)
def _no_proxy_of_the_environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def client(*private, **more):
    return Client(
        throttle=NoThrottle(), sleep=lambda _: None, private_hosts=private, limits=Limits(connect=5), **more
    )


def nobody(server, connection):
    pytest.fail("somebody connected")


FORMS = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "127.1",
    "0.0.0.0",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::1]",
    "user:word@127.0.0.1",
    "example.org@127.0.0.1",
]


@pytest.mark.parametrize("host", FORMS)
def test_a_private_address_in_any_form_is_refused_before_a_connection(host):
    with raw_server(nobody) as server:
        url = server.url(host=host)
        with pytest.raises(BadAddress, match=r"is not on the public internet|no host|could not"):
            client().get(url)
        with pytest.raises(BadAddress):
            client().get(url.replace("http:", "https:"))
        assert client().file_facts(url) == FileFacts(deleted=False, size=None)
        assert server.connections == 0


def test_the_error_names_host_and_address():
    with pytest.raises(
        BadAddress, match=r"GET http://localhost:9/x: localhost is at \S+, which is not on the pub"
    ):
        client().get("http://localhost:9/x")


@pytest.mark.parametrize("method", ["get", "head"])
def test_a_redirect_to_a_private_address(httpserver, method):
    away = f"http://127.0.0.1:{httpserver.port}/metadata"
    httpserver.expect_request("/moved").respond_with_response(
        Response(status=302, headers={"Location": away})
    )
    asking = client("localhost")
    with pytest.raises(BadAddress, match=r"127\.0\.0\.1 is not on the public internet"):
        getattr(asking, method)(httpserver.url_for("/moved"))
    assert asking.requests == 1  # such an error is not tried again
    assert [r.path for r, _ in httpserver.log] == ["/moved"]


def resolving(monkeypatch, **hosts):
    """Names at made-up addresses; returns the names that were asked for."""
    asked, real = [], socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        if host not in hosts:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        answers = hosts[host]
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        kind = {4: socket.AF_INET, 6: socket.AF_INET6}
        versions = [(ipaddress.ip_address(a).version, a) for a in answers]
        return [
            (kind[v], socket.SOCK_STREAM, 6, "", (a, port, *([0, 0] if v == 6 else []))) for v, a in versions
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_one_private_address_among_public_ones_is_enough(monkeypatch):
    resolving(monkeypatch, museum=["8.8.8.8", "10.0.0.1"])
    with pytest.raises(BadAddress, match=r"museum is at 10\.0\.0\.1"):
        client().get("http://museum/")


def test_what_is_connected_to_is_what_was_looked_at(monkeypatch):
    """A name that resolves to something else the second time is not resolved a second time."""
    asked, connected = resolving(monkeypatch, museum=["8.8.8.8", "2001:4860:4860::8888"]), []

    def create_connection(address, *args, **kwargs):
        connected.append(address)
        raise ConnectionRefusedError("nobody there")

    monkeypatch.setattr("urllib3.util.connection.create_connection", create_connection)
    with pytest.raises(Retry, match="nobody there"):
        client(retries=0).get("http://museum/")
    assert asked == ["museum"]
    assert connected == [
        ("8.8.8.8", 80),
        ("2001:4860:4860::8888", 80),
    ]  # the second when the first does not answer


def test_a_name_that_is_not_known_may_be_tomorrow(monkeypatch):
    resolving(monkeypatch, museum=[])
    with pytest.raises(Retry, match="museum"):
        client().get("http://museum/")


def allow(monkeypatch, *addresses):
    """Take these addresses for public ones, so that a test's server can be one."""
    monkeypatch.setattr(transport, "is_global", lambda address: address in addresses or is_global(address))


def test_the_server_still_learns_the_name(monkeypatch, httpserver):
    resolving(monkeypatch, museum=["127.0.0.1"])
    allow(monkeypatch, "127.0.0.1")
    httpserver.expect_request("/").respond_with_data("here")
    client().get(f"http://museum:{httpserver.port}/")
    assert httpserver.log[0][0].headers["Host"] == f"museum:{httpserver.port}"


def certificate(folder, name, ends=timedelta(days=1)):
    """A self-signed certificate of a name, which ends in this time, as a file with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


@contextmanager
def tls_server(path, names):
    """A server with this certificate; `names` gets those that it is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.sni_callback = lambda _, name, __: names.append(name)

    def serve(server, connection):
        with context.wrap_socket(connection, server_side=True) as secure:
            request(secure)
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")

    with raw_server(serve) as server:
        yield server


def test_certificates_are_those_of_the_name(monkeypatch, tmp_path):
    resolving(monkeypatch, museum=["127.0.0.1"], other=["127.0.0.1"])
    allow(monkeypatch, "127.0.0.1")
    path = certificate(tmp_path, "museum")
    names: list[str] = []
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with tls_server(path, names) as server:
        assert client().get_json(server.url(host="museum", scheme="https")) == []
        with pytest.raises(Retry, match=r"doesn't match|mismatch"):
            client(retries=0).get_json(server.url(host="other", scheme="https"))
    assert names == ["museum", "other"]


# proxies


@contextmanager
def proxy(monkeypatch):
    """A proxy at a private address, as the environment names it; and the heads of what it is asked."""
    seen, lock = [], threading.Lock()

    def serve(server, connection):
        head = request(connection)
        with lock:
            seen.append(head.partition(b"\r\n")[0].decode())
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with raw_server(serve) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url(""))
        monkeypatch.setenv("HTTPS_PROXY", server.url(""))
        yield seen


def test_the_operator_s_proxy_may_be_private(monkeypatch):
    with proxy(monkeypatch) as seen:
        assert client().get_json("http://8.8.8.8/x") == []
    assert seen == ["GET http://8.8.8.8/x HTTP/1.1"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "https://10.0.0.1/x", "http://0x7f.1/x", "http://[::1]/x"]
)
def test_a_proxy_is_not_asked_for_private_addresses(monkeypatch, url):
    with proxy(monkeypatch) as seen, pytest.raises(BadAddress, match="is not on the public internet"):
        client().get(url)
    assert not seen


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_without_an_address_is_named_and_its_password_is_not(monkeypatch, scheme):
    monkeypatch.setenv(f"{scheme}_proxy", "http://user:s3cret/pa@ss@host:9")
    with pytest.raises(Fatal, match=f"the proxy for {scheme} requests.*{scheme}_proxy") as raised:
        client(retries=0).get(f"{scheme}://8.8.8.8/x")
    assert "s3cret" not in str(raised.value)
    assert "pa@ss" not in str(raised.value)


def test_a_proxy_may_know_names_that_we_do_not(monkeypatch):
    resolving(monkeypatch, museum=[])
    with proxy(monkeypatch) as seen:
        assert client().get_json("http://museum/x") == []
    assert seen == ["GET http://museum/x HTTP/1.1"]


def test_private_hosts_behind_a_proxy(monkeypatch):
    with proxy(monkeypatch) as seen:
        assert client("127.0.0.1").get_json("http://127.0.0.1/x") == []
    assert len(seen) == 1


# addresses that make the libraries raise

MALFORMED = [
    f"http://{'a' * 70}.org/x",
    f"https://{'a' * 64}/x",
    "http://a..org/x",
    "http://.org/x",
    "http://[::1/x",
    "http://[zz]/x",
    "http://exa mple.org/x",
    "http://example.org:port/x",
    "http://example.org:99999/x",
    "http://",
    "http:///x",
    "ftp://example.org/x",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "no address at all",
    "",
    "http://\udcff/x",
    "http://\u2488.org/x",
    "http://exa%00mple.net/x",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_an_address_that_is_none(monkeypatch, url):
    """It never is an error of the libraries, and never is tried again."""
    resolving(monkeypatch, **{"example.org": []})
    asking = client()
    with pytest.raises((BadAddress, Retry)) as raised:
        asking.get(url)
    assert isinstance(raised.value, BadAddress) or "example.org" in url
    assert client().file_facts(url) == FileFacts()
    assert tls_probe()(url) is None


def redirecting(target):
    """A server that redirects every request to `target`, bytes."""

    def serve(server, connection):
        request(connection)
        head = b"HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: "
        connection.sendall(head + target.replace(b"\n", b"").replace(b"\r", b"") + b"\r\n\r\n")

    return raw_server(serve)


@pytest.mark.parametrize("location", [url for url in MALFORMED if re.match(r"\w+://[^/]", url)])
def test_a_redirect_to_an_address_that_is_none(location):
    with redirecting(location.encode("utf-8", "surrogateescape")) as server:
        asking = client("127.0.0.1")
        with pytest.raises(BadAddress):
            asking.get(server.url())
        assert asking.requests == 1
        assert asking.file_facts(server.url()) == FileFacts()


@given(st.text(max_size=80))
def test_any_text_as_an_address(url):
    """Whatever a provider calls an address: an error of ours, without a connection."""
    with pytest.raises(Fatal):
        client().get(f"http://127.0.0.1/{url}")
    assert client().file_facts(f"//{url}") == FileFacts()


@settings(max_examples=50)
@given(st.binary(max_size=60))
def test_any_bytes_as_the_target_of_a_redirect(target):
    with redirecting(b"http://127.1/" + target) as server, pytest.raises(BadAddress):
        client("127.0.0.1").get(server.url())
    with redirecting(target) as server, pytest.raises((Fatal, Retry)):
        client("127.0.0.1", retries=0).get(server.url())


# the probe


def test_the_probe_does_not_ask_private_hosts():
    with raw_server(nobody) as server:
        assert tls_probe()(f"localhost:{server.port}") is None
        assert tls_probe()("127.0.0.1") is None
        assert server.connections == 0


def test_the_probe_asks_hosts_that_may_be_private(monkeypatch, tmp_path):
    path = certificate(tmp_path, "localhost")
    names: list[str] = []
    probe = tls_probe(["localhost"])
    with tls_server(path, names) as server:
        assert probe(f"localhost:{server.port}") is False  # a certificate that nobody vouches for
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
        assert probe(f"localhost:{server.port}") is True
    assert names == ["localhost", "localhost"]


def test_a_host_proves_that_it_has_no_https(monkeypatch, tmp_path):
    resolving(monkeypatch, museum=["127.0.0.1"], other=["127.0.0.1"])
    allow(monkeypatch, "127.0.0.1")
    path = certificate(tmp_path, "museum")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with tls_server(path, []) as server:
        assert tls_probe()(f"museum:{server.port}") is True
        assert tls_probe()(f"other:{server.port}") is False  # the certificate is another host's
    assert tls_probe()(f"museum:{server.port}") is False  # nobody listens

    def plain(server, connection):
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        request(connection)

    with raw_server(plain) as server:
        assert tls_probe()(f"museum:{server.port}") is False


@pytest.mark.timeout(30)
@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")
def test_a_host_that_is_away_proves_nothing(monkeypatch, tmp_path):
    """A slow host, one that drops connections, a name that is not found, and a proxy that refuses."""
    resolving(monkeypatch, museum=["127.0.0.1"], gone=[])
    allow(monkeypatch, "127.0.0.1")

    def drips(server, connection):
        server.drip(connection, [b"\x16\x03\x03\x40\x00", *[b"\x02"] * 10_000], pause=0.01)

    def closes(server, connection):
        connection.recv(1)

    def resets(server, connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    for serve in (drips, closes, resets):
        with raw_server(serve) as server:
            assert tls_probe()(f"museum:{server.port}") is None
    assert tls_probe()("gone") is None
    path = certificate(tmp_path, "museum", ends=timedelta(days=-1))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with tls_server(path, []) as server:
        assert tls_probe()(f"museum:{server.port}") is None
    with proxy(monkeypatch):
        pass
    assert tls_probe()("museum") is None  # the proxy has gone
    gc.collect()  # the library has not closed the sockets of handshakes that failed


@given(st.text(max_size=80))
def test_the_probe_never_raises(name):
    assert tls_probe()(f"127.0.0.1/{name}") is None
    assert tls_probe()(f"{name}\u0000") is None
