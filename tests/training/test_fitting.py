from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from msibench.training.fitting import FitSettings, _group_size, activation_bytes, fit_ions, ion_seed

SHAPE = (12, 10)


def small_network():
    return nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 1, 3, padding=1))


class Squares:
    """Mean square error to one target per ion, over row bands."""

    terms = ("mse", "mean")

    def __init__(self, targets, parts=1):
        self.parts = parts
        self.image = torch.rand(1, 2, *SHAPE, generator=torch.Generator().manual_seed(3))
        self.targets = targets
        self.bands = np.array_split(np.arange(SHAPE[0]), parts)

    def __call__(self, network, ions, part):
        rows = self.bands[part]
        first, last = max(rows[0] - 2, 0), min(rows[-1] + 3, SHAPE[0])
        output = network(self.image[:, :, first:last])[:, 0, 0]
        own = output[:, rows[0] - first : rows[-1] + 1 - first].float()
        error = (own - self.targets[ions][:, rows]).square().sum((1, 2)) / (SHAPE[0] * SHAPE[1])
        return torch.stack((error, own.detach().mean((1, 2)) / self.parts), 1)


class Scripted:
    """A loss whose watched term follows a script, while the first one has an ordinary gradient."""

    terms = ("total", "edge")
    parts = 1

    def __init__(self, script):
        self.script, self.calls = torch.tensor(script), 0

    def __call__(self, network, ions, part):
        total = network(torch.ones(1, 2, 3, 4)).square().mean((1, 2, 3, 4))
        edge = self.script[ions, self.calls]
        self.calls += 1
        return torch.stack((total, edge), 1)


@pytest.fixture
def targets():
    return torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(7))


def plain_loop(target, image, seed, epochs, rate):
    """The fit of one ion as anybody would write it; returns parameters before the last step."""
    torch.manual_seed(seed)
    network = small_network()
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    for _ in range(epochs):
        before = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
        optimiser.zero_grad()
        loss = (network(image)[0, 0] - target).square().mean()
        loss.backward()
        optimiser.step()
    return before, float(loss.detach())


@pytest.mark.sweep
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("group", [None, 2, 5])
def test_all_ions_at_once_equal_a_plain_loop_over_them(targets, parts, group):
    objective = Squares(targets, parts)
    settings = FitSettings(epochs=30, learning_rate=0.01, restore="last", group=group)

    fits = fit_ions(small_network, objective, range(5), settings, seed=4, example=objective.image)

    for ion in range(5):
        expected, loss = plain_loop(targets[ion], objective.image, ion_seed(4, ion), 30, 0.01)
        torch.testing.assert_close(fits.parameters[ion], expected, rtol=1e-3, atol=1e-4)
        assert fits.curves[ion, -1, 0] == pytest.approx(loss, rel=1e-4)


def test_an_ion_fitted_alone_equals_the_same_ion_fitted_among_others(targets):
    objective = Squares(targets)
    settings = FitSettings(epochs=20, learning_rate=0.01, rises=2, group=5)
    together = fit_ions(
        small_network, objective, range(5), settings, seed=1, example=objective.image
    )

    alone = fit_ions(small_network, objective, [3], settings, seed=1)

    np.testing.assert_allclose(together.parameters[3], alone.parameters[0], rtol=1e-3, atol=1e-4)
    assert together.epochs[3] == alone.epochs[0]


@pytest.mark.parametrize("group", [None, 2, 5])
def test_one_thread_or_two_give_the_same_bytes(targets, group):
    objective = Squares(targets, parts=4)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(
                fit_ions(
                    small_network,
                    objective,
                    range(5),
                    FitSettings(epochs=8, group=group),
                    seed=0,
                )
            )
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0].parameters, results[1].parameters)
    assert results[0].curves.tobytes() == results[1].curves.tobytes()


def test_the_fit_of_one_ion_by_parts_runs_them_on_several_threads_with_the_same_bytes(targets):
    objective = Squares(targets, parts=4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = fit_ions(small_network, objective, [2], FitSettings(epochs=8), seed=0)
        torch.set_num_threads(1)
        one = fit_ions(small_network, objective, [2], FitSettings(epochs=8), seed=0)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one.parameters, two.parameters)


