"""Metrics that look at all ions of a section: read in parts they say what they say of the whole."""

from importlib import import_module

import numpy as np
import pytest

from msibench.contracts.metric import Evaluation, SectionParts
from msibench.image import as_stack

colocalisation, noise_ceiling, spectral_angle = (
    import_module(f"msibench.metrics.{name}")
    for name in ("colocalisation", "noise_ceiling", "spectral_angle")
)
RNG = np.random.default_rng(0)
SHAPE = (5, 21, 16)


def cell(prediction, truth, mask=None, **facts):
    return Evaluation(
        prediction=prediction, truth=as_stack(truth, mask=mask), low=as_stack(truth), factor=1,
        degrade=lambda fine: fine, **facts,
    )  # fmt: skip


def in_parts(prediction, truth, mask=None, *, group=2, band=6, **facts):
    channels, rows, columns = truth.shape

    def ions(chosen):
        some = {name: values[chosen] for name, values in facts.items()}
        return cell(prediction[chosen], truth[chosen], mask, **some)

    def read(part):
        assert 0 <= part.start < part.stop <= rows
        return prediction[:, part], truth[:, part]

    def cut(length, step):
        return tuple(slice(at, min(at + step, length)) for at in range(0, length, step))

    return SectionParts(
        channels=channels, shape=(rows, columns), mask=mask, groups=cut(channels, group),
        bands=cut(rows, band), ions=ions, rows=read,
    )  # fmt: skip


def section(channels=SHAPE[0]):
    truth = RNG.poisson(3.0, SHAPE).astype(np.float32)[:channels]
    prediction = np.maximum(truth + RNG.normal(0, 1, truth.shape), 0).astype(np.float32)
    return prediction, truth


def same(parts, whole, *, atol=0.0):
    np.testing.assert_allclose(parts.values, whole.values, rtol=0, atol=atol)
    assert parts.reasons == whole.reasons
    assert parts.curves.keys() == whole.curves.keys()
    for name, curve in whole.curves.items():
        np.testing.assert_allclose(parts.curves[name], curve, rtol=0, atol=atol)


@pytest.mark.parametrize("band", [1, 6, 7, 30])
def test_colocalisation_sums_band_by_band(band):
    prediction, truth = section()
    truth[2] = 0
    prediction[3, 4, 5] = np.nan
    parts = colocalisation.evaluate_in_parts(in_parts(prediction, truth, band=band))
    whole = colocalisation.evaluate(cell(prediction, truth))
    np.testing.assert_allclose(parts.values, whole.values, rtol=0, atol=1e-12)
    assert parts.reasons == whole.reasons
    assert "keeps no pixel" in parts.reasons[2]
    assert "NaN" in parts.reasons[3]
    sound = [0, 1, 2, 4]  # the image that is not finite counts as empty in the curves
    for name in ("truth", "prediction"):
        rows = np.ix_(sound, sound)
        np.testing.assert_allclose(parts.curves[name][rows], whole.curves[name][rows], atol=1e-12)
        assert not parts.curves[name][3].any()


def test_colocalisation_of_one_ion_is_undefined_in_parts_too():
    prediction, truth = section(1)
    same(
        colocalisation.evaluate_in_parts(in_parts(prediction, truth)),
        colocalisation.evaluate(cell(prediction, truth)),
        atol=1e-12,
    )


@pytest.mark.parametrize("size", [1e-3, 1.0])
def test_two_faint_ions_are_enough(size):
    prediction, truth = (np.float32(size) * one for one in section(2))
    whole = colocalisation.evaluate(cell(prediction, truth))
    same(colocalisation.evaluate_in_parts(in_parts(prediction, truth)), whole, atol=1e-12)
    assert whole.reasons == ("", "")
    change = abs(np.subtract(*(whole.curves[name][0, 1] for name in ("truth", "prediction"))))
    np.testing.assert_allclose(whole.values, change)
    prediction[1, 2, 3:6] = np.nan, np.inf, -np.inf  # count as nothing in the curves
    filled = prediction.copy()
    filled[1, 2, 3:6] = 0
    found = colocalisation.evaluate(cell(prediction, truth)).curves["prediction"]
    np.testing.assert_array_equal(found, colocalisation.colocalisation_matrix(filled))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("channels", [1, 5])
def test_the_spectral_angle_is_that_of_every_pixel(masked, channels):
    prediction, truth = section(channels)
    truth[:, 3, :5] = 0  # not measured
    prediction[:, 7, 2:6] = 0  # lost: 90 degrees each
    mask = RNG.random(SHAPE[1:]) > 0.4 if masked else None
    parts = spectral_angle.evaluate_in_parts(in_parts(prediction, truth, mask))
    same(parts, spectral_angle.evaluate(cell(prediction, truth, mask)))
    if channels > 1:
        angle = spectral_angle.spectral_angle(prediction, truth)
        inside = np.any(truth != 0, axis=0) & (True if mask is None else mask)
        assert parts.values[0] == pytest.approx(np.nan_to_num(angle, nan=90.0)[inside].mean())
    nothing = np.zeros_like(truth)
    same(
        spectral_angle.evaluate_in_parts(in_parts(prediction, nothing, mask)),
        spectral_angle.evaluate(cell(prediction, nothing, mask)),
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("known", ["signal", "counts", "few", "nothing"])
def test_the_noise_ceiling_is_the_same_to_the_last_bit(known, masked):
    prediction, truth = section()
    truth = truth / truth.max()
    truth[4, 0, 0] = np.nan
    mask = RNG.random(SHAPE[1:]) > 0.1 if masked else None
    facts, source = {
        "signal": ({"noise_free": truth * np.float32(0.9)}, [0] * 5),
        "counts": ({"counts_per_unit": np.array([9.0, np.nan, 0.0, 12.0, 5.0])}, [1, 2, 2, 1, 1]),
        "few": ({"counts_per_unit": np.array([np.nan, 0.0, 0.5, 12.0, -1.0])}, [2, 2, 1, 1, 2]),
        "nothing": ({}, [2] * 5),
    }[known]
    whole = noise_ceiling.evaluate(cell(prediction, truth, mask, **facts))
    same(noise_ceiling.evaluate_in_parts(in_parts(prediction, truth, mask, **facts)), whole)
    assert list(whole.curves["source"]) == source
    assert list(whole.reasons) == ["", "", "", "", "a pixel is NaN or infinite"]
