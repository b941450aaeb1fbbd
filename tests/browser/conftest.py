"""Headless Chromium on a small page; everything skips, with a reason, where it is not installed."""

import importlib.util
import os
import shutil
from pathlib import Path
from typing import ClassVar

import pytest

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = os.environ.get("MSIBENCH_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if not found:
        pytest.skip("no Chromium: install it, or name it in MSIBENCH_CHROMIUM")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def make_toy():
    """Return what makes the store that the tests of pages use."""
    place = Path(__file__).parents[1] / "leaderboard" / "conftest.py"
    spec = importlib.util.spec_from_file_location("toy_store", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_toy


@pytest.fixture(scope="session")
def toy(make_toy, tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("toy") / "results")


@pytest.fixture(scope="session")
def address(browser, toy, tmp_path_factory):
    from msibench.leaderboard.page import write_page

    return write_page(toy.store, toy.track, tmp_path_factory.mktemp("page")).as_uri()


@pytest.fixture(scope="session")
def gap_address(browser, make_toy, tmp_path_factory):
    """A page of a section whose upper left corner was not measured."""
    from msibench.leaderboard.page import write_page

    toy = make_toy(tmp_path_factory.mktemp("gap") / "results", gap=True)
    return write_page(toy.store, toy.track, tmp_path_factory.mktemp("page")).as_uri()


@pytest.fixture(scope="session")
def split_address(browser, toy, tmp_path_factory):
    from msibench.leaderboard.page import write_page

    return write_page(toy.store, toy.track, tmp_path_factory.mktemp("split"), split=True).as_uri()


@pytest.fixture(scope="session")
def mixed_address(browser, toy, tmp_path_factory):
    """A page of which one ion's images lie in it, and the others beside it."""
    from msibench.leaderboard import page_images
    from msibench.leaderboard.page import write_page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_images, "IMAGE_BUDGET", 1)
        return write_page(toy.store, toy.track, tmp_path_factory.mktemp("mixed")).as_uri()


class Pages:
    """Browser pages that are handed from test to test: to open one takes longer than most tests do."""

    VIEW: ClassVar = {"width": 1280, "height": 900}

    def __init__(self, browser):
        self.context, self.idle, self.troubles = browser.new_context(), [], []

    def _new(self):
        page = self.context.new_page()
        page.on("console", lambda message: self._note(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("dialog", lambda dialog: self._note(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self._asked(request.url))
        return page

    def _note(self, trouble):
        self.troubles.append(trouble)

    def _asked(self, url):
        if not url.startswith(("file:", "data:", "blob:", "about:")):
            self._note(url)

    def open(self, where, color_scheme="light"):
        page = self.idle.pop() if self.idle else self._new()
        page.set_viewport_size(self.VIEW)
        page.emulate_media(color_scheme=color_scheme)
        page.goto(where)
        page.wait_for_selector("body[data-ready]")
        return page

    def give_back(self, page):
        """Leave it as a new one would be: nothing kept, nothing shown."""
        page.evaluate("localStorage.clear()")
        page.goto("about:blank")
        self.idle.append(page)


@pytest.fixture(scope="session")
def pages(browser):
    made = Pages(browser)
    yield made
    made.context.close()


@pytest.fixture
def visit(pages):
    """Open an address; at the end nothing may have been complained about or asked of a network."""
    pages.troubles.clear()
    opened = []

    def open_page(where, **options):
        opened.append(pages.open(where, **options))
        return opened[-1]

    yield open_page
    troubles = list(pages.troubles)
    for page in opened:
        pages.give_back(page)
    assert troubles == []


@pytest.fixture(scope="session")
def large_address(browser, toy, tmp_path_factory):
    """The same board, were it too large for one file."""
    from msibench.leaderboard import page_parts
    from msibench.leaderboard.page import write_page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_parts, "MOST_VALUES", 0)
        return write_page(toy.store, toy.track, tmp_path_factory.mktemp("large")).as_uri()


@pytest.fixture(scope="session")
def axe():
    """Return a function that lists the barriers which axe-core finds in a page, and that it looked."""
    named = os.environ.get("MSIBENCH_AXE")
    package = importlib.util.find_spec("axe_playwright_python")
    found = Path(named) if named else package and Path(package.origin).parent / "axe.min.js"
    if not found or not found.is_file():
        pytest.skip("no axe-core: pip install axe-playwright-python, or name it in MSIBENCH_AXE")

    def barriers(page):
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        page.evaluate(found.read_text("utf-8"))
        told = page.evaluate("axe.run({ preload: false })")
        assert told["passes"]
        return [(each["id"], each["nodes"][0]["html"][:200]) for each in told["violations"]]

    return barriers


@pytest.fixture(scope="session")
def site(browser, tmp_path_factory):
    """The site of a measured and a prepared board."""
    from msibench.site.build import write_site
    from tests.site.conftest import known, write_boards

    place = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSIBENCH_MIRROR", "")
        write_site(place / "public", write_boards(place / "leaderboards"), known())
    return place / "public"
