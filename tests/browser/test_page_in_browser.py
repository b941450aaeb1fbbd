import hashlib
import json
import shutil
from pathlib import Path
from urllib.parse import urlparse

import pytest

HOSTILE = 'evil</script><script>alert("x")</script>'


def picture(page, selector):
    """What a canvas shows, as a digest."""
    shown = page.eval_on_selector(selector, "canvas => canvas.toDataURL()")
    return hashlib.sha256(shown.encode()).hexdigest()


def names(page, selector):
    return [text.split("\n")[0] for text in page.locator(selector).all_inner_texts()]


def choose(page, field, value=None, **options):
    before = page.evaluate("drawn")
    page.select_option(field, value, **options)
    page.wait_for_function("before => drawn > before", arg=before)
    page.wait_for_timeout(100)


def test_the_page_opens_from_disk_with_images_of_every_method(address, visit):
    page = visit(address)
    tiles = page.locator("#tiles .tile")
    assert tiles.count() == 3
    assert page.locator("#references .tile").count() == 3  # low, truth, guide
    assert "± 5 ppm" in page.inner_text("#image-facts")
    assert "clipped" in page.inner_text("#image-facts")
    colours = page.evaluate(
        """() => { const c = document.querySelector('#references .tile canvas');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        return new Set(Array.from({length: d.length / 4}, (_, i) => d.slice(4*i, 4*i+3).join())).size }"""
    )
    assert colours > 3


def test_another_mz_shows_another_image(address, visit):
    page = visit(address)
    truth = '[data-name="truth"] canvas'
    labels = [o.inner_text() for o in page.locator("#mz option").all()]
    assert labels == ["m/z 400.2500 ± 5 ppm", "m/z 500.5000 ± 5 ppm", "m/z 700.1250 ± 5 ppm"]
    choose(page, "#mz", "0")
    first = picture(page, truth)
    choose(page, "#mz", "2")
    assert picture(page, truth) != first
    assert "m/z 700.1250 ± 5 ppm" in page.inner_text("#image-facts")
    page.click("#mz-next")
    page.wait_for_function("state.channel === 0 && document.body.dataset.ready.endsWith('-0')")
    assert picture(page, truth) == first


def test_section_colours_and_methods_can_be_chosen(address, visit):
    page = visit(address)
    before = picture(page, '[data-name="truth"] canvas')
    choose(page, "#colours", "inferno")
    assert picture(page, '[data-name="truth"] canvas') != before
    choose(page, "#section", "1")
    assert "toy / s2" in page.inner_text("#image-facts")
    page.click(".methods summary")
    page.locator("#shown input").first.uncheck()
    assert page.locator("#tiles .tile").count() == 2


def test_the_slider_divides_two_images(address, visit):
    page = visit(address)
    page.select_option("#left", "truth")
    middle = picture(page, "#slider")
    page.eval_on_selector(
        "#divider", "e => { e.value = 80; e.dispatchEvent(new Event('input', {bubbles: true})) }"
    )
    assert picture(page, "#slider") != middle
    page.eval_on_selector(
        "#divider", "e => { e.value = 100; e.dispatchEvent(new Event('input', {bubbles: true})) }"
    )
    left = picture(page, "#slider")
    page.select_option("#right", "low")
    assert picture(page, "#slider") == left  # wholly covered by the left one
    page.focus("#slider")
    page.keyboard.press("Home")
    assert page.input_value("#divider") == "0"
    assert picture(page, "#slider") != left


def test_what_was_not_measured_is_hatched_in_every_image(gap_address, address, visit):
    page = visit(gap_address)
    assert page.is_visible("#absent-bar")
    assert "not measured" in page.inner_text("#absent-bar")
    corners = """canvas => { const copy = document.createElement('canvas');
        copy.width = canvas.width; copy.height = canvas.height;
        const context = copy.getContext('2d', { willReadFrequently: true });
        context.drawImage(canvas, 0, 0);
        return [1, canvas.width - 2].map((x) => context.getImageData(x, 1, 1, 1).data[3]) }"""
    tiles = page.locator("#gallery .tile:not(.plain) canvas").all()
    assert len(tiles) >= 5  # low, truth and three methods, with differences and maps of detail
    assert all(tile.evaluate(corners) == [0, 255] for tile in tiles)
    page.select_option("#left", "truth")
    page.eval_on_selector(
        "#divider", "e => { e.value = 60; e.dispatchEvent(new Event('input', {bubbles: true})) }"
    )
    assert page.eval_on_selector("#slider", corners) == [0, 255]
    ground = page.eval_on_selector("#slider", "e => getComputedStyle(e).backgroundImage")
    assert ground.startswith("repeating-linear-gradient")
    whole = visit(address)
    assert not whole.is_visible("#absent-bar")


