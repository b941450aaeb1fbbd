import base64
import html.parser
import io
import json
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from msibench.errors import ConfigurationError, StoreError
from msibench.leaderboard import page_images
from msibench.leaderboard.images import png, spread_order
from msibench.leaderboard.page import renew_page, write_page
from msibench.leaderboard.page_json import embedded_json
from msibench.leaderboard.page_origins import loss_curves
from msibench.results.store import Store

HOSTILE = 'evil</script><script>alert("x")</script>'


class Reader(html.parser.HTMLParser):
    """What a browser makes of the file: elements, texts of scripts, addresses."""

    def __init__(self):
        super().__init__()
        self.scripts, self.addresses, self.identifiers, self.inside = [], [], [], False

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.addresses += [v for k, v in attrs if k in {"src", "href", "srcset", "action"}]
        self.identifiers += [attributes["id"]] if "id" in attributes else []
        if tag == "script":
            self.inside = True
            self.scripts.append([attributes.get("id", ""), ""])

    def handle_endtag(self, tag):
        if tag == "script":
            self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1][1] += data


def read(path):
    reader = Reader()
    reader.feed(path.read_text("utf-8"))
    return reader


def data_of(path):
    return json.loads(next(text for name, text in read(path).scripts if name == "data"))


def pictures_of(path):
    return json.loads(next(text for name, text in read(path).scripts if name == "pictures"))


def levels(url):
    raw = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(raw)))


@pytest.fixture(scope="module")
def page(toy, tmp_path_factory):
    return write_page(toy.store, toy.track, tmp_path_factory.mktemp("page"))


def test_the_same_store_gives_the_same_bytes(toy, page, tmp_path):
    again = write_page(toy.store, toy.track, tmp_path / "again")
    assert page.name == "index.html"
    assert again.read_bytes() == page.read_bytes()


def test_nothing_is_loaded_from_elsewhere(page):
    found = read(page)
    assert all(address.startswith("#") for address in found.addresses)
    assert "default-src 'none'" in page.read_text("utf-8")


def test_no_time_of_day_and_no_machine_is_told(toy, page):
    text = page.read_text("utf-8")
    assert "secret-host" not in text
    assert "2026-01-02" not in text
    assert str(toy.store.root) not in text


def test_hostile_text_stays_text(page):
    found = read(page)
    assert [name for name, _ in found.scripts] == ["data", "pictures", ""]
    assert "<script>alert" not in page.read_text("utf-8")
    data = data_of(page)
    assert HOSTILE in data["protocols"][0]["methods"]
    assert any(HOSTILE in cell["reason"] for cell in data["cells"])


@given(st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5))
def test_embedded_json_reads_back_and_cannot_end_its_element(content):
    text = embedded_json(content)
    assert json.loads(text) == content
    assert not set("<>&\u2028\u2029") & set(text)


def test_every_identifier_stands_once(page):
    found = read(page).identifiers
    assert len(found) == len(set(found))


def test_images_hold_the_truth_on_the_scale_that_the_page_states(toy, page):
    data, pictures = data_of(page), pictures_of(page)
    assert sorted(pictures) == [f"{p}-{c}" for p in range(2) for c in range(3)]
    for problem in data["problems"]:
        truth = toy.truth[problem["section"]]
        for channel, facts in enumerate(problem["channels"]):
            grey = levels(pictures[f"{problem['place']}-{channel}"]["truth"])
            expected = np.clip(truth[channel] / np.quantile(truth[channel], 0.999), 0, 1)
            np.testing.assert_allclose(grey / 255, expected, atol=0.5 / 255 + 1e-6)
            assert facts["intensity"] == pytest.approx(
                np.quantile(truth[channel], 0.999) * 100 * (channel + 1), rel=1e-4
            )
            assert facts["label"] == f"m/z {(400.25, 500.5, 700.125)[channel]:.4f} ± 5 ppm"