def test_an_ion_stops_at_its_total_count_of_rises_and_keeps_its_best_parameters():
    script = [
        [
            9.0,
            5.0,
            6.0,
            4.0,
            3.0,
            4.0,
            3.5,
            3.6,
            1.0,
            0.5,
        ],  # rises at 2, 5, 7: stops after 8 epochs
        [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5],
        [1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0, 0.1, 0.1, 0.1],  # rises at 1, 2, 3: stops after 4
    ]
    settings = FitSettings(epochs=10, learning_rate=0.05, watch="edge", rises=3, group=3)

    fits = fit_ions(small_network, Scripted(script), range(3), settings, seed=2)

    assert fits.epochs.tolist() == [8, 10, 4]
    assert fits.best_epoch.tolist() == [4, 9, 0]
    assert fits.rises.tolist() == [3, 0, 3]
    assert fits.stopped_early.tolist() == [True, False, True]
    assert np.isnan(fits.curves[2, 4:]).all()
    assert np.isfinite(fits.curves[2, :4]).all()
    torch.manual_seed(ion_seed(2, 2))
    untouched = nn.utils.parameters_to_vector(small_network().parameters())
    assert torch.equal(fits.parameters[2], untouched.detach())


def test_an_ion_stops_after_as_many_epochs_without_a_new_lowest_value():
    script = [
        [9.0, 5.0, 6.0, 4.0, 4.1, 4.2, 4.3, 1.0, 0.5, 0.4],  # lowest at 3: stops after 3 more
        [9.0, 8.0, 9.0, 7.0, 8.0, 6.0, 7.0, 5.0, 6.0, 4.0],  # jitters and goes on falling
        [1.0, 2.0, 3.0, 4.0, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0],  # never below its first: stops after 4
    ]
    settings = FitSettings(epochs=10, learning_rate=0.05, watch="edge", patience=3, group=3)

    fits = fit_ions(small_network, Scripted(script), range(3), settings, seed=2)

    assert fits.epochs.tolist() == [7, 10, 4]
    assert fits.best_epoch.tolist() == [3, 9, 0]
    assert fits.stopped_early.tolist() == [True, False, True]


def test_what_stays_in_the_batch_is_not_disturbed_by_what_leaves_it(targets):
    class Stopping(Squares):
        def __call__(self, network, ions, part):
            losses = super().__call__(network, ions, part)
            self.epoch = getattr(self, "epoch", -1) + 1
            rising = torch.where(ions == 1, 1.0, -1.0) * self.epoch
            return torch.stack((losses[:, 0], rising), 1)

    settings = FitSettings(
        epochs=12, learning_rate=0.01, watch="mean", rises=2, best_by="mse", group=3
    )
    fits = fit_ions(
        small_network,
        Stopping(targets),
        range(3),
        settings,
        seed=5,
        example=torch.ones(1, 2, *SHAPE),
    )

    alone = fit_ions(small_network, Stopping(targets), [2], settings, seed=5)
    assert fits.epochs.tolist() == [12, 3, 12]
    torch.testing.assert_close(fits.parameters[2], alone.parameters[0], rtol=1e-3, atol=1e-4)


def test_a_fit_that_diverges_ends_and_keeps_what_it_had(targets):
    class Exploding(Squares):
        def __call__(self, network, ions, part):
            losses = super().__call__(network, ions, part)
            self.epoch = getattr(self, "epoch", -1) + 1
            return losses * torch.tensor(float("nan")) if self.epoch == 3 else losses

    fits = fit_ions(small_network, Exploding(targets), [0], FitSettings(epochs=9), seed=0)

    assert fits.epochs.tolist() == [4]
    assert fits.best_epoch[0] < 3
    assert fits.parameters.isfinite().all()


def test_progress_counts_down_ions_and_epochs(targets):
    told = []
    objective = Squares(targets)
    fit_ions(
        small_network, objective, range(3), FitSettings(epochs=4), seed=0, progress=told.append
    )

    assert told[-1].ions_left == 0
    assert {report.ions for report in told} == {3}
    assert [report.epochs_left for report in told if report.epoch == 1] == [2, 2, 2]
    assert len(told) == 12