def test_all_images_zoom_and_move_together(address, visit):
    page = visit(address)
    truth, method = '[data-name="truth"] canvas', '[data-name="method better"] canvas'
    before = [picture(page, truth), picture(page, method), picture(page, "#slider")]
    page.click("#zoom-in")
    after = [picture(page, truth), picture(page, method), picture(page, "#slider")]
    assert all(a != b for a, b in zip(before, after, strict=True))
    page.focus(truth)
    page.keyboard.press("ArrowRight")
    assert picture(page, method) != after[1]
    page.click("#zoom-reset")
    assert picture(page, method) == before[1]
    assert page.inner_text("#zoom-state") == "1×"


def test_worst_and_best_lead_to_the_extremes(address, visit):
    page = visit(address)
    page.select_option("#method", "better")
    protocol = page.evaluate("D.protocols[0]")
    values = protocol["values"][0][protocol["methods"].index("better")]
    for button, extreme in (("#worst", min), ("#best", max)):
        page.click(button)
        image = protocol["images"][values.index(extreme(values))]
        expected = f"{['s1', 's2'].index(image['section'])}-{image['channel']}"
        page.wait_for_function("e => document.body.dataset.ready === e", arg=expected)
        assert f"toy / {image['section']}" in page.inner_text("#image-facts")


def test_a_heading_sorts_and_says_so(address, visit):
    page = visit(address)
    rows = "table.board tbody th"
    assert names(page, rows)[0] == "better"
    heading = page.locator("table.board thead th", has_text="PSNR")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert names(page, rows)[0] == "better"
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert names(page, rows)[0].startswith("evil")
    assert names(page, rows)[-1].startswith("broken")  # nothing to sort by: last, either way


def test_the_filter_leaves_what_matches(address, visit):
    page = visit(address)
    page.fill("#filter", "BETT")
    visible = page.locator("table.board tbody tr:visible")
    assert visible.count() == 1
    assert page.inner_text("#filter-state") == "1 of 4 rows"
    page.fill("#filter", "")
    assert visible.count() == 4


def test_weights_change_the_order_and_can_be_taken_back(address, visit):
    page = visit(address)
    before = page.inner_text("#weighted")
    for slider in page.locator("#weights input").all():
        value = 1 if slider.get_attribute("data-metric") == "ssim" else 0
        slider.evaluate(
            "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})) }", value
        )
    protocol = page.evaluate("D.protocols[0]")
    row = protocol["methods"].index("better")
    expected = sum(protocol["scores"]["ssim"][row]) / len(protocol["images"])
    shown = page.locator('#weighted tr[data-method="better"] td').nth(2).inner_text()
    assert float(shown) == pytest.approx(expected, rel=1e-2)
    assert "100 %" in page.inner_text("#weights")
    page.click("#weights-reset")
    assert page.inner_text("#weighted") == before


def test_another_order_of_weights_gives_another_order_of_methods(address, visit):
    """Where one method leads in one metric and another in the other, the weights decide."""
    page = visit(address)
    order = """(w) => { const p = {methods: ['a', 'b'], images: [0],
        scores: {x: [[1], [0]], y: [[0], [0.6]]}};
        return order(weighted(p, ['x', 'y'], w)) }"""
    assert page.evaluate(order, {"x": 0.5, "y": 0.5}) == [1, 2]
    assert page.evaluate(order, {"x": 0.2, "y": 0.8}) == [2, 1]


def test_metric_and_reference_redraw_the_charts(address, visit):
    page = visit(address)
    assert page.locator("#paired svg").count() == 1
    before = page.inner_html("#paired")
    page.select_option("#reference", "better")
    assert page.inner_html("#paired") != before
    page.select_option("#chart-metric", label="rmse")
    assert "lower is better" in page.inner_text("#box-text")
    assert page.locator("#pareto circle").count() == 3
    page.click("#per-mz summary")
    assert page.locator("#mz-table tbody tr").count() == 6


def test_the_theme_follows_the_system_and_can_be_changed(address, visit):
    ground = "getComputedStyle(document.body).backgroundColor"
    dark, light = visit(address, color_scheme="dark"), visit(address, color_scheme="light")
    assert dark.evaluate(ground) != light.evaluate(ground)
    assert light.inner_text("#theme") == "Dark theme"
    light.click("#theme")
    assert light.evaluate(ground) == dark.evaluate(ground)
    assert light.inner_text("#theme") == "Light theme"


def test_hostile_names_are_shown_as_text(address, visit):
    page = visit(address)
    assert HOSTILE in page.inner_text('[data-name^="method evil"] figcaption')
    assert HOSTILE in page.inner_text("h1")
    assert page.locator("script").count() == 3


