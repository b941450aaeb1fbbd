import numpy as np
import pytest

from msibench.errors import ConfigurationError, DataError
from msibench.scoring import composite, load_scheme, scheme_from_mapping
from msibench.scoring.composite import score_images
from msibench.scoring.cube import cubes
from tests.scoring.tables import SIX, USUAL, row, simulated, table

TWO = {
    "name": "two",
    "normalisation": "anchored",
    "metrics": {
        "psnr": {"weight": 3, "direction": "higher", "scale": "decibel"},
        "ssim": {"weight": 1, "direction": "higher"},
    },
}


def test_an_anchored_composite_equals_the_formula_by_hand():
    rows = table(
        [
            row("bicubic", "psnr", 20.0),
            row("bicubic", "ssim", 0.5),
            row("net", "psnr", 23.0),
            row("net", "ssim", 0.4),
        ]
    )
    scored = composite(rows, scheme_from_mapping(TWO), control_method="bicubic")
    scored = scored.set_index("method")
    by_hand = 0.75 * (1 - 10**-0.3) + 0.25 * (0.5 / 0.6 - 1)
    assert scored.loc["net", "composite"] == pytest.approx(by_hand)
    assert scored.loc["bicubic", "composite"] == 0
    assert scored.loc["net", "score.ssim"] == pytest.approx(0.5 / 0.6 - 1)


def test_adding_a_method_changes_nobodys_anchored_score():
    few = simulated({"bicubic": 0.0, "a": 0.1})
    extra = simulated({"bicubic": 0.0, "a": 0.1, "z": 0.9})
    extra = extra[extra["method"] == "z"]
    both = table([*few.to_dict("records"), *extra.to_dict("records")])
    scheme = load_scheme("anchored")
    before = composite(few, scheme, control_method="bicubic")
    after = composite(both, scheme, control_method="bicubic")
    after = after[after["method"] != "z"].reset_index(drop=True)
    np.testing.assert_array_equal(before["composite"], after["composite"])


def test_the_truth_gets_one_and_the_control_zero():
    perfect = {
        "psnr": np.inf,
        "ssim": 1.0,
        "vif": 1.0,
        "sd_ratio": 1.0,
        "nqm": np.inf,
        "dists": 0.0,
    }
    rows = table(
        [row("truth", name, perfect[name]) for name in SIX]
        + [row("bicubic", name, USUAL[name]) for name in SIX]
    )
    scored = composite(rows, load_scheme("anchored"), control_method="bicubic").set_index("method")
    assert scored.loc["truth", "composite"] == pytest.approx(1)
    assert scored.loc["bicubic", "composite"] == 0


def test_a_missing_metric_refuses_the_composite_by_name():
    rows = simulated({"bicubic": 0.0, "a": 0.1}, metrics=SIX[:-1])
    scored = composite(rows, load_scheme("cao2025"))
    assert scored["composite"].isna().all()
    assert set(scored["missing"]) == {"dists"}
    assert set(scored["reason"]) == {"refused: no value of dists"}


def test_a_missing_metric_marks_the_composite_when_the_scheme_says_so():
    rows = simulated({"bicubic": 0.0, "a": 0.1}, metrics=SIX[:-1])
    scored = composite(rows, load_scheme("anchored"), control_method="bicubic")
    assert scored["composite"].notna().all()
    assert set(scored["missing"]) == {"dists"}
    four = [f"score.{name}" for name in ("psnr", "ssim", "vif", "nqm")]
    np.testing.assert_allclose(scored["composite"], scored[four].mean(axis=1))


def test_a_metric_that_is_nan_everywhere_is_missing_not_zero():
    rows = simulated({"bicubic": 0.0, "a": 0.1})
    rows.loc[rows["metric"] == "dists", "value"] = np.nan
    scored = composite(rows, load_scheme("cao2025"))
    assert set(scored["missing"]) == {"dists"}
    assert scored["composite"].isna().all()


@pytest.mark.parametrize("who", ["bicubic", "a"])
def test_a_metric_that_the_control_or_the_method_lacks_does_not_enter(who):
    rows = simulated({"bicubic": 0.0, "a": 0.1})
    rows.loc[(rows["method"] == who) & (rows["metric"] == "dists"), "value"] = np.nan
    scored = composite(rows, load_scheme("anchored"), control_method="bicubic")
    lacking = scored.groupby("method")["missing"].first()
    assert lacking["a"] == "dists"
    assert lacking["bicubic"] == ("dists" if who == "bicubic" else "")
    assert scored["composite"].notna().all()


