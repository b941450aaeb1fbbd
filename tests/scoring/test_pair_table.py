import numpy as np
import pandas as pd
import pytest

from msibench.errors import DataError
from msibench.scoring import load_scheme, pair_table
from msibench.testing.mirror import mirrored
from tests.scoring.tables import SIX, USUAL, row, simulated, table

MZ = (258.7744, 303.0830, 500.0)


def two_methods(mz=MZ, sections=1):
    rows = []
    for section in range(sections):
        for channel, value in enumerate(mz):
            for method, gain in (("pre", 0.05), ("fine", 0.2), ("bicubic", 0.0)):
                for metric in SIX:
                    sign = -1 if metric == "dists" else 1
                    place = {"channel": channel, "mz": value, "section": f"s{section}"}
                    rows.append(row(method, metric, USUAL[metric] * (1 + sign * gain), **place))
    return table(rows)


PUBLISHED = pd.DataFrame(
    {
        "id": [1, 2, 3],
        "mz": [258.774, 303.083, 174.017],
        "tissue": "mouse brain",
        "fine_tuned": [0.657115, 0.799053, 0.692114],
        "pre_trained": [0.631265, 0.431532, 0.697901],
        "ratio": [1.040949, 1.851665, 0.991708],
    }
)


def test_two_methods_stand_side_by_side_with_their_ratio():
    result = pair_table(
        two_methods(), load_scheme("anchored"), "fine", "pre", control_method="bicubic"
    )
    assert list(result["id"]) == [1, 2, 3]
    np.testing.assert_allclose(result["ratio"], result["score_a"] / result["score_b"])
    assert (result["ratio"] > 1).all()
    assert set(result["tissue"]) == {"bladder"}


def test_published_scores_stand_beside_and_change_no_measured_number():
    rows = two_methods()
    alone = pair_table(rows, load_scheme("anchored"), "fine", "pre", control_method="bicubic")
    beside = pair_table(
        rows, load_scheme("anchored"), "fine", "pre", PUBLISHED, control_method="bicubic"
    )
    assert list(beside["id"]) == [1, 2, 3, 4]
    assert list(beside["published_fine_tuned"].iloc[:3]) == [0.657115, 0.799053, 0.692114]
    np.testing.assert_array_equal(beside["score_a"].iloc[[0, 1, 3]], alone["score_a"])
    assert np.isnan(beside["score_a"].iloc[2])
    assert beside["reason"].iloc[2] == "not measured"
    assert np.isnan(beside["published_ratio"].iloc[3])


def test_a_scheme_of_the_compared_methods_compares_these_two_only():
    result = pair_table(two_methods(), load_scheme("cao2025"), "fine", "pre")
    # in five metrics the first is the better one; its SD of 1.08 is further from 1 than 0.945
    np.testing.assert_allclose(result["score_a"], 5 / 6)
    np.testing.assert_allclose(result["score_b"], 1 / 6)
    more = pair_table(two_methods(sections=2), load_scheme("cao2025"), "fine", "pre")
    assert set(more["images"]) == {2}


def test_an_mz_further_than_a_millidalton_is_another_ion():
    result = pair_table(
        two_methods(mz=(258.7755,)),
        load_scheme("anchored"),
        "fine",
        "pre",
        PUBLISHED,
        control_method="bicubic",
    )
    assert result["score_a"].notna().sum() == 1
    assert result.loc[result["score_a"].notna(), "published_ratio"].isna().all()


def test_an_mz_that_differs_by_a_millidalton_as_printed_is_the_same_ion():
    result = pair_table(
        two_methods(
            mz=(258.775, 303.082)
        ),  # in binary a little more and a little less than 0.001 away
        load_scheme("anchored"),
        "fine",
        "pre",
        PUBLISHED,
        control_method="bicubic",
    )
    assert list(result.loc[result["score_a"].notna(), "published_id"]) == [1, 2]


def test_the_images_of_a_pair_are_those_of_the_side_that_has_fewer():
    rows = two_methods(sections=3)
    rows = rows[(rows["method"] != "pre") | (rows["section"] != "s1") | (rows["channel"] != 0)]
    rows = pd.concat([rows, rows.assign(protocol="bicubic-x4@1")], ignore_index=True)
    result = pair_table(rows, load_scheme("anchored"), "fine", "pre", control_method="bicubic")
    assert list(result["images"]) == [2, 3, 3] * 2
    assert list(result["protocol"]) == ["area-x4@1"] * 3 + ["bicubic-x4@1"] * 3
    assert list(result.index) == list(range(6))