def test_downloads_hold_the_numbers(address, visit):
    page = visit(address)
    for button, name, word in (
        ("csv", "leaderboard.csv", "composite"),
        ("rows", "rows.csv", "psnr"),
        ("bib", "citations.bib", "@misc{toy}"),
    ):
        with page.expect_download() as waiting:
            page.click(f'[data-download="{button}"]')
        assert waiting.value.suggested_filename == name
        assert word in Path(waiting.value.path()).read_text("utf-8")
    with page.expect_download() as waiting:
        page.click('[data-download="json"]')
    assert json.loads(Path(waiting.value.path()).read_text("utf-8"))["track"]["name"] == "toy"


def test_a_split_page_loads_its_images_from_beside_it(split_address, visit):
    page = visit(split_address)
    assert page.locator("#tiles .tile").count() == 3
    choose(page, "#mz", "1")
    assert page.locator('script[src="images/0-1.js"]').count() == 1
    assert "500.5000" in page.inner_text("#image-facts")


def test_every_ion_can_be_reached_whether_in_the_page_or_beside_it(mixed_address, visit):
    page = visit(mixed_address)
    for section in ("0", "1"):
        choose(page, "#section", section)
        for ion in ("0", "1", "2"):
            choose(page, "#mz", ion)
            page.wait_for_selector(f'body[data-ready="{section}-{ion}"]')
            assert page.locator("#tiles .tile").count() == 3


def test_text_of_charts_is_readable_however_narrow_the_screen(address, visit):
    page = visit(address)
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(
            "() => [...document.querySelectorAll('.chart svg')].every("
            "s => Math.abs(s.getBoundingClientRect().width - s.viewBox.baseVal.width) < 1)"
        )
        sizes = page.locator(".chart svg text").evaluate_all(
            "texts => texts.map(t => parseFloat(getComputedStyle(t).fontSize))"
        )
        assert sizes
        assert min(sizes) >= 12


def test_a_chart_draws_nothing_outside_its_frame(address, visit):
    page = visit(address)
    outside = page.evaluate("""() => [...document.querySelectorAll('.chart svg')].flatMap(svg =>
        [...svg.querySelectorAll('rect, circle, line, polyline')].filter(mark => {
            const box = mark.getBBox(), all = svg.viewBox.baseVal;
            return box.x < -1 || box.y < -1 || box.x + box.width > all.width + 1 || box.y + box.height > all.height + 1;
        }).map(mark => mark.outerHTML))""")
    assert outside == []


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_no_barrier(address, visit, axe, scheme):
    assert axe(visit(address, color_scheme=scheme)) == []


def test_a_large_board_holds_section_means_and_loads_a_section_when_it_is_asked_for(
    large_address, address, visit
):
    page = visit(large_address)
    assert page.locator("#part-label").is_visible()
    assert "sections (means over their ion images)" in page.inner_text("#box-text")
    page.click("#per-mz summary")
    sections = page.locator("#mz-table tbody tr").count()
    assert "mean of" in page.inner_text("#mz-table")
    asked = page.locator('script[src^="data/"]').count()
    page.select_option("#part", index=sections)  # the last one; the first option is all of them
    page.wait_for_selector('body[data-part]:not([data-part=""])')
    assert page.locator('script[src^="data/"]').count() == asked + 1
    assert "dots: ion images" in page.inner_text("#box-text")
    whole = visit(address)
    whole.click("#per-mz summary")
    rows = whole.locator("#mz-table tbody tr").all_inner_texts()
    part = page.locator("#mz-table tbody tr").all_inner_texts()
    assert len(part) < len(rows)
    assert all(any(row.endswith(found) for row in rows) for found in part)
    page.select_option("#part", "")
    page.wait_for_selector('body[data-part=""]')
    assert page.locator("#mz-table tbody tr").count() == sections


def test_a_large_board_shows_values_below_its_images(large_address, address, visit):
    large, whole = visit(large_address), visit(address)
    assert large.inner_text("#tiles") == whole.inner_text("#tiles")


def test_cells_of_a_large_board_come_when_their_table_is_opened(large_address, address, visit):
    large, whole = visit(large_address), visit(address)
    assert large.locator("#cells tbody tr").count() == 0
    for page in (large, whole):
        page.locator("details:has(#cells) > summary").click()
    large.wait_for_selector("body[data-cells]")
    texts = [page.locator("#cells tbody tr").all_inner_texts() for page in (large, whole)]
    assert [" ".join(text.split()) for text in texts[0]] == [
        " ".join(text.split()) for text in texts[1]
    ]


def test_a_missing_data_folder_is_told(large_address, browser, tmp_path):
    copy = tmp_path / "index.html"
    shutil.copyfile(urlparse(large_address).path, copy)
    page = browser.new_page()
    page.goto(copy.as_uri())
    page.wait_for_selector("body[data-ready]")
    page.select_option("#part", index=1)
    page.wait_for_selector("#part-state:not([hidden])")
    assert "could not be loaded" in page.inner_text("#part-state")
    assert page.locator("#mz-table tbody tr").count() > 0
    page.close()
