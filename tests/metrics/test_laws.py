"""What holds for every metric, whatever it measures."""

import doctest
import inspect
import subprocess
import sys
from importlib import import_module
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msibench import metrics
from msibench.metrics.specs import REFERENCE_METRICS, builtin_metrics
from msibench.plugin_manager import resolve_target

torch = pytest.importorskip("torch")

PLAIN = [spec.name for spec in REFERENCE_METRICS if not spec.weights]
SYMMETRIC = ("ssim", "psnr", "mse", "rmse", "edge_perceptual_loss")
POINTWISE = ("psnr", "mse", "rmse", "r2", "sd_ratio")
QUICK = settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@st.composite
def pairs(draw):
    rows, columns = draw(st.integers(41, 50)), draw(st.integers(41, 60))
    seed, sparsity = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([1.0, 0.3, 0.02]))
    rng = np.random.default_rng(seed)
    reference = rng.random((2, rows, columns)) * (rng.random((2, rows, columns)) < sparsity)
    test = np.clip(reference + rng.normal(0, draw(st.floats(0.01, 0.3)), reference.shape), 0, 1)
    return test, reference


def evaluate(name, test, reference, **options):
    return getattr(metrics, name)(test, reference, **options)


@pytest.mark.parametrize("name", PLAIN)
@QUICK
@given(pair=pairs())
def test_an_image_scores_alone_as_it_does_in_a_batch(name, pair):
    test, reference = pair
    batch = evaluate(name, test, reference)
    alone = [evaluate(name, a, b) for a, b in zip(test, reference, strict=True)]
    assert all(value.shape == () for value in alone)
    np.testing.assert_array_equal(batch, np.array(alone))


@pytest.mark.parametrize("lent", [True, False])
@pytest.mark.parametrize("name", PLAIN)
@QUICK
@given(pair=pairs())
def test_tensors_score_as_arrays_do(name, lent, pair):
    """Whether numpy works on them or, as on an accelerator, torch."""
    with mock.patch("msibench.metrics.pairs.HOST_TENSORS_AS_ARRAYS", lent):
        values = evaluate(name, *(torch.as_tensor(images) for images in pair))
    assert values.dtype == torch.float64
    np.testing.assert_allclose(values.numpy(), evaluate(name, *pair), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PLAIN)
@QUICK
@given(pair=pairs(), scale=st.sampled_from([255.0, 0.01, 1e4]))
def test_scaling_images_together_with_their_range_changes_nothing(name, pair, scale):
    test, reference = pair
    scaled = evaluate(name, test * scale, reference * scale, data_range=scale)
    np.testing.assert_allclose(scaled, evaluate(name, test, reference), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", SYMMETRIC)
@QUICK
@given(pair=pairs())
def test_symmetric_metrics_do_not_care_which_image_is_the_reference(name, pair):
    test, reference = pair
    np.testing.assert_allclose(
        evaluate(name, test, reference), evaluate(name, reference, test), rtol=1e-9
    )


@pytest.mark.parametrize("name", PLAIN)
@QUICK
@given(pair=pairs())
def test_a_mask_of_the_whole_image_changes_nothing(name, pair):
    mask = np.ones(pair[0].shape[1:], dtype=bool)
    np.testing.assert_allclose(
        evaluate(name, *pair, mask=mask), evaluate(name, *pair),
        rtol=1e-12, atol=1e-12, equal_nan=True,  # R2 near 0 is a small difference of large numbers
    )  # fmt: skip


@pytest.mark.parametrize("name", POINTWISE)
@QUICK
@given(pair=pairs(), data=st.data())
def test_pixel_by_pixel_metrics_see_nothing_outside_the_mask(name, pair, data):
    test, reference = pair
    mask = data.draw(arrays(bool, test.shape[1:]))
    mask[:2, :7] = True
    elsewhere = np.where(mask, test, 0.123)
    np.testing.assert_array_equal(
        evaluate(name, test, reference, mask=mask), evaluate(name, elsewhere, reference, mask=mask)
    )
    lines = evaluate(name, test[:, mask][:, None], reference[:, mask][:, None])
    np.testing.assert_allclose(evaluate(name, test, reference, mask=mask), lines, rtol=1e-12)


@pytest.mark.parametrize("name", ["vif", "vifp", "nqm"])
@QUICK
@given(pair=pairs())
def test_transforming_metrics_cut_to_the_mask_with_zeros_around_it(name, pair):
    test, reference = (np.pad(images, ((0, 0), (3, 5), (2, 9))) for images in pair)
    mask = np.zeros(test.shape[1:], dtype=bool)
    mask[3:-5, 2:-9] = True
    mask[3, 2:12] = False
    inside = mask[3:-5, 2:-9]
    np.testing.assert_array_equal(
        evaluate(name, test + ~mask, reference, mask=mask),
        evaluate(name, pair[0] * inside, pair[1] * inside),
    )


@QUICK
@given(pair=pairs())
def test_masked_ssim_averages_the_windows_centred_in_the_mask(pair):
    test, reference = pair
    rows, columns = test.shape[1:]
    mask = np.zeros((rows, columns), dtype=bool)
    mask[20, 21] = True
    window = np.s_[:, 15:26, 16:27]
    np.testing.assert_allclose(
        metrics.ssim(test, reference, mask=mask), metrics.ssim(test[window], reference[window])
    )


@pytest.mark.parametrize("name", ["psnr", "ssim", "vif", "vifp", "nqm", "r2"])
def test_more_noise_never_scores_higher(name):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :90] / 20
    reference = 0.5 + 0.4 * np.sin(rows * 3) * np.cos(columns * 5 + rows)
    noise = rng.normal(0, 1, reference.shape)
    scores = [float(evaluate(name, reference + s * noise, reference)) for s in (0.02, 0.1, 0.4)]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("name", PLAIN)
