"""Downloads over a real connection to a server on this machine that misbehaves on request."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from msibench.cli.main import main
from msibench.contracts.dataset import DatasetSpec
from msibench.errors import ConfigurationError, MissingDataError
from msibench.io.metaspace import dataset_files, is_metaspace_id

CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT).hexdigest()
CARD = """
schema_version = 1
name = "remote"
title = "remote"
licence = "CC0"
citation = "nobody"
[sections]
test = ["a"]
[[files]]
name = "a.npz"
role = "section"
url = "{url}"
sha256 = "{sha256}"
size = {size}
"""


class Server(BaseHTTPRequestHandler):
    """Serves `CONTENT`: whole, in ranges, cut short once, wrong, or by a redirect."""

    cut_once = True

    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/whole")
            self.end_headers()
            return
        if self.path == "/gone":
            self.send_error(404)
            return
        body = CONTENT if self.path != "/wrong" else CONTENT[::-1]
        start = 0
        if given := self.headers.get("Range"):
            start = int(given.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        part = body[start:]
        if self.path == "/cut" and Server.cut_once:
            Server.cut_once = False
            part = part[: len(part) // 3]
        self.wfile.write(part)

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    Server.cut_once = True
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def fetch_card(address, tmp_path, monkeypatch, capsys):
    """Return a function that fetches a card whose one file lies at a path of the server."""
    monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MSIBENCH_MIRROR", str(tmp_path / "no-mirror"))

    def call(path, *options):
        file = tmp_path / "card.toml"
        file.write_text(CARD.format(url=address + path, sha256=DIGEST, size=len(CONTENT)))
        spec = DatasetSpec(name="remote", card=file)
        monkeypatch.setattr("msibench.plugin_manager.Catalogue.dataset", lambda *_: spec)
        with pytest.raises(SystemExit) as ended:
            main(["fetch", "phantom", *(options or ("--allow-local",))])
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    call.file = tmp_path / "cache" / "datasets" / "remote" / "a.npz"
    return call


@pytest.mark.parametrize("path", ["/whole", "/cut", "/moved"])
def test_a_file_comes_whole_however_the_connection_behaves(fetch_card, path):
    status, out, err = fetch_card(path)
    assert status == 0, err
    assert "fetched   a.npz" in out
    assert "CC0" in err
    assert fetch_card.file.read_bytes() == CONTENT
    status, out, _ = fetch_card(path)
    assert (status, out.split()[0]) == (0, "here")


def test_a_card_may_not_name_this_machine_unless_the_user_says_so(fetch_card):
    status, _, err = fetch_card("/whole", "--section", "a")
    assert status == 3
    assert "--allow-local" in err
    assert not fetch_card.file.exists()


def test_wrong_bytes_are_refused_and_not_kept(fetch_card):
    status, _, err = fetch_card("/wrong")
    assert status == 3
    assert "is not the file on record" in err
    assert not fetch_card.file.exists()


def test_an_address_that_is_gone_is_told(fetch_card):
    status, _, err = fetch_card("/gone")
    assert status == 3
    assert "404" in err


class Client:
    """Stands for METASPACE's own client, which needs the network."""

    def __init__(self, links):
        self.links = links

    def dataset(self, id):  # noqa: A002 - the client's own word
        if id != "2016-09-22_11h16m17s":
            raise LookupError("no such data set")
        return self

    def download_links(self):
        return self.links


def test_a_metaspace_id_is_told_from_a_data_sets_name():
    assert is_metaspace_id("2016-09-22_11h16m17s")
    assert is_metaspace_id("metaspace:2016-09-22_11h16m17s")
    assert not is_metaspace_id("bladder")


def test_a_metaspace_data_set_is_fetched(address, tmp_path, monkeypatch, capsys):
    links = {
        "files": [
            {"filename": "../../section.imzML", "link": f"{address}/whole"},
            {"filename": "section.ibd", "link": f"{address}/cut"},
        ],
        "license": {"code": "CC-BY-4.0", "name": "Creative Commons Attribution"},
        "contributors": [{"name": "A. Chemist"}],
    }
    found = dataset_files("2016-09-22_11h16m17s", Client(links))
    monkeypatch.setattr("msibench.io.metaspace.dataset_files", lambda name: found)
    with pytest.raises(SystemExit) as ended:
        main(["fetch", "metaspace:2016-09-22_11h16m17s", "-o", str(tmp_path / "out")])
    assert ended.value.code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"section.imzML", "section.ibd"}
    assert "A. Chemist" in capsys.readouterr().err


@pytest.mark.parametrize("links", [None, {"files": []}])
def test_a_data_set_that_is_not_released_is_told(links):
    with pytest.raises(MissingDataError, match="has not released"):
        dataset_files("2016-09-22_11h16m17s", Client(links))


def test_an_unknown_id_and_a_missing_client_are_told(monkeypatch):
    with pytest.raises(MissingDataError, match="no such data set"):
        dataset_files("2020-01-01_00h00m00s", Client(None))
    monkeypatch.setitem(__import__("sys").modules, "metaspace", None)
    with pytest.raises(ConfigurationError, match=r"msibench\[metaspace\]"):
        dataset_files("2016-09-22_11h16m17s")
