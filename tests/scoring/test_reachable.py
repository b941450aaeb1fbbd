import numpy as np
import pytest

from msibench.scoring import reachable_gain
from tests.scoring.tables import row, table


def trust(method, metric, value, **facts):
    return row(method, "psnr", value, **facts) | {"metric": metric}


def small():
    rows = []
    for channel, (control, net, top, near) in enumerate([(20, 21, 24, 22), (22, 24, 24, 23)]):
        place = {"channel": channel, "mz": 100.0 + channel}
        for method, value in (("bicubic", control), ("net", net)):
            rows.append(row(method, "psnr", float(value), **place))
            rows.append(trust(method, "noise_ceiling_psnr", float(top), **place))
            rows.append(trust(method, "neighbour_psnr", float(near), **place))
    return rows


def test_the_share_of_the_reachable_gain_is_a_ratio_of_means():
    line = reachable_gain(table(small()), "bicubic").set_index("method")
    assert line.loc["net", "share"] == pytest.approx(3 / 6)
    assert line.loc["bicubic", "share"] == 0
    assert line.loc["net", "neighbour"] == 22.5
    assert line.loc["net", "images"] == 2


def test_images_without_a_ceiling_are_left_out():
    rows = table(small())
    rows.loc[(rows["metric"] == "noise_ceiling_psnr") & (rows["channel"] == 0), "value"] = np.nan
    line = reachable_gain(rows, "bicubic").set_index("method")
    assert line.loc["net", "share"] == 1.0
    assert line.loc["net", "images"] == 1


def test_without_any_ceiling_there_is_no_share():
    rows = table(small())
    line = reachable_gain(rows[rows["metric"] == "psnr"], "bicubic")
    assert line["share"].isna().all()
    assert (line["images"] == 0).all()


def test_a_ceiling_below_the_control_leaves_nothing_to_share():
    rows = table(small())
    rows.loc[rows["metric"] == "noise_ceiling_psnr", "value"] = 10.0
    assert reachable_gain(rows, "bicubic")["share"].isna().all()
