"""The static site: every link leads somewhere, every number is the board's, nothing is loaded."""

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from msibench.cli.main import cli
from msibench.errors import ConfigurationError
from msibench.leaderboard.page import page_name
from msibench.leaderboard.perfect import REFERENCE
from msibench.site.build import write_site
from msibench.site.content import gather
from msibench.site.templates import linked, without_markup
from tests.site.conftest import DATASETS, METHODS, write_boards

COMMITTED = Path(__file__).parents[2] / "leaderboards"


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.ids, self.text = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        facts = dict(attributes)
        self.ids.add(facts.get("id"))
        loads = tag in {"img", "link", "script"}
        for name in ("href", "src"):
            if facts.get(name):
                self.found.append((facts[name], loads))

    def handle_data(self, data):
        self.text.append(data)


def pages(folder):
    return sorted(folder.rglob("*.html"))


def test_every_link_leads_to_a_file_and_nothing_is_loaded_from_elsewhere(site):
    assert len(pages(site)) > len(METHODS) + len(DATASETS)
    for page in pages(site):
        for address, loads in Links(page.read_text()).found:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                assert not loads, f"{page}: {address}"
                continue
            if address.startswith("#"):
                continue
            target = (page.parent / unquote(parts.path)).resolve()
            assert target.is_file(), f"{page.relative_to(site)} links to {address}"
            assert target.is_relative_to(site.resolve())


def test_every_method_and_data_set_has_a_page_and_can_be_searched(site, catalogue):
    entries = (site / "assets" / "search.js").read_text()
    found = json.loads(entries.removeprefix("window.msibenchSearch = ").rstrip(";\n"))
    for kind, folder, names in (
        ("method", "methods", {*catalogue.methods, "gone"}),
        ("data set", "datasets", set(catalogue.datasets)),
        ("board", "boards", {"small", "prepared"}),
    ):
        assert {entry["t"] for entry in found if entry["k"] == kind} == names
        for name in names:
            assert (site / folder / page_name(name) / "index.html").is_file()
    assert len({entry["u"] for entry in found}) == len(found), "two pages have one address"
    for entry in found:
        assert (site / entry["u"]).is_file()


def test_the_numbers_are_those_of_the_board(site, boards):
    table = pd.read_csv(boards / "small" / "leaderboard.csv")
    table = table[table["task"] != REFERENCE].set_index("method")
    scores = pd.read_csv(site / "data" / "scores.csv").set_index("method")
    assert set(scores.index) == set(table.index)
    for end in ("", ".low", ".high"):
        name = {"": "value", ".low": "low", ".high": "high"}[end]
        np.testing.assert_allclose(scores[name], table.loc[scores.index, f"composite{end}"])
    shown = " ".join(Links((site / "index.html").read_text()).text)
    assert f"{table.loc['nearest', 'composite']:.3f}" in shown
    lines = json.loads((site / "boards" / "small" / "leaderboard.json").read_text())["lines"]
    assert [line["method"] for line in lines] == list(table.index)
    for name in ("leaderboard.csv", "README.md", "rows.parquet"):
        here, there = (place / "small" / name for place in (site / "boards", boards))
        assert here.read_bytes() == there.read_bytes()


def test_a_prepared_board_is_named_as_such_and_breaks_nothing(site):
    facts = {each["name"]: each for each in json.loads((site / "data" / "boards.json").read_text())}
    assert facts["prepared"]["state"] == "prepared, not measured yet"
    assert "leaderboard.csv" not in facts["prepared"]
    assert "not measured yet" in (site / "boards" / "prepared" / "index.html").read_text()
    assert set(pd.read_csv(site / "data" / "scores.csv")["board"]) == {"small"}


def test_a_method_page_says_paper_code_licence_and_where_it_was_measured(site):
    text = (site / "methods" / "mosr" / "index.html").read_text()
    for word in ("10.1038/s42256-023-00677-7", "github.com/USTC-xlab/MOSR", "Apache-2.0"):
        assert word in text
    assert 'href="https://example.org/blob/main/' not in text, "these boards lie in no repository"
    assert "On no board of this site" in text
    control = (site / "methods" / "guide-only" / "index.html").read_text()
    assert "nobody should use it" in control
    assert "../../boards/small/index.html" in control
    gone = (site / "methods" / "gone" / "index.html").read_text()
    assert "not installed where this site was built" in gone
    assert "self-reported" in gone


def test_the_code_of_a_method_is_linked_where_the_repository_is(catalogue, tmp_path):
    from msibench.site.content import _source  # its place depends on where boards lie

    assert _source("msibench_swinir.method:SwinIR", COMMITTED) == (
        "plugins/swinir/msibench_swinir/method.py"
    )
    assert _source("msibench_swinir.method:SwinIR", tmp_path / "repository" / "leaderboards") == ""


