"""What every method promises, one plain function per promise; each raises AssertionError if broken.

`NotCheckableError` is raised where a promise cannot be tried: weights that are not here, or a
problem that the method declines with a reason.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import Restorable, Uncertain
from msibench.image import Interval, Problem, Skip
from msibench.testing.subject import NotCheckableError, Subject
from msibench.testing.watch import watched, written_outside

TOLERANCE = 1e-4
"""Relative to the largest intensity: what batching may change in the last bits of float32."""


def check_output_grid(subject: Subject) -> None:
    """Every ion image comes back `factor` times finer along both axes."""
    problem = subject.problem()
    _sound(subject.upscale(problem), problem)


def check_dtype(subject: Subject) -> None:
    """The result is a plain float32 array."""
    assert subject.upscale(subject.problem()).dtype == np.float32


def check_odd_sizes(subject: Subject) -> None:
    """Sides that are odd and differ are not a special case."""
    rows, columns = subject.low_shape
    problem = subject.problem(shape=(rows + 1, columns + 3))
    _sound(subject.upscale(problem), problem)


def check_tiny_sizes(subject: Subject) -> None:
    """A section of 3 x 5 coarse pixels works, or is declined with a reason."""
    problem = subject.problem(shape=(3, 5))
    _sound(subject.upscale(problem), problem)


def check_one_channel(subject: Subject) -> None:
    """One ion image is a stack too."""
    problem = subject.problem(channels=1)
    _sound(subject.upscale(problem), problem)


def check_many_channels(subject: Subject) -> None:
    """A dozen ion images come back in their order."""
    problem = subject.problem(channels=12)
    _sound(subject.upscale(problem), problem)


def check_all_zero_image(subject: Subject) -> None:
    """The image of an absent ion is finite and stays empty."""
    problem = subject.problem(content="zero")
    fine = subject.upscale(problem)
    _sound(fine, problem)
    assert np.abs(fine).max() <= 1e-3, f"nothing came in, up to {np.abs(fine).max():.3g} came out"


def check_constant_image(subject: Subject) -> None:
    """An ion that is the same everywhere is finite."""
    problem = subject.problem(content="constant")
    _sound(subject.upscale(problem), problem)


def check_sparse_image(subject: Subject) -> None:
    """A few lone pixels are finite."""
    problem = subject.problem(content="sparse")
    _sound(subject.upscale(problem), problem)


def check_pixels_not_measured(subject: Subject) -> None:
    """NaN where nothing was measured does not spread over the section."""
    problem = subject.problem(not_measured=True)
    _sound(subject.upscale(problem), problem)


def check_intensity_unit(subject: Subject) -> None:
    """A thousand times the intensity gives a thousand times the result: the unit is kept."""
    problem = subject.problem()
    louder = replace(problem, low=replace(problem.low, values=problem.low.values * 1000))
    fine, loud = subject.upscale(problem), subject.upscale(louder)
    close = np.abs(loud - 1000 * fine).max() <= 1e-2 * 1000 * max(float(fine.max()), 1e-6)
    assert close, "the result does not scale with the intensities of the low image"


def check_never_negative(subject: Subject) -> None:
    """Intensities cannot be negative, unless the spec says that the method may undershoot."""
    if not subject.spec.never_negative:
        raise NotCheckableError("the spec says that results may be negative")
    lowest = float(subject.upscale(subject.problem(content="sparse")).min())
    assert lowest >= 0, f"down to {lowest:.3g}"


def check_input_untouched(subject: Subject) -> None:
    """The harness hands one problem to many methods."""
    problem, same = subject.problem(), subject.problem()
    subject.upscale(problem)
    np.testing.assert_array_equal(problem.low.values, same.low.values)
    if problem.guide is not None and same.guide is not None:
        np.testing.assert_array_equal(problem.guide.values, same.guide.values)
    if problem.second is not None and same.second is not None:
        np.testing.assert_array_equal(problem.second.values, same.second.values)


def check_same_seed_same_bytes(subject: Subject) -> None:
    """Two runs with one seed are equal to the last bit."""
    first = subject.upscale(subject.problem(seed=3))
    second = subject.upscale(subject.problem(seed=3))
    assert first.tobytes() == second.tobytes(), "two runs with one seed differ"


def check_batch_equals_one_by_one(subject: Subject) -> None:
    """An ion image does not depend on which others are in the stack."""
    problem = subject.problem(channels=3)
    together = subject.upscale(problem)
    for channel in range(problem.low.channels):
        alone = subject.upscale(replace(problem, low=problem.low.select([channel])))
        limit = TOLERANCE * max(float(np.abs(together[channel]).max()), 1e-6)
        off = float(np.abs(alone[0] - together[channel]).max())
        assert off <= limit, f"channel {channel} differs by {off:.3g} (limit {limit:.3g})"


def check_writes_only_into_its_folder(subject: Subject) -> None:
    """A method writes into ``problem.scratch`` or nowhere."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        problem = subject.problem(scratch=scratch)
        subject.upscale(problem)  # the first call may fill caches of libraries
        with watched() as seen:
            subject.upscale(problem)
        outside = written_outside(seen, scratch)
    assert not outside, f"wrote outside its folder: {', '.join(outside[:3])}"


