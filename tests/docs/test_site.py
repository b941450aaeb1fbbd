"""The docs site: built strictly, formulas and pictures readable for everybody, nothing loaded from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_figure_has_words(page):
    text = page.read_text(encoding="utf-8")
    for words, file in re.findall(r"!\[(.*?)\]\((.*?)\)", text):
        assert len(words.split()) > 3, f"{file} has no alternative text"
    assert not re.findall(r"<img (?![^>]*alt=\")", text)


class Loaded(HTMLParser):
    """What a page loads, pictures without words, and formulas."""

    def __init__(self, page):
        super().__init__()
        self.addresses, self.wordless, self.formulas = [], [], []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag in {"script", "img", "iframe", "source"}:
            self.addresses.append(found.get("src") or "")
        if tag == "link" and found.get("rel") not in {"canonical", "prev", "next"}:
            self.addresses.append(found.get("href") or "")
        if tag == "img" and not found.get("alt"):
            self.wordless.append(found.get("src"))
        if tag == "math":
            self.formulas.append(found)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for package in ("material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(package, reason="needs: pip install -e '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def test_nothing_is_loaded_from_elsewhere_and_every_picture_has_words(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        seen = Loaded(page)
        assert [one for one in seen.addresses if one.startswith(("http", "//"))] == [], page
        assert seen.wordless == [], page


def test_formulas_are_drawn_by_the_browser_itself(site):
    formulas = Loaded(site / "confidence" / "index.html").formulas
    assert len(formulas) == 2
    assert all(one["display"] == "block" and one["aria-label"] for one in formulas)
    for page in site.rglob("*.html"):
        assert "language-math" not in page.read_text(encoding="utf-8"), page