def test_a_reason_of_one_side_names_its_method():
    rows = two_methods()
    hole = (rows["method"] == "pre") & (rows["metric"] == "nqm") & (rows["channel"] == 1)
    rows.loc[hole, "value"] = np.nan
    result = pair_table(rows, load_scheme("anchored"), "fine", "pre", control_method="bicubic")
    assert list(result["reason"]) == ["", "pre: undefined: nqm", ""]
    assert np.isnan(result["ratio"].iloc[1])


def test_a_reason_that_both_sides_share_is_given_once():
    rows = two_methods()
    hole = rows["method"].isin(["pre", "fine"]) & (rows["metric"] == "nqm") & (rows["channel"] == 1)
    rows.loc[hole, "value"] = np.nan
    result = pair_table(rows, load_scheme("anchored"), "fine", "pre", control_method="bicubic")
    assert list(result["reason"]) == ["", "undefined: nqm", ""]


def test_an_ion_that_one_side_lacks_is_measured_all_the_same():
    rows = two_methods()
    hole = (rows["method"] == "fine") & (rows["metric"] == "nqm") & (rows["channel"] == 1)
    rows.loc[hole, "value"] = np.nan
    result = pair_table(
        rows, load_scheme("anchored"), "fine", "pre", PUBLISHED, control_method="bicubic"
    )
    assert list(result["reason"]) == ["", "fine: undefined: nqm", "not measured", ""]


def test_the_nearest_of_two_measured_ions_takes_the_published_line():
    rows = two_methods(mz=(303.0835, 303.0831))
    result = pair_table(
        rows, load_scheme("anchored"), "fine", "pre", PUBLISHED, control_method="bicubic"
    )
    taken = result[result["published_id"] == 2]
    assert taken["mz"].item() == pytest.approx(303.0831)


def test_channels_without_an_mz_are_still_compared():
    result = pair_table(
        two_methods(mz=(np.nan, np.nan)),
        load_scheme("anchored"),
        "fine",
        "pre",
        PUBLISHED,
        control_method="bicubic",
    )
    measured = result[result["score_a"].notna()]
    assert len(measured) == 2
    assert measured["mz"].isna().all()


def test_a_ratio_of_scores_that_are_not_above_zero_is_left_out():
    result = pair_table(
        two_methods(), load_scheme("anchored"), "fine", "bicubic", control_method="bicubic"
    )
    assert result["ratio"].isna().all()


def test_an_unknown_method_or_table_is_refused():
    with pytest.raises(DataError, match=r"method 'fone'; there are rows of bicubic, fine, pre$"):
        pair_table(two_methods(), load_scheme("anchored"), "fone", "pre", control_method="bicubic")
    with pytest.raises(DataError, match="missing: tissue"):
        pair_table(
            two_methods(),
            load_scheme("anchored"),
            "fine",
            "pre",
            PUBLISHED.drop(columns="tissue"),
            control_method="bicubic",
        )


@pytest.mark.parametrize(
    ("name", "lines"), [("table-s2-mouse-brain", 45), ("table-s3-mouse-kidney", 32)]
)
def test_the_published_tables_of_cao_fit_beside_any_measurement(name, lines):
    published = pd.read_csv(mirrored(f"papers/cao2025-{name}.csv"))
    rows = two_methods(mz=tuple(published["mz"]))
    result = pair_table(
        rows, load_scheme("anchored"), "fine", "pre", published, control_method="bicubic"
    )
    assert len(result) == lines
    np.testing.assert_array_equal(result["mz"], published["mz"])
    np.testing.assert_array_equal(result["published_ratio"], published["ratio"])