def test_a_data_set_is_drawn_where_it_may_be_and_the_reason_stands_where_not(site):
    assert (site / "datasets" / "phantom" / "picture.png").is_file()
    bladder = (site / "datasets" / "bladder" / "index.html").read_text()
    assert not (site / "datasets" / "bladder" / "picture.png").exists()
    assert "files were not at hand" in bladder
    assert "@article{roempp2010bladder" in bladder
    unstated = (site / "datasets" / "deepfere-fetal-brain" / "index.html").read_text()
    assert "its licence is none stated" in unstated


def test_the_same_boards_give_the_same_bytes(boards, catalogue, site, tmp_path, monkeypatch):
    monkeypatch.setenv("MSIBENCH_MIRROR", "")
    write_site(tmp_path / "again", boards, catalogue, source="https://example.org/blob/main")
    first, second = (
        {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (site, tmp_path / "again")
    )
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_a_folder_with_other_things_is_left_alone(boards, catalogue, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="does not hold a site"):
        write_site(tmp_path, boards, catalogue)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_no_board_at_all_is_said(catalogue, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=r"expected folders with track\.toml"):
        write_site(tmp_path / "out", tmp_path / "empty", catalogue)


def test_hostile_text_of_a_board_stays_text(catalogue, tmp_path):
    boards = write_boards(tmp_path / "leaderboards")
    for name in ("small", "prepared"):
        track = boards / name / "track.toml"
        evil = "<script>alert(1)</script>"
        track.write_text(track.read_text().replace("A small board", evil))
    write_site(tmp_path / "out", boards, catalogue, pictures=False)
    for page in pages(tmp_path / "out"):
        assert "<script>alert(1)" not in page.read_text()


def test_a_method_that_is_worse_than_adding_nothing_is_said_to_have_failed(catalogue, tmp_path):
    (tmp_path / "bladder-x4").symlink_to(COMMITTED / "bladder-x4")  # one of many is enough
    content = gather(tmp_path, catalogue)
    method = next(each for each in content.methods if each.name == "spandrel-realesrgan")
    harmful = {score.board for score in method.scores if score.percent and score.high < 0}
    assert harmful
    assert harmful == {board for board, said in method.failures if "adds nothing" in said}
    ((family, advice),) = content.advice
    assert "(bladder)" in family
    assert "spandrel-realesrgan" in advice
    assert "<code>a</code> &amp; b" in str(without_markup("**`a` & b**"))


def test_measured_sections_come_before_synthetic_ones(catalogue, tmp_path):
    write_boards(tmp_path)
    (tmp_path / "very-last").symlink_to(COMMITTED / "bladder-x4")
    names = [board.track.name for board in gather(tmp_path, catalogue).boards]
    assert names == ["bladder-x4", "prepared", "small"]


def test_addresses_and_dois_of_citations_become_links():
    text = str(linked("Guo <b> 2023, 10.1021/acs.analchem.3c02002; https://example.org/a."))
    assert 'href="https://doi.org/10.1021/acs.analchem.3c02002"' in text
    assert 'href="https://example.org/a"' in text
    assert "&lt;b&gt;" in text


def test_the_command_says_what_is_left_out(boards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSIBENCH_MIRROR", "")
    done = CliRunner().invoke(cli, ["site", "out", "--boards", str(boards), "--no-pictures"])
    assert done.exit_code == 0, done.output
    assert "no docs: there is no mkdocs.yml here" in done.output
    assert (tmp_path / "out" / "index.html").is_file()


def test_the_docs_are_part_of_the_site_and_of_its_search(boards, catalogue, tmp_path, monkeypatch):
    pytest.importorskip("mkdocs", reason="mkdocs builds the docs")
    monkeypatch.setenv("MSIBENCH_MIRROR", "")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Handbook\n\nHow to measure ginkgo leaves.\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: handbook\ntheme: mkdocs\nplugins: [search]\n")
    write_site(tmp_path / "out", boards, catalogue, docs=tmp_path / "mkdocs.yml", pictures=False)
    assert "ginkgo leaves" in (tmp_path / "out" / "docs" / "index.html").read_text()
    assert "ginkgo leaves" in (tmp_path / "out" / "assets" / "search.js").read_text()
    assert 'href="docs/index.html"' in (tmp_path / "out" / "index.html").read_text()
    (tmp_path / "docs" / "index.md").write_text("[nowhere](gone.md)\n")
    with pytest.raises(ConfigurationError, match=r"gone\.md"):
        write_site(
            tmp_path / "out2", boards, catalogue, docs=tmp_path / "mkdocs.yml", pictures=False
        )
