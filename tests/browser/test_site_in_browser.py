"""The site in headless Chromium, from a disk: search, filters, both themes, a narrow screen, no barrier."""

from itertools import product

import pytest

PAGES = (
    "index.html",
    "boards/index.html",
    "boards/small/index.html",
    "boards/prepared/index.html",
    "methods/index.html",
    "methods/guide-only/index.html",
    "datasets/index.html",
    "datasets/phantom/index.html",
)


CHECKED = {("index.html", "light"), ("boards/small/index.html", "dark")}
"""Both schemes; the other pages at night."""


@pytest.mark.parametrize(
    ("page", "scheme"),
    [
        pytest.param(*each, marks=() if each in CHECKED else pytest.mark.slow)
        for each in product(PAGES, ("light", "dark"))
    ],
)
def test_axe_finds_no_barrier(site, visit, axe, page, scheme):
    assert axe(visit((site / page).as_uri(), color_scheme=scheme)) == []


def test_a_narrow_screen_scrolls_tables_and_not_the_page(site, visit):
    shown = visit((site / PAGES[0]).as_uri())
    shown.set_viewport_size({"width": 400, "height": 800})
    wide = {}
    for page in PAGES:
        shown.goto((site / page).as_uri())
        shown.wait_for_selector("body[data-ready]")
        wide[page] = shown.evaluate("document.documentElement.scrollWidth")
    assert {page: width for page, width in wide.items() if width > 400} == {}


def test_search_finds_methods_data_and_boards_and_leads_there(site, visit):
    page = visit((site / "methods" / "index.html").as_uri())
    page.fill("#search", "phantom synth")
    assert "phantom" in page.locator("#found-list a").all_inner_texts()
    page.fill("#search", "guide-only")
    assert page.locator("#found-list a").first.inner_text() == "guide-only"
    page.press("#search", "Enter")
    page.wait_for_url("**/methods/guide-only/index.html")
    page.fill("#search", "zzz")
    assert page.inner_text("#found-count") == "Nothing is found"
    page.press("#search", "Escape")
    assert page.locator("#found").is_hidden()


def shown_methods(page):
    return page.locator("#overview tbody tr:visible th a").all_inner_texts()


def test_filters_leave_what_fits_and_say_how_much(site, visit):
    page = visit((site / "index.html").as_uri())
    every = shown_methods(page)
    assert set(every) == {"bicubic", "nearest", "guide-only", "gone"}
    page.select_option('[data-filter="task"]', "guided")
    assert shown_methods(page) == ["guide-only"]
    assert page.inner_text("#overview-state") == "1 method on 1 board"
    page.click("#filters-reset")
    assert shown_methods(page) == every
    page.fill("#method-filter", "bicu")
    assert shown_methods(page) == ["bicubic"]
    page.fill("#method-filter", "")
    page.select_option('[data-filter="guide"]', "no")
    assert page.locator("#overview thead th[data-board]:visible").count() in {0, 1}


def test_a_heading_sorts_by_score(site, visit):
    page = visit((site / "index.html").as_uri())
    page.click("#overview thead th[data-board] button")
    values = page.locator("#overview tbody tr td:nth-child(2)").evaluate_all(
        "cells => cells.map(c => Number(c.dataset.sort))"
    )
    assert values == sorted(values, reverse=True)
    page.click("#overview thead th[data-board] button")
    assert page.get_attribute("#overview thead th[data-board]", "aria-sort") == "ascending"


def test_a_chosen_theme_stays_from_page_to_page(site, visit):
    page = visit((site / "index.html").as_uri(), color_scheme="light")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != before
    for address in ("methods/index.html", "boards/small/index.html"):
        page.goto((site / address).as_uri())
        page.wait_for_selector("body[data-ready]")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_a_board_leads_to_its_methods_and_back(site, visit):
    page = visit((site / "boards" / "small" / "index.html").as_uri())
    page.click('table.board th a:text-is("nearest")')
    page.wait_for_url("**/methods/nearest/index.html")
    page.click('section a:text-is("small")')
    page.wait_for_url("**/boards/small/index.html")
    page.click('a:text-is("All boards")')
    page.wait_for_url("**/public/index.html")
