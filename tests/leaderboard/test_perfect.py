import io

import numpy as np
import pandas as pd
import pytest

from msibench.leaderboard.board import read_board
from msibench.leaderboard.page_table import table_view
from msibench.leaderboard.perfect import PERFECT, REFERENCE, perfect_signal
from msibench.leaderboard.render import markdown_page
from msibench.metrics import psnr, r2, rmse, sd_ratio
from tests.scoring.tables import DIRECTIONS, row


def test_the_perfect_signal_stands_where_the_signal_itself_would():
    """Against the metrics of the signal that was drawn, for three ion images of known noise."""
    rng = np.random.default_rng(0)
    signal = rng.uniform(0.2, 0.8, (3, 200, 200))
    truth = signal + rng.normal(0, [[[0.05]], [[0.1]], [[0.2]]], signal.shape)
    other = truth + rng.normal(0, 0.3, truth.shape)
    lines = []
    for ion in range(3):
        for name, values in (
            ("rmse", rmse(other, truth)), ("r2", r2(other, truth)), ("psnr", psnr(other, truth)),
            ("noise_ceiling_psnr", psnr(signal, truth)),
        ):  # fmt: skip
            direction = DIRECTIONS.get(name, "higher")
            line = row("net", "psnr", float(values[ion]), channel=ion)
            lines.append(line | {"metric": name, "direction": direction})
        for name, value in (("detail_ceiling_low", 0.2), ("detail_ceiling_high", 0.3)):
            lines.append(row("net", "psnr", value, channel=ion) | {"metric": name})
    found = perfect_signal(pd.DataFrame(lines))
    for name, metric in (("psnr", psnr), ("rmse", rmse), ("r2", r2), ("sd_ratio", sd_ratio)):
        expected = float(np.mean(metric(signal, truth)))
        assert found[name] == pytest.approx((expected, expected), rel=0.02), name
    assert found["skill"] == found["detail_gain"] == pytest.approx((0.2, 0.3))
    assert "vif" not in found


def test_without_ceilings_nothing_is_claimed():
    assert perfect_signal(pd.DataFrame([row("net", "psnr", 20.0)])) == {}


def test_table_and_page_show_the_perfect_signal_and_the_control_below_the_methods(toy):
    board = read_board(toy.store, toy.track)
    text = board.csv
    table = pd.read_csv(io.StringIO(text))
    lines = table[table["task"] == REFERENCE].set_index("method")
    control = board.track.control_method
    assert list(lines.index) == [PERFECT, f"the control, {control}"]
    methods = table[table["task"] != REFERENCE].set_index("method")
    for name in ("psnr.image.mean", "psnr.image.low", "composite"):
        assert lines.loc[f"the control, {control}", name] == methods.loc[control, name]
    assert len(methods) == len(board.table)
    (view,) = table_view(board)
    assert [row[0].text for row in view.references] == list(lines.index)
    assert f"_{PERFECT}_" in markdown_page(board)