def check_opens_no_socket(subject: Subject) -> None:
    """A method does not talk to the network."""
    with watched() as seen:
        subject.upscale(subject.problem())
    sockets = [what for kind, what in seen if kind == "socket"]
    assert not sockets, f"used the network: {', '.join(sockets[:3])}"


def check_learns_again_the_same(subject: Subject) -> None:
    """A method that learns gives the same again: fitted anew, and restored from what it learned."""
    if not subject.spec.trainable:
        raise NotCheckableError("it does not learn from other sections")
    problem = subject.problem()
    fitted = subject.ready()
    first = np.asarray(fitted.upscale(problem))
    again = np.asarray(subject.ready().upscale(problem))
    assert first.tobytes() == again.tobytes(), "two fits with one seed differ"
    if not isinstance(fitted, Restorable):
        return
    learned = {name: np.array(values) for name, values in fitted.learned().items()}
    restored = subject.build()
    restored.restore(learned)
    told = np.asarray(restored.upscale(problem))
    assert told.tobytes() == first.tobytes(), "restored from what it learned, it gives other images"


def check_declines_without_its_guide(subject: Subject) -> None:
    """A fusion method without a guide declines with a reason instead of failing."""
    problem = subject.problem()
    if problem.guide is None and problem.second is None:
        raise NotCheckableError("it needs no guide")
    result = subject.ready().upscale(replace(problem, guide=None, second=None))
    assert isinstance(result, Skip), "expected Skip(reason) where the guide is missing"
    assert result.reason.strip(), "a Skip must carry its reason"


def check_interval_holds_the_prediction(subject: Subject) -> None:
    """A method's interval fits its own prediction and never has zero width."""
    problem = subject.problem()
    told = _interval(subject, problem, 0.9)
    fine = subject.upscale(problem)
    for name in ("prediction", "lower", "upper"):
        image = np.asarray(getattr(told, name))
        assert image.dtype == np.float32, f"{name} is {image.dtype}, expected float32"
        _sound(image, problem)
    assert told.prediction.tobytes() == fine.tobytes(), "its prediction is not that of upscale"
    assert (told.lower <= told.prediction).all(), "lower lies above the prediction"
    assert (told.prediction <= told.upper).all(), "upper lies below the prediction"
    certain = int(np.count_nonzero(told.lower == told.upper))
    assert not certain, f"{certain} intervals have no width: nothing is known for certain"
    if subject.spec.never_negative:
        assert told.lower.min() >= 0, f"lower goes down to {told.lower.min():.3g}"


def check_interval_widens_with_its_level(subject: Subject) -> None:
    """To hold more of the truth an interval must be wider, and one seed gives the same bytes."""
    problem = subject.problem(seed=3)
    narrow, wide = (_interval(subject, problem, level) for level in (0.5, 0.99))
    assert (narrow.lower >= wide.lower).all(), "the interval of 99 % does not hold that of 50 %"
    assert (narrow.upper <= wide.upper).all(), "the interval of 99 % does not hold that of 50 %"
    assert (narrow.upper < wide.upper).any(), "50 % and 99 % have one interval"
    again = _interval(subject, problem, 0.99)
    assert again.lower.tobytes() == wide.lower.tobytes(), "two runs with one seed differ"
    assert again.upper.tobytes() == wide.upper.tobytes(), "two runs with one seed differ"


METHOD_CHECKS: tuple[Callable[[Subject], None], ...] = (
    check_output_grid,
    check_dtype,
    check_odd_sizes,
    check_tiny_sizes,
    check_one_channel,
    check_many_channels,
    check_all_zero_image,
    check_constant_image,
    check_sparse_image,
    check_pixels_not_measured,
    check_intensity_unit,
    check_never_negative,
    check_input_untouched,
    check_same_seed_same_bytes,
    check_batch_equals_one_by_one,
    check_writes_only_into_its_folder,
    check_opens_no_socket,
    check_learns_again_the_same,
    check_declines_without_its_guide,
    check_interval_holds_the_prediction,
    check_interval_widens_with_its_level,
)


def _interval(subject: Subject, problem: Problem, level: float) -> Interval:
    method = subject.ready()
    if not isinstance(method, Uncertain):
        raise NotCheckableError("it provides no interval of its own")
    told = method.interval(problem, level=level)
    if isinstance(told, Skip):
        raise NotCheckableError(f"skipped by the method: {told.reason}")
    return told


def _sound(fine: NDArray[np.float32], problem: Problem) -> None:
    expected = (problem.low.channels, *problem.fine_shape)
    assert fine.shape == expected, f"expected shape {expected}, got {fine.shape}"
    unsound = int(np.count_nonzero(~np.isfinite(fine)))
    assert not unsound, f"{unsound} of {fine.size} values are NaN or infinite"