def test_what_was_not_measured_is_transparent_in_every_picture_and_nothing_else_is(
    gap_toy, tmp_path
):
    page = write_page(gap_toy.store, gap_toy.track, tmp_path / "page")
    assert all(problem["absent"] for problem in data_of(page)["problems"])
    for picture in pictures_of(page).values():
        shown = [picture["truth"], *picture["methods"].values(), *picture["maps"].values()]
        for url, size in [
            (picture["low"], gap_toy.gap // 4),
            *((one, gap_toy.gap) for one in shown),
        ]:
            opacity = levels(url)[..., 1]
            assert (opacity[:size, :size] == 0).all()
            assert (opacity == 0).sum() == size**2


def test_a_dark_pixel_was_measured(page):
    """Zero on the tissue, or in one ion image of several, is a measurement."""
    assert not any(problem["absent"] for problem in data_of(page)["problems"])
    assert levels(next(iter(pictures_of(page).values()))["truth"]).ndim == 2


def test_every_method_that_ended_well_has_images_and_values(page):
    data, pictures = data_of(page), pictures_of(page)
    assert all(set(p["methods"]) == {"bicubic", "better", HOSTILE} for p in pictures.values())
    for picture in pictures.values():  # where detail was improved, omitted, invented
        assert set(picture["maps"]) == set(picture["methods"])
        shown = {method: levels(url) for method, url in picture["maps"].items()}
        assert all(set(np.unique(one)) <= {0, 80, 160, 240} for one in shown.values())
        assert shown["better"].shape == levels(picture["truth"]).shape
    protocol = data["protocols"][0]
    at = protocol["methods"].index("better")
    assert [m["metric"] for m in protocol["measures"]] == ["psnr", "ssim", "rmse"]
    assert np.mean(protocol["composite"][at]) > 0.3
    assert np.allclose(protocol["composite"][protocol["methods"].index("bicubic")], 0)


def test_paired_intervals_surround_the_mean_difference(page):
    protocol = data_of(page)["protocols"][0]
    psnr = np.array(protocol["values"][0])
    for first, second, mean, low, high in protocol["pairs"][1]:
        assert mean == pytest.approx((psnr[first] - psnr[second]).mean(), rel=1e-4)
        assert low <= mean <= high


def test_fewer_images_are_chosen_and_the_page_says_so(toy, tmp_path):
    path = write_page(toy.store, toy.track, tmp_path / "few", max_images=2)
    assert len(pictures_of(path)) == 2
    assert {p["section"] for p in data_of(path)["problems"] if p["shown"]} == {"s1", "s2"}
    assert "2 of 6 ion images are here" in path.read_text("utf-8")
    none = write_page(toy.store, toy.track, tmp_path / "none", max_images=0)
    assert pictures_of(none) == {}
    with pytest.raises(ConfigurationError, match="max_images"):
        write_page(toy.store, toy.track, tmp_path / "bad", max_images=-1)


def test_a_split_page_keeps_its_images_in_files_beside_it(toy, tmp_path):
    path = write_page(toy.store, toy.track, tmp_path / "split", split=True)
    names = sorted(file.name for file in (path.parent / "images").iterdir())
    assert names == [f"{p}-{c}.js" for p in range(2) for c in range(3)]
    assert pictures_of(path) == {}
    text = (path.parent / "images" / "0-0.js").read_text("utf-8")
    assert text.startswith('msibenchImages("0-0",{')
    assert "<" not in text
    write_page(toy.store, toy.track, tmp_path / "split", split=True, max_images=1)
    assert len(list((path.parent / "images").iterdir())) == 1


def test_ions_that_do_not_fit_lie_beside_the_page_so_that_all_can_be_reached(
    own_toy, tmp_path, monkeypatch
):
    folder = tmp_path / "board"
    monkeypatch.setattr(page_images, "IMAGE_BUDGET", 1)
    path = write_page(own_toy.store, own_toy.track, folder)
    assert "All 6 ion images are here. 5 of them lie in the folder" in path.read_text("utf-8")
    inside, beside = set(pictures_of(path)), {file.stem for file in (folder / "images").iterdir()}
    assert len(inside) == 1
    assert inside | beside == {f"{p}-{c}" for p in range(2) for c in range(3)}
    assert not inside & beside
    assert data_of(path)["split"] is True
    before = path.read_bytes()
    path.write_bytes(before + b" ")
    renew_page(own_toy.store, own_toy.track, folder)
    assert path.read_bytes() == before, "it stays a page with images in it and beside it"
    monkeypatch.setattr(page_images, "BESIDE_BUDGET", 0)
    write_page(own_toy.store, own_toy.track, folder)
    assert "1 of 6 ion images are here" in path.read_text("utf-8")
    assert not list((folder / "images").iterdir())


def test_a_changed_prediction_is_not_shown(own_toy, tmp_path):
    data = data_of(write_page(own_toy.store, own_toy.track, tmp_path / "before"))
    key = next(c["cell"] for c in data["cells"] if c["method"] == "better")
    file = own_toy.store.cell_folder(key) / "prediction.h5"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    path = write_page(own_toy.store, own_toy.track, tmp_path / "after")
    problem = next(p for p in data_of(path)["problems"] if p["damaged"])
    assert "changed" in problem["damaged"]["better"]
    name = f"{problem['place']}-0"
    assert "better" not in pictures_of(path)[name]["methods"]
    assert "was changed after it was scored" in path.read_text("utf-8")


def test_a_store_without_predictions_still_gives_tables(own_toy, tmp_path):
    for record in own_toy.store.records():
        (own_toy.store.problem_folder(record.problem_key) / "section.h5").unlink(missing_ok=True)
    path = write_page(own_toy.store, own_toy.track, tmp_path / "bare")
    assert pictures_of(path) == {}
    assert "There are no images here" in path.read_text("utf-8")
    assert data_of(path)["protocols"][0]["methods"]


def test_losses_published_tables_and_citations_are_there(page):
    data = data_of(page)
    assert [c["y"] for c in data["losses"]] == [[3, 2, 1.5]] * 2
    assert data["losses"][0]["x"] == [1, 10, 20]
    text = page.read_text("utf-8")
    assert "Elsewhere (2019)" in text
    assert "31.5" in text
    assert {c["kind"] for c in data["citations"]} == {"dataset", "method"}
    assert "msibench run toy" in text
    assert "consistency" in data["trust"]["absent"]


def test_a_list_of_losses_is_found_wherever_it_stands(toy):
    from dataclasses import replace

    record = next(iter(toy.store.records()))
    report = {"channels": [{"final_loss": 0.1}, {"train_loss": [2, 1]}], "rate": [1, 2]}
    (curve,) = loss_curves([replace(record, report=report)])
    assert curve["curve"] == "channels / 1 / train_loss"
    assert curve["x"] == [1, 2]


def test_a_track_that_was_never_run_is_told(toy, tmp_path):
    with pytest.raises(StoreError, match="msibench run toy"):
        write_page(Store.open(tmp_path / "empty"), toy.track, tmp_path / "page")


@settings(deadline=None)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)))
    | arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([2, 3])))
)
def test_another_reader_of_png_sees_the_same_levels(image):
    raw = png(image)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(raw))), image)
    assert zlib.crc32(b"IEND").to_bytes(4, "big") == raw[-4:]


