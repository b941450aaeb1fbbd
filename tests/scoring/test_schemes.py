import math

import pytest

from msibench.errors import ConfigurationError, UnknownNameError
from msibench.scoring import load_scheme, scheme_from_mapping, shipped_schemes

MINIMAL = {
    "name": "mine",
    "normalisation": "none",
    "metrics": {"ssim": {"weight": 2, "direction": "higher"}, "rmse": {"direction": "lower"}},
}


def test_every_shipped_scheme_loads_under_its_own_name():
    assert shipped_schemes() == ("anchored", "cao2025", "cao2025-pooled", "skill")
    for name in shipped_schemes():
        assert load_scheme(name).name == name


def test_the_default_scheme_is_skill_in_percent_and_no_scheme_but_caos_weighs_sd():
    assert load_scheme().name == "skill"
    assert load_scheme().percent
    weighed = [name for name in shipped_schemes() if "sd_ratio" in load_scheme(name).weights]
    assert weighed == ["cao2025", "cao2025-pooled"]


def test_cao2025_has_the_six_metrics_with_equal_weights_and_says_that_it_is_a_reading():
    scheme = load_scheme("cao2025")
    assert set(scheme.weights) == {"psnr", "ssim", "vif", "sd_ratio", "nqm", "dists"}
    assert all(weight == pytest.approx(1 / 6) for weight in scheme.weights.values())
    assert scheme.directions["sd_ratio"] == "one"
    assert scheme.directions["dists"] == "lower"
    assert "our reading" in scheme.description


def test_weights_are_divided_by_their_sum():
    assert scheme_from_mapping(MINIMAL).weights == {
        "ssim": pytest.approx(2 / 3),
        "rmse": pytest.approx(1 / 3),
    }


def test_a_scheme_file_is_read_by_its_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nnormalisation = "none"\n[metrics.ssim]\ndirection = "higher"\n')
    assert load_scheme(path).weights == {"ssim": 1.0}


def test_decibels_are_perfect_at_infinity():
    metrics = {metric.name: metric for metric in load_scheme("anchored").metrics}
    assert math.isinf(metrics["psnr"].perfect)
    assert metrics["dists"].perfect == 0.0


def test_what_a_scheme_does_not_say_has_a_default():
    scheme = scheme_from_mapping(MINIMAL)
    assert not scheme.percent
    assert {metric.name: metric.perfect for metric in scheme.metrics} == {"ssim": 1.0, "rmse": 0.0}


def test_an_unknown_scheme_that_is_near_none_names_all():
    with pytest.raises(UnknownNameError, match=r"no file of that name\. There are: anchored"):
        load_scheme("zzzzzz")


@pytest.mark.parametrize("weight", [0, -1, math.inf, math.nan, True, "1"])
def test_a_weight_is_a_finite_number_above_0(weight):
    metrics = {"ssim": {"weight": weight, "direction": "higher"}}
    with pytest.raises(ConfigurationError, match="expected a weight above 0"):
        scheme_from_mapping({**MINIMAL, "metrics": metrics})


def test_an_unknown_scheme_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'anchored'"):
        load_scheme("ancored")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalization": "none"}, "Did you mean 'normalisation'"),
        ({"zzzzzz": 1}, r"no key 'zzzzzz'\. Known here: "),
        ({"metrics": {"ssim": {"direction": "higher", "wieght": 1}}}, "Did you mean 'weight'"),
        ({"metrics": {"ssim": {"direction": "up"}}}, "expected one of higher, lower, one"),
        ({"metrics": {"ssim": {"direction": "higher", "weight": 0}}}, "weight above 0"),
        ({"metrics": {"ssim": {"direction": "higher", "weight": True}}}, "weight above 0"),
        ({"metrics": {"psnr": {"direction": "higher", "perfect": math.inf}}}, 'scale = "decibel"'),
        ({"metrics": {"psnr": {"direction": "lower", "scale": "decibel"}}}, "and perfect = inf"),
        (
            {"metrics": {"psnr": {"direction": "higher", "scale": "decibel", "perfect": 60}}},
            "and perfect = inf",
        ),
        ({"metrics": {"sd_ratio": {"direction": "one", "perfect": 2}}}, "1 where the direction is"),
        ({"metrics": {"ssim": 3}}, "metric 'ssim': expected a table, got 3"),
        ({"metrics": 3}, "per metric"),
        ({"metrics": {}}, "per metric"),
        ({"normalisation": "best"}, "expected one of"),
        ({"name": 3}, "expected text"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_teaches(change, message):
    with pytest.raises(ConfigurationError, match=message):
        scheme_from_mapping(MINIMAL | change)


def test_broken_toml_names_its_file(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("name = ")
    with pytest.raises(ConfigurationError, match=r"broken\.toml is not valid TOML"):
        load_scheme(path)