@pytest.mark.parametrize("name", ["skill", "anchored", "cao2025-pooled"])
def test_every_scheme_gives_a_ratio_wherever_both_scores_are_positive(name):
    rows = simulated({"bicubic": 0.0, "pre": 0.1, "fine": 0.3}, metrics=(*SIX, "skill"))
    result = pair_table(rows, load_scheme(name), "fine", "pre", control_method="bicubic")
    both = (result["score_a"] > 0) & (result["score_b"] > 0)
    assert both.any()
    np.testing.assert_array_equal(result["ratio"].notna(), both)
    np.testing.assert_allclose(result["ratio"][both], (result["score_a"] / result["score_b"])[both])


def test_scaled_per_image_two_scores_add_up_to_one_and_pooled_they_do_not():
    rows = simulated({"bicubic": 0.0, "pre": 0.1, "fine": 0.3})
    per_image = pair_table(rows, load_scheme("cao2025"), "fine", "pre")
    np.testing.assert_allclose(per_image["score_a"] + per_image["score_b"], 1.0)
    pooled = pair_table(rows, load_scheme("cao2025-pooled"), "fine", "pre")
    assert (np.abs(pooled["score_a"] + pooled["score_b"] - 1.0) > 0.01).all()


def test_a_tissue_has_the_name_that_it_is_given():
    rows = two_methods()
    named = pair_table(rows, load_scheme("cao2025"), "fine", "pre", tissue={"bladder": "mouse"})
    assert set(named["tissue"]) == {"mouse"}
    other = pair_table(rows, load_scheme("cao2025"), "fine", "pre", tissue={"brain": "mouse"})
    assert set(other["tissue"]) == {"bladder"}


def test_a_control_enters_no_scale_that_has_none():
    rows = two_methods()
    plain = pair_table(rows, load_scheme("cao2025"), "fine", "pre")
    named = pair_table(rows, load_scheme("cao2025"), "fine", "pre", control_method="bicubic")
    pd.testing.assert_frame_equal(plain, named)


def test_a_score_of_0_over_another_has_no_ratio():
    result = pair_table(
        two_methods(), load_scheme("anchored"), "bicubic", "fine", control_method="bicubic"
    )
    assert (result["score_a"] == 0).all()
    assert result["ratio"].isna().all()


def test_a_protocol_in_which_one_method_has_no_row_compares_no_image():
    rows = two_methods()
    alone = rows[rows["method"] != "pre"].assign(protocol="bicubic-x4@1")
    both = pd.concat([rows, alone], ignore_index=True)
    result = pair_table(both, load_scheme("anchored"), "fine", "pre", control_method="bicubic")
    assert list(result["images"]) == [1, 1, 1, 0, 0, 0]
    assert result["ratio"].notna().tolist() == [True] * 3 + [False] * 3


def test_what_was_measured_is_never_said_to_be_not_measured():
    """An ion that is undefined on both sides has its reason; a channel without an m/z has a score."""
    rows = two_methods(mz=(258.7744, np.nan))
    hole = rows["method"].isin(["pre", "fine"]) & (rows["metric"] == "nqm") & (rows["channel"] == 0)
    rows.loc[hole, "value"] = np.nan
    result = pair_table(
        rows, load_scheme("anchored"), "fine", "pre", PUBLISHED, control_method="bicubic"
    )
    assert list(result["reason"]) == ["undefined: nqm", "not measured", "not measured", ""]
    assert list(result["images"]) == [0, 0, 0, 1]
    assert list(result["id"]) == [1, 2, 3, 4]


def test_ions_that_are_not_published_are_numbered_after_those_that_are():
    published = PUBLISHED.assign(id=[30, 10, 20])
    rows = two_methods(mz=(500.0, 303.0830, 600.0))
    result = pair_table(
        rows, load_scheme("anchored"), "fine", "pre", published, control_method="bicubic"
    )
    assert list(result["id"]) == [10, 20, 30, 31, 32]
    assert list(result["mz"]) == [303.083, 174.017, 258.774, 500.0, 600.0]
    assert list(result.index) == list(range(5))


def test_a_table_of_whole_sections_alone_gives_an_empty_pair():
    rows = table(
        [row(m, metric, USUAL[metric], channel=-1) for m in ("fine", "pre") for metric in SIX]
    )
    result = pair_table(rows, load_scheme("cao2025"), "fine", "pre")
    assert result.empty
    assert list(result.columns) == list(
        pair_table(two_methods(), load_scheme("cao2025"), "fine", "pre").columns
    )
