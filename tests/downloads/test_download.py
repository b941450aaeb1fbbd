"""A file server on loopback plays truncation, wrong bytes, redirects and restarts."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from msibench.downloads import DownloadError, Patience, download
from msibench.downloads.part_file import sole_writer
from msibench.errors import IntegrityError

BYTES = np.random.default_rng(0).bytes(700_001)
DIGEST = hashlib.sha256(BYTES).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect.pop())
            self.end_headers()
            return
        if server.errors:
            self.send_error(server.errors.pop())
            return
        body, start = server.body, 0
        asked = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, server.etag)
        if asked and server.ranges and same:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = start + server.cuts.pop() if server.cuts else len(body)
        if server.held is not None and start == 0:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            server.held.wait(60)
            start = len(body) // 2
        self.wfile.write(body[start:stop])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.body, server.etag, server.ranges = BYTES, '"1"', True
    server.held = None
    server.cuts, server.errors, server.redirect, server.asked = [], [], [], []
    server.url = f"http://127.0.0.1:{server.server_port}/net.pth"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(server, tmp_path):
    seen = []

    digest = download(
        server.url, tmp_path / "net.pth", progress=lambda have, total: seen.append((have, total))
    )

    assert digest == DIGEST
    assert (tmp_path / "net.pth").read_bytes() == BYTES
    assert names(tmp_path) == ["net.pth"]
    assert seen[-1] == (len(BYTES), len(BYTES))


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server, tmp_path):
    server.cuts = [5, 300_000]

    download(server.url, tmp_path / "net.pth", sha256=DIGEST, patience=Patience(pause=0))

    assert (tmp_path / "net.pth").read_bytes() == BYTES
    assert [asked for _, asked in server.asked] == [None, "bytes=300000-", "bytes=300005-"]


def test_a_later_command_goes_on_where_an_earlier_one_stopped(server, tmp_path):
    server.cuts = [400_000]
    with pytest.raises(DownloadError, match="same command resumes"):
        download(server.url, tmp_path / "net.pth", patience=Patience(attempts=1))
    assert not (tmp_path / "net.pth").exists()

    download(server.url, tmp_path / "net.pth")

    assert server.asked[-1][1] == "bytes=400000-"
    assert (tmp_path / "net.pth").read_bytes() == BYTES


def test_a_server_without_ranges_sends_everything_again(server, tmp_path):
    server.cuts, server.ranges = [400_000], False

    download(server.url, tmp_path / "net.pth", patience=Patience(pause=0))

    assert (tmp_path / "net.pth").read_bytes() == BYTES


def test_a_file_that_changed_meanwhile_is_not_glued_together(server, tmp_path):
    server.cuts = [400_000]
    with pytest.raises(DownloadError):
        download(server.url, tmp_path / "net.pth", patience=Patience(attempts=1))
    server.body, server.etag = BYTES[::-1], '"2"'

    download(server.url, tmp_path / "net.pth")

    assert (tmp_path / "net.pth").read_bytes() == BYTES[::-1]


def test_a_part_that_does_not_fit_is_fetched_again_when_the_digest_says_so(server, tmp_path):
    server.cuts, server.etag = [400_000], None
    with pytest.raises(DownloadError):
        download(server.url, tmp_path / "net.pth", sha256=DIGEST, patience=Patience(attempts=1))
    part = tmp_path / "net.pth.part"
    part.write_bytes(bytes(part.stat().st_size))

    download(server.url, tmp_path / "net.pth", sha256=DIGEST)

    assert (tmp_path / "net.pth").read_bytes() == BYTES


@pytest.mark.parametrize("facts", [{"sha256": "0" * 64}, {"sha256": "00000000"}, {"size": 17}])
def test_wrong_bytes_are_not_kept(server, tmp_path, facts):
    with pytest.raises(IntegrityError, match="not the file on record"):
        download(server.url, tmp_path / "net.pth", **facts)

    assert names(tmp_path) == []


def test_a_server_error_is_tried_again_and_a_missing_file_is_not(server, tmp_path):
    server.errors = [503]
    download(server.url, tmp_path / "net.pth", patience=Patience(pause=0))
    assert len(server.asked) == 2

    server.errors, server.asked = [404], []
    with pytest.raises(DownloadError, match="404"):
        download(server.url, tmp_path / "net.pth", patience=Patience(pause=0))
    assert len(server.asked) == 1


def test_a_redirect_on_the_same_host_is_followed(server, tmp_path):
    server.redirect = [server.url]

    assert download(server.url, tmp_path / "net.pth") == DIGEST


@pytest.mark.parametrize(
    "target", ["http://10.0.0.1/net.pth", "http://169.254.169.254/latest", "http://[::1]/x"]
)
def test_a_redirect_into_the_local_network_is_refused(server, tmp_path, target):
    server.redirect = [target]

    with pytest.raises(DownloadError, match="inside the local network"):
        download(server.url, tmp_path / "net.pth")


def test_a_redirect_into_the_local_network_is_followed_when_allowed(server, tmp_path):
    server.redirect = [server.url.replace("127.0.0.1", "localhost")]

    assert download(server.url, tmp_path / "net.pth", allow_local=True) == DIGEST


def test_a_redirect_to_a_file_of_this_machine_is_refused(server, tmp_path):
    server.redirect = ["file:///etc/passwd"]

    with pytest.raises(DownloadError):
        download(server.url, tmp_path / "net.pth")


def test_a_file_address_is_copied(tmp_path):
    (tmp_path / "source.pth").write_bytes(BYTES)

    download((tmp_path / "source.pth").as_uri(), tmp_path / "net.pth", sha256=DIGEST)

    assert (tmp_path / "net.pth").read_bytes() == BYTES


@pytest.mark.parametrize("url", ["ftp://example.org/x", "/etc/passwd", "data:,hello"])
def test_other_kinds_of_address_are_refused(tmp_path, url):
    with pytest.raises(DownloadError, match="only http, https and file"):
        download(url, tmp_path / "x")


FETCH = """
import sys
from pathlib import Path
from msibench.downloads import download
print(download(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3]), flush=True)
"""


def fetching(server, target):
    words = [sys.executable, "-c", FETCH, server.url, str(target), DIGEST]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_downloads_of_one_file_at_once_both_end_with_it(server, tmp_path):
    server.held = threading.Event()
    target = tmp_path / "net.pth"
    both = [fetching(server, target) for _ in range(2)]
    while not (tmp_path / "net.pth.part").exists():
        time.sleep(0.01)
    server.held.set()
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [out.strip() for out, _ in said] == [DIGEST] * 2
    assert target.read_bytes() == BYTES
    assert names(tmp_path) == ["net.pth"]


def test_a_download_whose_neighbour_is_killed_goes_on_from_its_part(server, tmp_path):
    server.held = threading.Event()
    target = tmp_path / "net.pth"
    first = fetching(server, target)
    while not (tmp_path / "net.pth.part").exists():
        time.sleep(0.01)
    second = fetching(server, target)
    first.kill()
    first.communicate()
    server.held.set()
    out, errors = second.communicate(timeout=60)
    assert (second.returncode, out.strip()) == (0, DIGEST), errors
    assert target.read_bytes() == BYTES
    assert names(tmp_path) == ["net.pth"]


def test_a_neighbour_that_brings_nothing_is_named(tmp_path):
    part = tmp_path / "net.pth.part"
    with sole_writer(part) as waited:
        assert not waited
        with pytest.raises(DownloadError, match="by another process"), sole_writer(part, 0.2):
            pass
    with sole_writer(part) as waited:
        assert not waited
    assert names(tmp_path) == []
