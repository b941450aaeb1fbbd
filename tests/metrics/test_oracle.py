"""Every number of the original MATLAB code, on the stored pairs."""

import json

import numpy as np
import pytest

from msibench import metrics
from msibench.testing.mirror import mirrored

PAIRS = (
    "p1_dense_64x64",
    "p2_dense_blur_128x128",
    "p5_srlike_256x256",
    "p7_uint8_gain_64x64",
    "e1_identical",
    "e2_dist_zero",
    "e3_ref_zero",
    "e4_both_zero",
    "e5_dist_const",
    "e6_ref_const",
    "e7_both_const",
)
ORACLE = {
    "psnr": "psnr_255",
    "ssim": "ssim_wang_L255",
    "vif": "vif_metrix",
    "vifp": "vifp",
    "sd_ratio": "sd_ratio_n1",
    "nqm": "nqm_metrix",
}
KINDS = ("array", "tensor")


@pytest.fixture(autouse=True)
def torch_does_the_work_for_tensors(monkeypatch):
    """As it does on an accelerator; on a processor numpy would."""
    monkeypatch.setattr("msibench.metrics.pairs.HOST_TENSORS_AS_ARRAYS", False)


@pytest.fixture(scope="module")
def values():
    return json.loads(mirrored("metrics/reference.json").read_text(encoding="utf-8"))["values"]


@pytest.fixture(scope="module")
def images():
    with np.load(mirrored("metrics/pairs.npz")) as archive:
        return {name: archive[name] for name in archive.files}


def evaluate(name, kind, test, reference, **options):
    if kind == "tensor":
        torch = pytest.importorskip("torch")
        test, reference = torch.as_tensor(test), torch.as_tensor(reference)
    return float(getattr(metrics, name)(test, reference, **options))


def assert_is(value, oracle):
    """The oracle's value to 1e-9; NaN for what it calls infinite or undefined."""
    oracle = float(oracle)
    if np.isfinite(oracle):
        assert value == pytest.approx(oracle, rel=1e-9, abs=0 if oracle else 1e-12)
    else:
        assert np.isnan(value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ORACLE)
@pytest.mark.parametrize("pair", PAIRS)
def test_the_original_code_gives_the_same_number(pair, name, kind, values, images):
    value = evaluate(name, kind, images[f"{pair}__dist"], images[f"{pair}__ref"], data_range=255)
    assert_is(value, values[pair][ORACLE[name]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", PAIRS)
def test_swapped_images_have_the_original_nqm_too(pair, kind, values, images):
    value = evaluate("nqm", kind, images[f"{pair}__ref"], images[f"{pair}__dist"])
    assert_is(value, values[pair]["nqm_swapped"])


@pytest.mark.parametrize("name", ORACLE)
@pytest.mark.parametrize("pair", PAIRS)
def test_images_scaled_to_one_have_the_score_of_their_8_bit_originals(pair, name, values, images):
    test, reference = images[f"{pair}__dist"] / 255, images[f"{pair}__ref"] / 255
    assert_is(evaluate(name, "array", test, reference), values[pair][ORACLE[name]])


@pytest.mark.parametrize("pair", PAIRS)
def test_small_numbers_taken_for_8_bit_have_the_original_values_of_that_mistake(
    pair, values, images
):
    test, reference = images[f"{pair}__dist"] / 255, images[f"{pair}__ref"] / 255
    options = {"data_range": 255}
    assert_is(evaluate("vifp", "array", test, reference, **options), values[pair]["vifp_on_0_1"])
    assert_is(evaluate("nqm", "array", test, reference), values[pair]["nqm_metrix_on_0_1"])
    unpadded = values[pair]["vif_vec_raw_on_0_1"]
    if unpadded != "nan":
        assert_is(evaluate("vif", "array", test, reference, **options), unpadded)


@pytest.mark.parametrize("name", ORACLE)
def test_a_batch_of_stored_pairs_scores_as_its_images_do(name, values, images):
    pairs = [pair for pair in PAIRS if images[f"{pair}__ref"].shape == (64, 64)]
    test, reference = (
        np.stack([images[f"{pair}__{kind}"] for pair in pairs]) for kind in ("dist", "ref")
    )
    scores = getattr(metrics, name)(test, reference, data_range=255)
    for value, pair in zip(scores, pairs, strict=True):
        assert_is(value, values[pair][ORACLE[name]])


@pytest.mark.parametrize(("frequency", "sensitivity"), [(0.0, 0.0499), (1.0, 0.3163), (8.0, 0.981)])
def test_the_contrast_that_the_eye_sees_is_that_of_mannos_and_sakrison(frequency, sensitivity):
    """A(f) = 2.6 (0.0192 + 0.114 f) exp(-(0.114 f)^1.1) is 0.98 at its peak of 8 cycles/degree."""
    from msibench.metrics.nqm import _contrast_threshold

    assert 1 / (200 * _contrast_threshold(frequency)) == pytest.approx(sensitivity, rel=2e-3)
