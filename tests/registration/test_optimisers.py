"""What the optimisers of both registrations are told, and what their numbers mean in pixels."""

import importlib
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from msibench.errors import ConfigurationError, RegistrationError
from msibench.registration import Affine, BSpline, Composite, register
from msibench.registration import torch_affine as by_torch
from msibench.registration.transform import pixel_centres

by_intensity = importlib.import_module("msibench.registration.intensity")
RNG = np.random.default_rng(0)


@pytest.fixture
def stages(monkeypatch):
    """Record every stage that runs instead of running it."""
    seen = []

    def record(target, picture, slide, start, stage, ratio, seed, mesh):
        seen.append((stage, ratio, seed, mesh))
        return Composite(start) if stage == "bspline" else start

    monkeypatch.setattr(by_intensity, "_align", record)
    return seen


def test_linear_stages_run_twice_and_the_free_form_one_once(stages):
    guide, section = RNG.random((40, 60)), RNG.random((20, 20))
    always = by_intensity.Acceptance(always=True)
    start = Affine(np.diag([2.0, 4.5]), [0.0, -15.0])
    for model, wanted in (
        ("rigid", ["rigid"] * 2),
        ("similarity", ["rigid"] * 2 + ["similarity"] * 2),
        ("bspline", ["rigid"] * 2 + ["affine"] * 2 + ["bspline"]),
    ):
        stages.clear()
        found = register(guide, section, model=model, start=start, acceptance=always)
        assert [stage for stage, *_ in stages] == wanted
        assert found.model == model
        np.testing.assert_allclose(stages[0][1], 3.0)  # the root of 2 x 4.5
        assert {(seed, mesh) for _, _, seed, mesh in stages} == {(0, (4, 4))}
    stages.clear()
    register(guide, section, start=start, acceptance=always)
    assert stages[-1][0] == "affine"


def test_what_is_too_small_singular_or_beside_the_guide_is_not_started(stages):
    guide = RNG.random((40, 40))
    search = by_intensity._search
    for shape in ((7, 30), (30, 7)):
        with pytest.raises(RegistrationError, match=f"{shape[0]} x {shape[1]} pixels is too small"):
            search(guide, RNG.random(shape), "rigid", Affine.identity(), 0, 5, (4, 4))
    search(guide, RNG.random((8, 9)), "rigid", Affine.identity(), 0, 5, (4, 4))
    tiny = Affine(1e-5 * np.eye(2), [3.0, 3.0])
    search(guide, RNG.random((8, 9)), "rigid", tiny, 0, 5, (4, 4))
    with pytest.raises(RegistrationError, match="singular"):
        search(guide, RNG.random((8, 9)), "rigid", Affine(np.ones((2, 2)), [3, 3]), 0, 5, (4, 4))
    for rows, columns in ((2, 10), (1, 19)):  # one pattern and the constant need 20 pixels
        beside = Affine(np.eye(2), [40.0 - rows, 40.0 - columns])
        if rows * columns >= 20:
            search(guide, RNG.random((20, 20)), "rigid", beside, 0, 5, (4, 4))
            continue
        with pytest.raises(RegistrationError, match="outside the guide"):
            search(guide, RNG.random((20, 20)), "rigid", beside, 0, 5, (4, 4))


def test_all_pixels_are_compared_up_to_half_a_million():
    itk = MagicMock()
    method = itk.ImageRegistrationMethod.return_value
    assert by_intensity._mutual_information(itk, np.zeros((500, 1000)), seed=3) is method
    method.SetMetricAsMattesMutualInformation.assert_called_once_with(numberOfHistogramBins=32)
    method.SetMetricSamplingStrategy.assert_called_once_with(method.NONE)
    method.SetMetricSamplingPercentage.assert_not_called()
    by_intensity._mutual_information(itk, np.zeros((1000, 1000)), seed=3)
    method.SetMetricSamplingStrategy.assert_called_with(method.RANDOM)
    method.SetMetricSamplingPercentage.assert_called_once_with(0.5, 4)  # 0 would be the clock