def test_an_image_with_an_undefined_metric_leaves_and_says_why():
    rows = simulated({"bicubic": 0.0, "a": 0.1})
    hole = (rows["method"] == "a") & (rows["metric"] == "nqm") & (rows["section"] == "s1")
    rows.loc[hole & (rows["channel"] == 2), "value"] = np.nan
    scored = composite(rows, load_scheme("anchored"), control_method="bicubic")
    empty = scored[scored["composite"].isna()]
    assert list(empty["method"]) == ["a"]
    assert list(empty["reason"]) == ["undefined: nqm"]
    assert (empty["section"] + str(empty["channel"].iloc[0])).item() == "s12"


def test_an_undefined_value_refuses_the_method_when_the_scheme_says_so():
    rows = simulated({"bicubic": 0.0, "a": 0.1}, metrics=("psnr", "ssim"))
    rows.loc[rows.index[(rows["method"] == "a")][0], "value"] = np.nan
    scheme = scheme_from_mapping(TWO | {"undefined": "refuse"})
    scored = composite(rows, scheme, control_method="bicubic")
    assert scored[scored["method"] == "a"]["composite"].isna().all()
    assert scored[scored["method"] == "bicubic"]["composite"].notna().all()


def test_wrong_guide_controls_do_not_enter():
    rows = simulated({"bicubic": 0.0, "a": 0.1})
    wrong = rows[rows["method"] == "a"].assign(control="guide-shuffled", value=0.0)
    both = table([*rows.to_dict("records"), *wrong.to_dict("records")])
    scheme = load_scheme("anchored")
    assert composite(both, scheme, control_method="bicubic").equals(
        composite(rows, scheme, control_method="bicubic")
    )


def test_seeds_are_averaged_before_they_are_scored():
    rows = [row("bicubic", "psnr", 20.0), row("bicubic", "ssim", 0.5)]
    rows += [row("net", "psnr", 22.0 + 2 * seed, seed=seed) for seed in (0, 1)]
    rows += [row("net", "ssim", 0.5, seed=seed) for seed in (0, 1)]
    scored = composite(table(rows), scheme_from_mapping(TWO), control_method="bicubic")
    net = scored[scored["method"] == "net"]["composite"].item()
    assert net == pytest.approx(0.75 * (1 - 10**-0.3))


def test_protocols_never_meet():
    rows = [row(m, n, USUAL[n]) for m in ("bicubic", "a") for n in SIX]
    rows += [
        row(m, n, USUAL[n] * 2, protocol="bicubic-x4@1") for m in ("bicubic", "a") for n in SIX
    ]
    scored = composite(table(rows), load_scheme("anchored"), control_method="bicubic")
    assert (scored["composite"] == 0).all()
    assert len(scored) == 4


def test_the_tissue_region_is_scored_from_its_own_rows():
    rows = [row(m, n, USUAL[n]) for m in ("bicubic", "a") for n in ("psnr", "ssim")]
    rows += [
        row(m, n, USUAL[n] * gain, region="tissue")
        for m, gain in (("bicubic", 1.0), ("a", 1.1))
        for n in ("psnr", "ssim")
    ]
    image, tissue = (
        composite(
            table(rows), scheme_from_mapping(TWO | {"region": name}), control_method="bicubic"
        ).set_index("method")["composite"]["a"]
        for name in ("image", "tissue")
    )
    assert image == 0 < tissue


def test_an_anchored_scheme_without_its_control_is_refused():
    rows = simulated({"a": 0.1})
    with pytest.raises(ConfigurationError, match="needs a control method"):
        composite(rows, load_scheme("anchored"))
    with pytest.raises(DataError, match="no row of method 'bicubic'; it has a"):
        composite(rows, load_scheme("anchored"), control_method="bicubic")


def test_a_per_section_number_cannot_be_weighed_into_an_image():
    rows = [row("a", "psnr", 20.0), row("a", "ssim", 0.5, channel=-1, mz=np.nan)]
    with pytest.raises(ConfigurationError, match="one number per section"):
        composite(table(rows), scheme_from_mapping(TWO), control_method="a")


def test_rows_that_cannot_be_averaged_are_refused():
    good = [row("a", "psnr", 20.0)]
    with pytest.raises(DataError, match="occurs more than once"):
        composite(table(good * 2), load_scheme("anchored"), control_method="a")
    other = [*good, row("b", "psnr", 20.0, metric_version=2)]
    with pytest.raises(DataError, match="metric_version 1, 2"):
        composite(table(other), load_scheme("anchored"), control_method="a")
    with pytest.raises(DataError, match="missing: reason"):
        composite(table(good).drop(columns="reason"), load_scheme("anchored"), control_method="a")