@given(st.lists(st.integers(), unique=True, max_size=40))
def test_spread_order_keeps_all_and_begins_with_the_ends(ranked):
    order = spread_order(ranked)
    assert sorted(order) == sorted(ranked)
    if ranked:
        assert order[0] == ranked[0]
        assert order[min(1, len(order) - 1)] == ranked[-1]


def test_pages_and_figures_need_no_torch():
    code = (
        "import sys; import msibench.leaderboard.page, msibench.leaderboard.figures, "
        "msibench.metrics.frc; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_metric_that_nobody_has_is_no_column_of_the_table(toy):
    """Such as one that needs weights which are not here; its reason stands in the rows."""
    from dataclasses import replace

    from msibench.leaderboard.board import Board, read_board
    from msibench.leaderboard.page_table import table_view

    board = read_board(toy.store, toy.track)
    without = board.rows["metric"] == "rmse"
    rows = board.rows.assign(
        value=board.rows["value"].mask(without),
        reason=board.rows["reason"].mask(without, "weights-missing: msibench weights fetch vgg16"),
    )
    lacking = Board(replace(board.collected, rows=rows), toy.track, board.index)

    def columns(of):
        (view,) = table_view(of)
        assert {len(row) for row in (*view.rows, *view.references)} == {len(view.columns)}
        return [column.name for column in view.columns]

    assert "RMSE" in columns(board)
    assert columns(lacking) == [name for name in columns(board) if name != "RMSE"]


@pytest.mark.parametrize(("scheme", "shown"), [("skill", False), ("anchored", True)])
def test_how_often_a_place_is_kept_is_shown_where_there_are_weights_to_change(scheme, shown):
    """Under every weighting of one metric all places stay: 100 % would promise what nobody tried."""
    from dataclasses import replace
    from pathlib import Path

    import pandas as pd

    from msibench.leaderboard.board import Board
    from msibench.leaderboard.page_table import table_view
    from msibench.leaderboard.rows import Collected
    from msibench.results.index import TrackIndex
    from msibench.tracks import load_track

    folder = Path(__file__).parents[2] / "leaderboards" / "bladder-finetuned-x4"
    rows = pd.read_parquet(folder / "rows.parquet")
    track = replace(load_track(str(folder)), scheme=scheme)
    (view,) = table_view(Board(Collected(rows, {}), track, TrackIndex({}, {})))
    assert ("kept" in [column.name for column in view.columns]) == shown
    assert {len(row) for row in (*view.rows, *view.references)} == {len(view.columns)}
