"""Names, reasons and log text of strangers stay text: in HTML, SVG, Markdown, CSV and on a terminal."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from msibench.contracts.plain_text import in_markdown, visible, without_advice
from msibench.leaderboard.page_json import embedded_json
from msibench.leaderboard.safe_csv import safe_csv

HOSTILE = [
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", "<!--<script>",
    "<img src=x onerror=alert(1)>", '" onmouseover="alert(1)', "' onfocus='alert(1)", "&lt;b&gt;",
    "]]><x>", "{{ 7*7 }}", "${7*7}", "javascript:alert(1)", "[x](javascript:alert(1))",
    "![x](http://127.0.0.1/x.png)", "a|b|c", "`code`", "a\n# heading", "a\r\n\r\n<b>",
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x1b]8;;http://x\x07link\x1b]8;;\x07", "\x9b31m",
    "a\x08\x08b", "\u202egnp.exe", "a\u200bb", "\u2028", "\ud800", "=1+1", "+1", "-1", "@SUM(A1)",
    "\t=1", "\r=1", "=cmd|' /C calc'!A0", "$\\undefined{x}$", "$x_{", "%s%n", "\0",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_moves_a_terminal_is_printed(text):
    shown = visible(text)
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown
    )
    shown.encode("utf-8")
    assert visible(shown) == shown


@pytest.mark.parametrize("text", HOSTILE)
def test_text_in_a_markdown_table_is_one_cell_without_markup(text):
    cell = in_markdown(text)
    assert "\n" not in cell
    assert "\r" not in cell
    assert "<" not in cell
    assert "`" not in cell
    assert not re.search(r"(?<!\\)[|\[]", cell)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_of_a_csv_file_is_a_formula(text):
    table = pd.DataFrame({"method": pd.Series([text], dtype=object), "value": [-1.5]})
    out = (
        safe_csv(table).to_csv(index=False, lineterminator="\n").encode("utf-8", "replace").decode()
    )
    row = next(iter(csv.DictReader(io.StringIO(out, newline=""))))
    assert row["method"][:1] not in {"=", "+", "-", "@", "\t", "\r"}
    assert float(row["value"]) == -1.5


@pytest.mark.parametrize("text", HOSTILE)
def test_embedded_json_cannot_end_its_element(text):
    raw = embedded_json({text: [text]})
    assert "<" not in raw
    assert "\u2028" not in raw
    if text != "\ud800":
        assert json.loads(raw) == {text: [text]}


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_a_page_made_of_hostile_texts_has_the_tags_of_a_harmless_one():
    """Every text of the template is set to a hostile one; the structure must not change."""
    from msibench.leaderboard.page import _template
    from msibench.leaderboard.page_table import Column, TableCell, TableView
    from msibench.tracks import ProblemSet, Track

    def tags(text):
        cell = TableCell(text, text, text, head=True)
        view = TableView(text, text, [Column(text, False, text)], [[cell]], [[cell]], [text], text)
        track = Track(
            name=text,
            title=text,
            description=text,
            problems=(ProblemSet(dataset="d", protocols=("p",)),),
        )
        content = {
            "split": False,
            "scheme": {"name": text, "title": text, "control": text},
            "trust": {"absent": [text]},
            "rows": None,
            "problems": [{"damaged": {text: text}, "dataset": text, "section": text}],
            "definitions": {text: {"description": text, "definition": {text: text}}},
            "metrics": {text: dict.fromkeys(("version", "direction", "unit", "title"), text)},
            "methods": {
                text: {
                    **dict.fromkeys(("title", "plugin", "licence"), text),
                    "training_data": [text],
                    "config": {text: text},
                }
            },
            "cells": [
                dict.fromkeys(
                    ("method", "status", "reason", "cell", "truth", "dataset", "origin"), text
                )
            ],
            "citations": [dict.fromkeys(("kind", "name", "text", "bibtex"), text)],
        }
        facts = {
            "datasets": {text: dict.fromkeys(("title", "description", "tissue", "licence"), text)},
            "published": {text: {"source": text, "rows": [[text], [text]]}},
            "notes": [text],
        }
        page = _template().render(
            track=track, content=content, css="", script="", data=embedded_json(content),
            pictures="{}", views=[view], track_facts=facts, damaged={text: text}, shown=0, every=0,
        )  # fmt: skip
        parser = Tags()
        parser.feed(page)
        names = [tag for tag, _ in parser.found]
        listeners = [name for _, found in parser.found for name in found if name.startswith("on")]
        links = [found.get("href", "") for _, found in parser.found if "href" in found]
        return names, listeners, links

    harmless = tags("harmless")
    assert all(link.startswith("#") for link in harmless[2])
    for text in HOSTILE:
        assert tags(text) == harmless, text


@pytest.mark.parametrize("text", ["a\x1b[31mb", "a\nb\nc", "\ud800"])
def test_the_command_line_prints_no_escape_sequence(capsys, tmp_path, text):
    from msibench.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main(["run", f"no-such-track-{text}", "--results", str(tmp_path / "r")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "text",
    [
        "<svg onload=alert(1)>",
        "[more](https://evil.example)",
        *HOSTILE[:1],
        *HOSTILE[3:6],
        *HOSTILE[11:13],
    ],
)
def test_titles_of_strangers_are_text_in_a_readme(text):
    from msibench.leaderboard.board import Board
    from msibench.leaderboard.render import markdown_page
    from msibench.leaderboard.rows import Collected
    from msibench.results.index import TrackIndex
    from msibench.tracks import ProblemSet, Track
    from tests.gate.tables import rows_of

    facts = {
        "datasets": {"small": {"title": text, "description": text, "synthetic": False}},
        "published": {"x": {"source": text, "rows": [["a", "b"], [text, "1"]]}},
    }
    problems = (ProblemSet(dataset="toy", protocols=("area-x4@1",)),)
    track = Track(name="toy", problems=problems, metrics=("psnr", "ssim"), title=text)
    page = markdown_page(Board(Collected(rows_of(sections=1), {}), track, TrackIndex({}, facts)))
    assert not re.search(r"<(?!br|sub|sup)[a-z/!]", page)
    title, card = page.split("\n\n")[0], page.split("\n\n")[1].partition("**")[2].partition("**")[0]
    assert not re.search(r"(?<!\\)\[[^\]]*\]\(", title + card)
    assert not re.search(r"(?<!\\)\[[^\]\\]*\]\((?!https?://)", page)


@pytest.mark.parametrize(
    "text",
    [
        "Object arrays cannot be loaded when allow_pickle=False",
        "Weights only load failed. Re-running `torch.load` with `weights_only` set to `False` will likely "
        "succeed, but it can result in arbitrary code execution. Do it only if you got the file from a "
        "trusted source.",
        "This file contains pickled (object) data. If you trust the source you can use allow_pickle=True.",
    ],
)
def test_no_message_says_how_to_switch_a_check_off(text):
    said = without_advice(text)
    assert said
    assert not re.search("allow_pickle|weights_only|trusted source", said)
    assert without_advice("bad magic number") == "bad magic number"