def test_a_composite_has_one_row_per_image_and_method_and_these_columns():
    scored = composite(simulated({"bicubic": 0.0, "a": 0.1}), load_scheme("cao2025"))
    expected = ["protocol", "dataset", "section", "mz_set", "channel", "mz", "method"]
    expected += ["composite", "missing", "reason", *(f"score.{name}" for name in SIX)]
    assert sorted(scored.columns) == sorted(expected)
    assert scored.index.tolist() == list(range(len(scored)))


def test_a_table_without_ion_images_has_no_composite():
    whole = table([row("a", name, USUAL[name], channel=-1) for name in ("psnr", "ssim")])
    scheme = scheme_from_mapping({**TWO, "normalisation": "none"})
    assert composite(whole, scheme).empty


def test_what_is_refused_has_no_weights():
    rows = simulated({"bicubic": 0.0, "a": 0.1}, metrics=SIX[:-1])
    (cube,) = cubes(rows)
    scored = score_images(cube.ion_images(), load_scheme("cao2025"))
    assert all(scored.refused)
    assert (scored.weights == 0).all()


def test_columns_stand_in_the_order_that_is_promised():
    scored = composite(
        simulated({"bicubic": 0.0}), scheme_from_mapping(TWO), control_method="bicubic"
    )
    assert ", ".join(scored.columns) == (
        "protocol, dataset, section, mz_set, channel, mz, method, composite, missing, reason, "
        "score.psnr, score.ssim"
    )
    nothing = composite(table([]), scheme_from_mapping(TWO), control_method="bicubic")
    assert list(nothing.columns) == list(scored.columns)


def test_the_lines_of_several_protocols_are_numbered_on():
    rows = simulated({"bicubic": 0.0, "a": 0.1}, sections=1, channels=2, metrics=("psnr", "ssim"))
    both = table([*rows.to_dict("records"), *rows.assign(protocol="p2").to_dict("records")])
    scored = composite(both, scheme_from_mapping(TWO), control_method="bicubic")
    assert scored.index.tolist() == list(range(8))


def test_a_first_metric_that_nobody_has_ends_no_composite():
    rows = table([row("bicubic", "ssim", 0.5), row("net", "ssim", 0.4)])
    scheme = scheme_from_mapping(TWO | {"missing": "mark"})
    scored = composite(rows, scheme, control_method="bicubic").set_index("method")
    assert scored.loc["net", "composite"] == pytest.approx(0.5 / 0.6 - 1)
    assert scored.loc["net", "missing"] == "psnr"


def test_a_method_without_any_metric_of_the_scheme_is_refused_even_if_it_may_be_marked():
    rows = table([row("bicubic", "psnr", 20.0), row("bicubic", "ssim", 0.5), row("net", "vif", 1)])
    scheme = scheme_from_mapping(TWO | {"missing": "mark"})
    (cube,) = cubes(rows)
    scored = score_images(cube, scheme, control_method="bicubic")
    assert scored.refused == ("", "no value of psnr, ssim")
    assert scored.weights.tolist() == [[0.75, 0.25], [0.0, 0.0]]
    np.testing.assert_array_equal(scored.composite, [[0.0, np.nan]])
    whole = table([row("net", name, USUAL[name], channel=-1) for name in ("psnr", "ssim")])
    (cube,) = cubes(whole)
    none = scheme_from_mapping({**TWO, "normalisation": "none"})
    assert score_images(cube.ion_images(), none).refused == ("no ion image was scored",)


def test_images_that_a_method_was_not_run_on_are_not_scored_and_not_counted():
    """`net` lacks one image, and one of the two metrics on another; one metric nobody has."""
    rows = simulated({"bicubic": 0.0, "net": 0.1}, sections=1, metrics=("psnr", "ssim"))
    mine = rows["method"] == "net"
    rows = rows[~mine | (rows["channel"] != 2)]
    rows.loc[mine & (rows["channel"] == 1) & (rows["metric"] == "ssim"), "value"] = np.nan
    third = {"metrics": TWO["metrics"] | {"vif": {"direction": "higher"}}, "missing": "mark"}
    scored = composite(rows, scheme_from_mapping(TWO | third), control_method="bicubic")
    said = scored[scored["method"] == "net"].set_index("channel")["reason"]
    assert said.to_dict() == {0: "", 1: "undefined: ssim", 2: "not scored"}
    strict = scheme_from_mapping(TWO | third | {"undefined": "refuse"})
    refused = composite(rows, strict, control_method="bicubic")
    assert set(refused[refused["method"] == "net"]["reason"]) == {
        "refused: a metric is undefined on 1 of 2 images"
    }
    assert refused[refused["method"] == "bicubic"]["composite"].notna().all()
