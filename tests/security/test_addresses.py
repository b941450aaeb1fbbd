"""A card cannot make this machine look into itself or into its own network."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from msibench.downloads import DownloadError, Patience, download, public_addresses
from msibench.errors import ConfigurationError


class Redirects(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(302 if self.server.target else 200)
        if self.server.target:
            self.send_header("Location", self.server.target)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"secret")

    def log_message(self, *args):
        pass


@pytest.fixture
def service():
    """A service of this machine that a stranger would like to reach."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Redirects)
    server.asked, server.target = [], ""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


LOCAL = [
    "http://127.0.0.1:{port}/x", "http://localhost:{port}/x", "http://127.1:{port}/x",
    "http://2130706433:{port}/x", "http://0x7f000001:{port}/x", "http://0177.0.0.1:{port}/x",
    "http://0.0.0.0:{port}/x", "http://[::1]:{port}/x", "http://[::ffff:127.0.0.1]:{port}/x",
    "http://[::]:{port}/x", "http://169.254.169.254/latest/meta-data", "http://10.0.0.1/x",
    "http://192.168.1.1/x", "http://172.16.0.1/x", "http://100.64.0.1/x", "http://[fe80::1]/x",
    "http://[fd00::1]/x", "http://[64:ff9b::7f00:1]/x", "http://224.0.0.1/x",
    "https://127.0.0.1:{port}/x",
]  # fmt: skip


@pytest.mark.parametrize("url", LOCAL)
def test_local_addresses_are_refused_however_they_are_written(service, tmp_path, url):
    with pytest.raises(DownloadError, match="inside the local network"):
        download(
            url.format(port=service.server_port),
            tmp_path / "x",
            public=True,
            patience=Patience(attempts=1),
        )
    assert service.asked == []
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "data:,x", "/etc/passwd",
     "FILE:///etc/passwd", "http://[::1", "http://a b/x", "http://a/\r\nHost: b", "http://a:99999999/x",
     "jar:http://a!/", "", "http://user:word@127.0.0.1/x"],
)  # fmt: skip
def test_other_kinds_of_address_are_refused(tmp_path, url):
    with pytest.raises(DownloadError):
        download(url, tmp_path / "x", public=True, patience=Patience(attempts=1))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "::1", "169.254.169.254"])
def test_a_public_name_that_leads_here_is_refused(monkeypatch, tmp_path, address):
    def lookup(host, port, *rest, **more):
        assert host == "files.example.org"
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        public = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", port))
        return [public, (family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(public_addresses.socket, "getaddrinfo", lookup)
    with pytest.raises(DownloadError, match="inside the local network"):
        download(
            "http://files.example.org/x", tmp_path / "x", public=True, patience=Patience(attempts=1)
        )


def test_the_address_that_was_judged_is_the_one_that_is_connected_to(monkeypatch, tmp_path):
    """A name that means something else at the second look (DNS rebinding) is not looked up twice."""
    looks, connected = [], []

    def lookup(host, port, *rest, **more):
        looks.append(host)
        place = "93.184.215.14" if len(looks) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port))]

    def connect(address, *rest):
        connected.append(address)
        raise OSError("not reachable")

    monkeypatch.setattr(public_addresses.socket, "getaddrinfo", lookup)
    monkeypatch.setattr(public_addresses.socket, "create_connection", connect)
    with pytest.raises(DownloadError):
        download(
            "http://files.example.org/x", tmp_path / "x", public=True, patience=Patience(attempts=1)
        )
    assert connected == [("93.184.215.14", 80)]


@pytest.mark.parametrize(
    "target", ["http://10.0.0.1/x", "http://2130706434/x", "file:///etc/passwd"]
)
def test_redirects_are_judged_like_addresses(service, tmp_path, target):
    service.target = target
    url = f"http://127.0.0.1:{service.server_port}/x"
    with pytest.raises(DownloadError):
        download(url, tmp_path / "x", patience=Patience(attempts=1))
    assert not (tmp_path / "x").exists()


def test_the_user_may_say_so(service, tmp_path):
    url = f"http://localhost:{service.server_port}/x"
    download(url, tmp_path / "x", public=True, allow_local=True)
    assert (tmp_path / "x").read_bytes() == b"secret"


def test_a_server_that_sends_more_than_it_should_is_cut_off(service, tmp_path):
    from msibench.errors import IntegrityError

    url = f"http://127.0.0.1:{service.server_port}/x"
    with pytest.raises(IntegrityError, match="not the file on record"):
        download(url, tmp_path / "x", size=3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../elsewhere"}, {"name": "/etc"}, {"name": "a/b"}, {"name": "a\0b"}, {"name": ""},
        {"name": ".."}, {"name": "C:\\x"},
        {"files": [{"name": "../x", "role": "section"}]},
        {"files": [{"name": "/etc/passwd", "role": "section"}]},
        {"files": [{"name": "a\0b", "role": "section"}]},
        {"files": [{"name": "..\\x", "role": "section"}]},
        {"files": [{"name": "", "role": "section"}]},
        {"published": "../secret.csv"}, {"published": "/etc/passwd"},
    ],
)  # fmt: skip
def test_a_card_cannot_name_places_outside_its_folder(tmp_path, change):
    from msibench.datasets import card_from_table

    table = {"schema_version": 1, "name": "a", "title": "t", "sections": {"test": ["s"]}}
    card_from_table(table, folder=tmp_path)
    with pytest.raises(ConfigurationError):
        card_from_table(table | change, folder=tmp_path)


def test_a_published_table_may_not_be_a_link_to_elsewhere(tmp_path):
    from msibench.datasets import card_from_table

    (tmp_path / "secret.csv").write_text("a")
    folder = tmp_path / "card"
    folder.mkdir()
    (folder / "p.csv").symlink_to(tmp_path / "secret.csv")
    table = {"schema_version": 1, "name": "a", "title": "t", "published": "p.csv"}
    with pytest.raises(ConfigurationError, match="link"):
        card_from_table(table, folder=folder)