@pytest.mark.parametrize("stage", ["rigid", "similarity", "affine"])
def test_a_linear_stage_turns_about_the_middle_in_steps_of_one_pixel(stage):
    itk = pytest.importorskip("SimpleITK")
    method = MagicMock()
    fixed = itk.GetImageFromArray(np.zeros((11, 21), np.float32))
    change = by_intensity._change(itk, method, fixed, stage, (4, 5))
    assert change.GetCenter() == (10.0, 5.0)
    assert (
        type(change).__name__
        == {
            "rigid": "Euler2DTransform",
            "similarity": "Similarity2DTransform",
            "affine": "AffineTransform",
        }[stage]
    )
    method.SetOptimizerAsRegularStepGradientDescent.assert_called_once_with(
        learningRate=1.0,
        minStep=1e-3,
        numberOfIterations=100,
        relaxationFactor=0.5,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift.assert_called_once_with()
    method.SetInitialTransform.assert_called_once_with(change, inPlace=True)


def test_the_free_form_stage_has_the_cells_asked_for_along_rows_and_columns():
    itk = pytest.importorskip("SimpleITK")
    method = MagicMock()
    fixed = itk.GetImageFromArray(np.zeros((41, 81), np.float32))
    net = by_intensity._net(by_intensity._change(itk, method, fixed, "bspline", (4, 8)))
    assert isinstance(net, BSpline)
    assert net.coefficients.shape == (2, 7, 11)  # of order 3: three more than cells
    np.testing.assert_allclose(net.spacing, [41.25 / 4, 81.25 / 8])  # to an eighth beyond the edge
    method.SetOptimizerAsLBFGSB.assert_called_once_with(
        gradientConvergenceTolerance=1e-6, numberOfIterations=60, maximumNumberOfCorrections=5
    )


def test_a_run_has_one_thread_and_gives_the_others_back():
    itk, method = MagicMock(), MagicMock()
    itk.ProcessObject.GetGlobalDefaultNumberOfThreads.return_value = 7
    threads = itk.ProcessObject.SetGlobalDefaultNumberOfThreads
    by_intensity._execute(itk, method, "fixed", "moving", "rigid")
    method.Execute.assert_called_once_with("fixed", "moving")
    assert [call.args for call in threads.call_args_list] == [(1,), (7,)]
    method.Execute.side_effect = RuntimeError("in a file\nall samples map outside\n")
    with pytest.raises(RegistrationError, match=r"rigid .* failed \(all samples map outside\)"):
        by_intensity._execute(itk, method, "fixed", "moving", "rigid")
    assert threads.call_args.args == (7,)


def test_a_picture_is_compared_at_mean_0_and_deviation_1():
    picture = 5 + 3 * RNG.random((9, 8))
    for made in (by_intensity._standardised(picture), by_torch._picture(picture, "it")):
        np.testing.assert_allclose(made.mean(), 0, atol=1e-6)
        np.testing.assert_allclose(made.std(), 1, rtol=1e-6)
        assert np.corrcoef(made.ravel(), picture.ravel())[0, 1] == pytest.approx(1)
    with pytest.raises(RegistrationError, match="nothing that could be aligned"):
        by_intensity._standardised(np.ones((4, 4)))
    for wrong in (np.ones((4, 4)), np.full((4, 4), np.nan), RNG.random((2, 4, 4))):
        with pytest.raises(RegistrationError, match="finite picture"):
            by_torch._picture(wrong, "fixed")


# -- in PyTorch --------------------------------------------------------------------------------


@pytest.fixture
def passes(monkeypatch):
    """Record every pass of the training instead of running it."""
    seen = []
    blurs = []
    tensor = by_torch._tensor

    def soft(picture, blur, device):
        blurs.append(blur)
        return tensor(picture, blur, device)

    def record(parameters, source, target, start, loss, steps, learning_rate):
        assert torch.get_num_threads() == 1
        seen.append((*blurs, len(parameters), loss, steps, round(learning_rate, 9)))
        blurs.clear()

    monkeypatch.setattr(by_torch, "_tensor", soft)
    monkeypatch.setattr(by_torch, "_train", record)
    return seen


def test_passes_go_from_coarse_to_fine_and_the_last_one_slower(passes):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = by_torch.register_torch(RNG.random((64, 128)), RNG.random((32, 64)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert passes == [
        (2 * blur, blur, 3, "ncc", 150, rate)
        for blur, rate in ((8.0, 0.01), (4.0, 0.01), (2.0, 0.01), (0.0, 0.003))
    ]
    np.testing.assert_allclose(found.matrix, 2 * np.eye(2))  # stretched, as nothing was trained
    np.testing.assert_allclose(found([-0.5, -0.5]), [-0.5, -0.5])
    passes.clear()
    by_torch.register_torch(
        RNG.random((31, 64)), RNG.random((31, 64)), model="affine", loss="mse", steps=1
    )
    assert passes == [
        (blur, blur, 6, "mse", 1, rate) for blur, rate in ((4.0, 0.01), (2.0, 0.01), (0.0, 0.003))
    ]


def test_settings_that_train_nothing_are_refused(passes):
    picture = RNG.random((20, 20))
    for wrong in ({"steps": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}):
        with pytest.raises(ConfigurationError, match="must be positive"):
            by_torch.register_torch(picture, picture, **wrong)
    for wrong in ({"model": "bspline"}, {"loss": "mi"}):
        with pytest.raises(ConfigurationError, match="expected model rigid or affine"):
            by_torch.register_torch(picture, picture, **wrong)
    assert passes == []


def test_steps_shrink_along_a_cosine_to_a_fiftieth(monkeypatch):
    made = []
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR

    class Kept(schedule):
        def __init__(self, *words, **options):
            super().__init__(*words, **options)
            made.append(self)

    monkeypatch.setattr(torch.optim.lr_scheduler, "CosineAnnealingLR", Kept)
    parameters = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    picture = torch.from_numpy(RNG.random((1, 1, 9, 9)))
    by_torch._train(parameters, picture, picture.flip(2), Affine.identity(), "mse", 4, 0.1)
    assert made[0].base_lrs == [0.1]
    assert made[0].last_epoch == 4
    assert made[0].get_last_lr() == [pytest.approx(0.002)]
    assert parameters.detach().abs().max() > 0


def test_parameters_are_a_turn_about_the_middle_and_shifts_of_half_the_longer_side():
    quarter = torch.tensor([np.pi / 2, 0.5, -0.25], dtype=torch.float64)
    matrix, offset = by_torch._change(quarter, (11, 21))
    np.testing.assert_allclose(matrix, [[0, -1], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(matrix @ torch.tensor([5.0, 10.0]).double() + offset, [10.0, 7.5])
    free = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, -0.25], dtype=torch.float64)
    matrix, offset = by_torch._change(free, (11, 21))
    np.testing.assert_allclose(matrix, [[1.1, 0.2], [0.3, 1.4]])
    np.testing.assert_allclose(matrix @ torch.tensor([5.0, 10.0]).double() + offset, [10.0, 7.5])


@pytest.mark.parametrize("moving", [(7, 9), (12, 5), (1, 9)])
def test_the_grid_that_is_sampled_is_the_map_in_pixels(moving):
    start = Affine([[1.2, 0.1], [-0.3, 0.8]], [0.4, -0.7])
    parameters = torch.tensor([0.1, -0.2, 0.05, 0.3, 0.2, -0.1], dtype=torch.float64)
    theta = by_torch._normalised_theta(parameters, start, moving, (5, 6))
    grid = F.affine_grid(theta[None], [1, 1, 5, 6], align_corners=True)[0].numpy()
    half = np.maximum(np.array(moving) - 1, 1) / 2
    matrix, offset = (part.numpy() for part in by_torch._change(parameters, (5, 6)))
    wanted = (start @ Affine(matrix, offset))(pixel_centres((5, 6)))
    np.testing.assert_allclose((grid[..., ::-1] + 1) * half, wanted, atol=1e-12)


def test_the_two_losses_are_what_they_are_called():
    a, b = (torch.from_numpy(one) for one in RNG.random((2, 1, 1, 6, 7)))
    said = by_torch._distance(a, b, "mse")
    assert float(said) == pytest.approx(float(((a - b) ** 2).mean()))
    correlation = np.corrcoef(a.numpy().ravel(), b.numpy().ravel())[0, 1]
    for scale in (1.0, 1e-4):  # of little contrast, too
        said = by_torch._distance(scale * a + 3, scale * b - 1, "ncc")
        assert float(said) == pytest.approx(1 - correlation, abs=1e-6)
    assert float(by_torch._distance(torch.ones_like(a), b, "ncc")) == pytest.approx(1.0)
