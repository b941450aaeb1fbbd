"""One written policy per metric for input without an ordinary answer: see docs/metrics.md."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from msibench import metrics
from msibench.metrics.specs import builtin_metrics

SHAPE = (45, 52)
PLAIN = ("psnr", "ssim", "vif", "vifp", "sd_ratio", "nqm", "rmse", "mse", "r2",
         "edge_perceptual_loss")  # fmt: skip
SMALLEST = {"ssim": 11, "vifp": 41, "edge_perceptual_loss": 3}
NAN = "nan"

rng = np.random.default_rng(0)
IMAGE = rng.random(SHAPE)
OTHER = np.clip(IMAGE + rng.normal(0, 0.1, SHAPE), 0, 1)
ZERO = np.zeros(SHAPE)
GREY = np.full(SHAPE, 0.4)
STRIPES = np.tile(rng.random(SHAPE[1]), (SHAPE[0], 1))

DECLARED = {spec.name: spec for spec in builtin_metrics()}

# Expected value per (test, reference): a number, NAN, or None for any finite number.
POLICY = {
    "identical": (IMAGE, IMAGE, {
        "psnr": NAN, "ssim": 1, "vif": 1, "vifp": 1, "sd_ratio": 1, "nqm": NAN, "rmse": 0,
        "mse": 0, "r2": 1, "edge_perceptual_loss": 0}),
    "zero test": (ZERO, IMAGE, {
        "psnr": None, "ssim": None, "vif": 0, "vifp": 0, "sd_ratio": 0, "nqm": 0, "rmse": None,
        "mse": None, "r2": None, "edge_perceptual_loss": None}),
    "constant test": (GREY, IMAGE, {
        "psnr": None, "ssim": None, "vif": 0, "vifp": 0, "sd_ratio": 0, "nqm": 0, "rmse": None,
        "mse": None, "r2": None, "edge_perceptual_loss": None}),
    "zero reference": (IMAGE, ZERO, {
        "psnr": None, "ssim": None, "vif": NAN, "vifp": NAN, "sd_ratio": NAN, "nqm": NAN,
        "rmse": None, "mse": None, "r2": NAN, "edge_perceptual_loss": None}),
    "constant reference": (IMAGE, GREY, {
        "psnr": None, "ssim": None, "vif": NAN, "vifp": NAN, "sd_ratio": NAN, "nqm": NAN,
        "rmse": None, "mse": None, "r2": NAN, "edge_perceptual_loss": None}),
    "both zero": (ZERO, ZERO, {
        "psnr": NAN, "ssim": 1, "vif": NAN, "vifp": NAN, "sd_ratio": NAN, "nqm": NAN, "rmse": 0,
        "mse": 0, "r2": NAN, "edge_perceptual_loss": 0}),
    "both constant": (GREY, GREY, {
        "psnr": NAN, "ssim": 1, "vif": NAN, "vifp": NAN, "sd_ratio": NAN, "nqm": NAN, "rmse": 0,
        "mse": 0, "r2": NAN, "edge_perceptual_loss": 0}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def torch_does_the_work_for_tensors(monkeypatch):
    """As it does on an accelerator; on a processor numpy would."""
    monkeypatch.setattr("msibench.metrics.pairs.HOST_TENSORS_AS_ARRAYS", False)


def evaluate(name, kind, test, reference, **options):
    if kind == "tensor":
        torch = pytest.importorskip("torch")
        test, reference = torch.as_tensor(test), torch.as_tensor(reference)
    value = getattr(metrics, name)(test, reference, **options)
    reasons = import_module(f"msibench.metrics.{name}").why_undefined(test, reference, **options)
    return np.asarray(value), reasons


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("case", POLICY)
def test_every_degenerate_pair_has_its_value_or_its_reason(case, name, kind):
    test, reference, expected = POLICY[case]
    value, (reason,) = evaluate(name, kind, test, reference)
    if expected[name] == NAN:
        assert np.isnan(value)
        assert reason in DECLARED[name].undefined
    else:
        assert np.isfinite(value)
        assert reason == ""
        if expected[name] is not None:
            assert float(value) == pytest.approx(expected[name], abs=1e-9)


@pytest.mark.parametrize("spec", builtin_metrics(), ids=lambda spec: spec.name)
def test_every_reason_that_a_spec_declares_is_worded_so_by_its_module(spec):
    module = import_module(spec.target.partition(":")[0])
    source = "".join(re.split(r'"\s*\n\s*"', Path(module.__file__).read_text(encoding="utf-8")))
    for name in ("WINDOW", "SMALLEST"):
        source = source.replace(f"{{{name}}}", str(getattr(module, name, "")))
    source = source.replace("{metric}", str(spec.params.get("metric")))
    for reason in spec.undefined:
        assert reason in source or reason in vars(module).values()


@pytest.mark.parametrize("level", [1e-3, 0.1, 1 / 3, 0.7, 1.0])
@pytest.mark.parametrize("name", ["vif", "vifp", "nqm", "sd_ratio"])
def test_rounding_does_not_lend_detail_to_a_constant_test(name, level):
    value, (reason,) = evaluate(name, "array", np.full(SHAPE, level), IMAGE)
    assert float(value) == 0
    assert reason == ""


@pytest.mark.parametrize("level", [1e-3, 0.1, 1 / 3, 0.7, 1.0])
@pytest.mark.parametrize("name", ["vif", "vifp", "nqm", "sd_ratio", "r2"])
def test_rounding_does_not_lend_variance_to_a_constant_reference(name, level):
    value, (reason,) = evaluate(name, "array", IMAGE, np.full(SHAPE, level))
    assert np.isnan(value)
    assert reason


@pytest.mark.sweep
@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
@pytest.mark.parametrize("where", ["test", "reference"])
@pytest.mark.parametrize("name", PLAIN)
def test_a_bad_pixel_undoes_its_own_image_and_no_other(name, where, bad, kind):
    pair = {"test": np.stack([OTHER] * 3), "reference": np.stack([IMAGE] * 3)}
    pair[where][1, 7, 9] = bad
    values, reasons = evaluate(name, kind, pair["test"], pair["reference"])
    alone, _ = evaluate(name, kind, OTHER, IMAGE)
    np.testing.assert_array_equal(values, [alone, np.nan, alone])
    assert [bool(reason) for reason in reasons] == [False, True, False]
    assert "NaN" in reasons[1]


@pytest.mark.parametrize("name", PLAIN)
def test_nan_outside_the_mask_is_no_fault(name):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[1:44, 2:50] = True
    test = OTHER.copy()
    test[0, :] = np.nan
    value, (reason,) = evaluate(name, "array", test, IMAGE, mask=mask)
    assert np.isfinite(value)
    assert reason == ""


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("name", PLAIN)
def test_an_empty_mask_leaves_nothing_to_evaluate(name, kind):
    mask = np.zeros(SHAPE, dtype=bool)
    value, (reason,) = evaluate(name, kind, OTHER, IMAGE, mask=mask)
    assert np.isnan(value)
    assert "no pixel" in reason


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("name", PLAIN)
def test_an_image_without_pixels_is_undefined(name, shape):
    value, (reason,) = evaluate(name, "array", np.zeros(shape), np.zeros(shape))
    assert np.isnan(value)
    assert "no pixel" in reason


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("name", PLAIN)
def test_a_batch_of_no_images_has_no_values(name, kind):
    values, reasons = evaluate(name, kind, np.zeros((0, 45, 52)), np.zeros((0, 45, 52)))
    assert values.shape == (0,)
    assert reasons == []


@pytest.mark.parametrize(("name", "side"), SMALLEST.items())
def test_an_image_smaller_than_the_window_is_undefined(name, side):
    enough, reasons = evaluate(name, "array", OTHER[:side, : side + 2], IMAGE[:side, : side + 2])
    assert np.isfinite(enough)
    assert reasons == [""]
    value, (reason,) = evaluate(name, "array", OTHER[: side - 1], IMAGE[: side - 1])
    assert np.isnan(value)
    assert "smaller" in reason


@pytest.mark.parametrize("name", [name for name in PLAIN if name not in SMALLEST])
def test_metrics_without_a_window_take_a_single_row(name):
    value, reasons = evaluate(name, "array", OTHER[:1, :9], IMAGE[:1, :9])
    assert np.isfinite(value) == (reasons == [""])


def test_vif_of_a_reference_that_varies_along_one_direction_only_is_undefined():
    reference = np.tile(np.random.default_rng(0).random(160), (128, 1))
    test = reference + np.random.default_rng(1).normal(0, 0.1, reference.shape)
    value, (reason,) = evaluate("vif", "array", test, reference)
    assert np.isnan(value)
    assert "one direction" in reason


@pytest.mark.parametrize("name", ["ssim", "edge_perceptual_loss"])
def test_a_mask_that_holds_no_window_centre_is_undefined(name):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[0, 0] = True
    value, (reason,) = evaluate(name, "array", OTHER, IMAGE, mask=mask)
    assert np.isnan(value)
    assert "centre in the mask" in reason


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("size", [1e-300, 1e-12, 1e6, 1e150])
def test_no_infinity_ever_comes_out(name, size):
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        values, _ = evaluate(name, "array", np.stack([OTHER, ZERO]) * size, np.stack([IMAGE] * 2))
    assert not np.isinf(values).any()
