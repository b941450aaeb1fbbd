import numpy as np
import pytest

from msibench.metrics.detail_ceiling import BOUNDED, ESTIMATED, EXACT
from msibench.metrics.detail_specs import CEILING_SOURCES
from msibench.scoring import reachable_gain
from msibench.scoring.reachable import _withheld
from tests.scoring.tables import row, table


def value_of(method, metric, value, **facts):
    return row(method, "psnr", float(value), **facts) | {"metric": metric}


def small(low=(0.6, 0.8), high=(0.6, 0.8), source=(EXACT, EXACT)):
    rows = []
    for channel, (control, net) in enumerate([(0.1, 0.2), (0.3, 0.5)]):
        place = {"channel": channel, "mz": 100.0 + channel}
        for method, skill in (("bicubic", control), ("net", net)):
            rows.append(value_of(method, "skill", skill, **place))
            for end, ends in (("low", low), ("high", high), ("source", source)):
                rows.append(value_of(method, f"detail_ceiling_{end}", ends[channel], **place))
    return rows


def net(rows):
    return reachable_gain(table(rows), "bicubic").set_index("method").loc["net"]


def test_the_share_of_the_reachable_gain_is_a_ratio_of_means():
    line = net(small())
    assert line["share_low"] == line["share_high"] == pytest.approx(0.15 / 0.5)
    assert line["withheld"] == ""
    assert line["source"].startswith("exact")
    assert line["images"] == 2
    control = reachable_gain(table(small()), "bicubic").set_index("method").loc["bicubic"]
    assert control["share_low"] == control["share_high"] == 0


def test_a_range_of_ceilings_is_a_range_of_shares():
    line = net(small(high=(0.7, 0.9), source=(BOUNDED, ESTIMATED)))
    assert line["share_low"] == pytest.approx(0.15 / 0.6)
    assert line["share_high"] == pytest.approx(0.15 / 0.5)
    assert "upper bound; estimated" in line["source"]


def test_estimators_that_disagree_leave_no_share():
    line = net(small(low=(0.3, 0.4), high=(0.9, 0.9)))
    assert np.isnan([line["share_low"], line["share_high"]]).all()
    assert "disagree: 0.15 or 0.70" in line["withheld"]
    assert line["ceiling_low"] == pytest.approx(0.35)
    below = net(small(low=(0.0, 0.0), high=(0.9, 0.9)))
    assert "disagree" in below["withheld"]


def test_images_without_a_ceiling_are_left_out():
    rows = table(small())
    ceilings = rows["metric"].str.startswith("detail_ceiling")
    rows.loc[ceilings & (rows["channel"] == 0), "value"] = np.nan
    line = reachable_gain(rows, "bicubic").set_index("method").loc["net"]
    assert line["share_low"] == pytest.approx(0.2 / 0.5)
    assert line["images"] == 1


def test_without_any_ceiling_there_is_no_share():
    rows = table(small())
    line = reachable_gain(rows[rows["metric"] == "skill"], "bicubic")
    assert line["share_low"].isna().all()
    assert (line["withheld"] == "the ceiling is not known").all()
    assert (line["images"] == 0).all()


def test_a_ceiling_below_the_control_leaves_nothing_to_share():
    line = net(small(low=(0.0, 0.0), high=(0.1, 0.1)))
    assert line["withheld"] == "the control is at the ceiling"
    assert np.isnan(line["share_high"])


def test_one_image_without_measure_does_not_decide():
    rows = table(small())
    worst = (rows["metric"] == "skill") & (rows["method"] == "net") & (rows["channel"] == 0)
    rows.loc[worst, "value"] = -1e6
    line = reachable_gain(rows, "bicubic").set_index("method").loc["net"]
    assert -0.3 < line["score"] < -0.2


@pytest.mark.parametrize("unknown", [-1, len(CEILING_SOURCES), 99])
def test_a_source_that_nobody_knows_has_no_name(unknown):
    assert net(small(source=(unknown, unknown)))["source"] == ""
    assert net(small(source=(EXACT, unknown)))["source"].startswith("exact")


def test_an_estimate_that_leaves_nothing_disagrees_with_one_that_leaves_much():
    line = net(small(low=(0.1, 0.3), high=(0.9, 0.9)))  # the lower ceiling is the control itself
    assert "disagree: 0.00 or 0.70" in line["withheld"]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (np.nan, 0.5, "the ceiling is not known"),
        (0.5, np.nan, "the ceiling is not known"),
        (-0.1, 0.0, "the control is at the ceiling"),
        (0.0, 0.5, "the estimators of the ceiling disagree: 0.00 or 0.50 to gain, more than"),
        (0.5, 0.75, ""),
        (0.5, 0.751, "the estimators of the ceiling disagree: 0.50 or 0.75 to gain, more than"),
        (2.0, 2.5, ""),
    ],
)
def test_a_share_is_withheld_from_these_limits_on(low, high, said):
    assert _withheld(low, high).startswith(said)
    assert bool(_withheld(low, high)) == bool(said)


def test_the_most_frequent_source_is_named_first_and_the_gain_is_told():
    rows = small() + [
        one | {"channel": one["channel"] + 2} for one in small(source=(BOUNDED, BOUNDED))
    ]
    rows += [one | {"channel": 4} for one in small(source=(BOUNDED, EXACT))[:8]]
    line = net(rows)
    assert line["source"] == f"{CEILING_SOURCES[BOUNDED]}; {CEILING_SOURCES[EXACT]}"
    assert net(small())["gain"] == pytest.approx(0.15)
    control = reachable_gain(table(small()), "bicubic").set_index("method").loc["bicubic"]
    assert control["gain"] == 0