def test_groups_on_a_gpu_are_made_so_that_activations_keep_to_the_limit(targets):
    image = Squares(targets).image
    per_ion = activation_bytes(small_network(), image)
    settings = FitSettings(epochs=1, group_bytes=3 * per_ion + 1)

    def size(device, example, settings=settings):
        return _group_size(small_network(), example, settings, torch.device(device))

    assert per_ion >= 4 * SHAPE[0] * SHAPE[1] * (5 + 5 + 1)
    assert size("cuda", image) == 3
    assert size("cuda", None) == size("cpu", image) == 1
    assert size("cuda", image, FitSettings(epochs=1, group_bytes=1)) == 1
    assert size("cpu", image, FitSettings(epochs=1, group=4)) == 4


def test_groups_hold_the_ions_that_they_were_given(targets):
    sizes = []

    class Counting(Squares):
        def __call__(self, network, ions, part):
            sizes.append(len(ions))
            return super().__call__(network, ions, part)

    fit_ions(small_network, Counting(targets), range(5), FitSettings(epochs=1, group=2), seed=0)

    assert sorted(sizes) == [1, 2, 2]


def test_an_ion_s_identity_decides_its_seed(targets):
    objective = Squares(targets)
    settings = FitSettings(epochs=3)
    stack = fit_ions(small_network, objective, [0, 1, 2], settings, seed=0, identities=[7, 8, 9])
    alone = fit_ions(small_network, objective, [1], settings, seed=0, identities=[8])

    assert torch.equal(stack.parameters[1], alone.parameters[0])
    with pytest.raises(ValueError, match="one identity per ion"):
        fit_ions(small_network, objective, [1, 2], settings, seed=0, identities=[8])


def test_the_fitted_networks_can_be_called_for_some_ions(targets):
    objective = Squares(targets)
    fits = fit_ions(small_network, objective, range(3), FitSettings(epochs=3), seed=0)

    both = fits.network([2, 0])(objective.image)

    assert both.shape == (2, 1, 1, *SHAPE)
    torch.testing.assert_close(both[1:], fits.network([0])(objective.image))


def test_nothing_to_fit_is_no_error(targets):
    fits = fit_ions(small_network, Squares(targets), [], FitSettings(epochs=3), seed=0)

    assert fits.parameters.shape[0] == 0
    assert fits.curves.shape == (0, 0, 2)


def test_bfloat16_follows_the_loss_curve_of_float32(targets):
    curves = []
    for precision in ("float32", "bfloat16"):
        settings = FitSettings(epochs=40, learning_rate=0.01, precision=precision)
        fits = fit_ions(small_network, Squares(targets), [0], settings, seed=0)
        curves.append(fits.curves[0, :, 0])
    np.testing.assert_allclose(curves[1], curves[0], rtol=0.02)


def test_the_random_state_of_the_caller_is_left_alone(targets):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    fit_ions(small_network, Squares(targets), range(2), FitSettings(epochs=1), seed=9)

    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"epochs": 1, "rises": 0}, "rises must be at least 1"),
        ({"epochs": 1, "patience": 0}, "patience must be at least 1"),
        ({"epochs": 1, "group": 0}, "group must be at least 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        FitSettings(**change)


def test_unknown_terms_and_repeated_ions_are_refused(targets):
    with pytest.raises(ValueError, match="no loss term named 'edges'"):
        fit_ions(small_network, Squares(targets), [0], FitSettings(epochs=1, watch="edges"), seed=0)
    with pytest.raises(ValueError, match="no index twice"):
        fit_ions(small_network, Squares(targets), [1, 1], FitSettings(epochs=1), seed=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_compiled_batch_on_a_gpu_equals_the_cpu(targets):
    objective = Squares(targets)
    settings = FitSettings(epochs=10)
    on_cpu = fit_ions(small_network, objective, range(5), settings, seed=0)
    objective.image, objective.targets = objective.image.cuda(), objective.targets.cuda()
    on_gpu = fit_ions(
        small_network,
        objective,
        range(5),
        replace(settings, device="cuda"),
        seed=0,
        example=objective.image,
    )
    np.testing.assert_allclose(on_gpu.curves, on_cpu.curves, rtol=1e-2)
