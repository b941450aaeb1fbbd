"""Held against torch.optim to the bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from msibench.training.adam import Adam

SHAPES = [(3, 5), (17,), (2, 3, 3, 3), ()]


def first_values():
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in SHAPES]


def step_both(ours, reference, steps=7, quiet=()):
    generator = torch.Generator().manual_seed(5)
    for number in range(steps):
        for place, (mine, theirs) in enumerate(
            zip(ours.parameters, reference.param_groups[0]["params"], strict=True)
        ):
            gradient = torch.randn(mine.shape, generator=generator)
            mine.grad = None if (number, place) in quiet else gradient
            theirs.grad = None if (number, place) in quiet else gradient.clone()
        ours.step()
        reference.step()
    return ours.parameters, reference.param_groups[0]["params"]


@pytest.mark.parametrize("decay", [0.0, 0.04])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.99)])
def test_it_moves_as_torch_does_to_the_bit(decay, decoupled, betas):
    ours = Adam(
        first_values(), learning_rate=3e-3, betas=betas, weight_decay=decay, decoupled=decoupled
    )
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    reference = kind(first_values(), lr=3e-3, betas=betas, weight_decay=decay)
    mine, theirs = step_both(ours, reference)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_a_parameter_without_a_gradient_rests_and_its_steps_are_its_own():
    quiet = {(0, 1), (3, 1), (4, 2)}
    ours = Adam(first_values(), learning_rate=1e-2)
    mine, theirs = step_both(ours, torch.optim.Adam(first_values(), lr=1e-2), quiet=quiet)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_the_rate_may_change_between_steps():
    ours, reference = (
        Adam(first_values(), learning_rate=1e-2),
        torch.optim.Adam(first_values(), lr=1e-2),
    )
    step_both(ours, reference)
    ours.learning_rate = reference.param_groups[0]["lr"] = 1e-4
    mine, theirs = step_both(ours, reference)
    np.testing.assert_array_equal(mine[0].detach().numpy(), theirs[0].detach().numpy())


def test_no_gradient_is_left_after_zero_grad():
    ours = Adam(first_values(), learning_rate=1e-2)
    for parameter in ours.parameters:
        parameter.grad = torch.ones_like(parameter)
    ours.zero_grad()
    assert all(parameter.grad is None for parameter in ours.parameters)


def test_it_goes_on_from_what_it_and_torch_remember():
    quiet = {(step, 2) for step in range(7)}  # one parameter that has not moved yet
    whole = Adam(first_values(), learning_rate=1e-2)
    torchs = torch.optim.Adam(first_values(), lr=1e-2)
    step_both(whole, torchs, quiet=quiet)
    remembered = torchs.state_dict()
    for state in (whole.state(), remembered["state"]):
        assert sorted(state) == [0, 1, 3]
        mine, theirs = (
            [x.detach().clone().requires_grad_() for x in whole.parameters] for _ in range(2)
        )
        resumed = Adam(mine, learning_rate=1e-2)
        resumed.load_state(state)
        reference = torch.optim.Adam(theirs, lr=1e-2)
        reference.load_state_dict(copy.deepcopy(remembered))
        step_both(resumed, reference)
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