def test_leading_axes_and_the_kind_of_array_are_kept(name):
    rng = np.random.default_rng(0)
    test, reference = rng.random((2, 3, 2, 42, 44))
    values = evaluate(name, test, reference)
    assert isinstance(values, np.ndarray)
    assert values.shape == (3, 2)
    assert values.dtype == np.float64
    single = evaluate(name, test.astype(np.float32), reference.astype(np.float32))
    assert single.dtype == np.float64
    np.testing.assert_allclose(single, values, rtol=1e-3)


@pytest.mark.parametrize("name", PLAIN)
def test_inputs_are_left_as_they_were(name):
    rng = np.random.default_rng(0)
    test, reference = rng.random((2, 2, 42, 44))
    test[0, 0, 0] = np.nan
    before = test.copy(), reference.copy()
    evaluate(name, test, reference)
    np.testing.assert_array_equal(test, before[0])
    np.testing.assert_array_equal(reference, before[1])


@pytest.mark.parametrize("name", PLAIN)
def test_8_bit_images_do_not_wrap_around(name):
    rng = np.random.default_rng(0)
    test, reference = rng.integers(0, 256, (2, 42, 44), dtype=np.uint8)
    bytes_score = evaluate(name, test, reference, data_range=255)
    exact = evaluate(name, test.astype(float), reference.astype(float), data_range=255)
    np.testing.assert_array_equal(bytes_score, exact)


@pytest.mark.parametrize("name", PLAIN)
def test_mistakes_get_an_error_that_says_what_came(name):
    image = np.zeros((42, 44))
    with pytest.raises(ValueError, match=r"\(42, 44\) and \(42, 43\)"):
        evaluate(name, image, image[:, :-1])
    with pytest.raises(ValueError, match="row, column"):
        evaluate(name, image[0], image[0])
    with pytest.raises(TypeError, match="both be numpy arrays"):
        evaluate(name, image, torch.as_tensor(image))
    with pytest.raises(TypeError, match="real numbers"):
        evaluate(name, image.astype(complex), image)
    with pytest.raises(ValueError, match="mask must be bool"):
        evaluate(name, image, image, mask=image)
    with pytest.raises(ValueError, match="mask must be bool"):
        evaluate(name, image, image, mask=np.ones((3, 4), dtype=bool))
    with pytest.raises(ValueError, match="dtype must be"):
        evaluate(name, image, image, dtype="float16")


@pytest.mark.parametrize("data_range", [0, -1, np.nan, np.inf])
@pytest.mark.parametrize("name", ["psnr", "ssim", "vif", "vifp", "rmse", "mse", "nqm"])
def test_a_range_that_is_no_positive_number_is_refused(name, data_range):
    with pytest.raises(ValueError, match="data_range"):
        evaluate(name, np.ones((42, 44)), np.ones((42, 44)), data_range=data_range)


@pytest.mark.parametrize("spec", builtin_metrics(), ids=lambda spec: spec.name)
def test_every_spec_leads_to_a_function_with_the_promised_signature(spec):
    function = resolve_target(spec.target)
    parameters = inspect.signature(function).parameters
    assert set(spec.params) <= set(parameters)
    if spec.kind == "full-reference":
        assert list(parameters)[:2] == ["test", "reference"]
        assert {"data_range", "mask"} <= set(parameters)
        assert getattr(metrics, spec.name) is function
        module = import_module(spec.target.partition(":")[0])
        assert "mask" in inspect.signature(module.why_undefined).parameters


def test_importing_the_metrics_imports_no_torch_and_no_scipy():
    code = (
        "import sys, msibench.metrics, msibench.metrics.specs; "
        "assert callable(msibench.metrics.psnr); "
        "assert not {'torch', 'scipy', 'piq'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("spec", REFERENCE_METRICS, ids=lambda spec: spec.name)
def test_the_examples_in_the_docstrings_run(spec):
    module = import_module(spec.target.partition(":")[0])
    results = doctest.testmod(module)
    assert results.failed == 0
    if not spec.weights:
        assert results.attempted > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", PLAIN)
def test_a_gpu_gives_the_same_numbers_and_keeps_the_tensors(name):
    rng = np.random.default_rng(0)
    test, reference = rng.random((2, 5, 61, 70))
    tensors = [torch.as_tensor(images, device="cuda") for images in (test, reference)]
    values = evaluate(name, *tensors)
    assert values.device.type == "cuda"
    np.testing.assert_allclose(values.cpu().numpy(), evaluate(name, test, reference), rtol=1e-9)


@pytest.mark.parametrize("name", PLAIN)
def test_one_thread_and_two_give_the_same_bytes(name):
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    test, reference = rng.random((2, 3, 131, 150))
    scores = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            scores.append(evaluate(name, test, reference).tobytes())
    assert scores[0] == scores[1]


@pytest.mark.parametrize("name", ["ssim", "vifp"])
def test_images_wider_than_a_block_score_as_piq_scores_them(name):
    piq = pytest.importorskip("piq")
    rng = np.random.default_rng(0)
    reference = rng.random((70, 301))
    test = np.clip(reference + rng.normal(0, 0.1, reference.shape), 0, 1)
    tensors = [torch.as_tensor(image)[None, None] for image in (test, reference)]
    theirs = {"ssim": piq.ssim, "vifp": piq.vif_p}[name](*tensors)
    assert float(evaluate(name, test, reference)) == pytest.approx(float(theirs), rel=1e-6)
