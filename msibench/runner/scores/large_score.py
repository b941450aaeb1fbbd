"""Score a section that memory should not hold: a few ion images, or a few rows, at a time.

Metrics of one ion image get groups of images, each group read once for all of them; the values are those
of the whole section to the last bit. Metrics that look at all ion images together read it in parts
themselves (``evaluate_in_parts``), or say that they cannot.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.metric import MetricSpec, Scored, SectionParts
from msibench.errors import PluginError
from msibench.io.stored_stack import bands, groups
from msibench.plugin_manager import resolve_target
from msibench.results.store import empty_rows
from msibench.runner.problems.stage import Staged
from msibench.runner.scores import score as scorer

if TYPE_CHECKING:
    import pandas as pd

WHOLE_GIB = 3.0
"""Memory that a metric may take that needs a whole section; ``MSIBENCH_SCORE_GIB`` moves it."""
BYTES_PER_VALUE = 40
"""What such a metric takes per value of the prediction: both stacks in double precision, and as much
again and a half for its own work."""


def score_in_parts(
    prediction: NDArray[np.float32], staged: Staged, metrics: Iterable[MetricSpec], *, seed: int = 0
) -> pd.DataFrame:
    """Compute every metric of one prediction; see `msibench.runner.scores.score.score`."""
    import pandas as pd

    chosen = [spec for spec in metrics if scorer.applies(spec, staged)]
    border = staged.protocol.border
    found: dict[tuple[str, str], list[tuple[scorer.Values, list[str]]]] = {}
    alone = [spec for spec in chosen if spec.each_ion_alone or spec.kind == "full-reference"]
    for group in groups(prediction.shape):
        part = some_ions(staged, group)
        values = prediction[group]
        for spec in alone:
            for region, mask in scorer.regions_of(spec, staged, border):
                found.setdefault((spec.name, region), []).append(
                    scorer.compute(spec, values, part, mask, border, seed)
                )
    parts = parts_of(prediction, staged, seed)
    frames = []
    for spec in chosen:
        for region, _ in scorer.regions_of(spec, staged, border):
            if spec not in alone:
                found[spec.name, region] = [_together(spec, prediction, staged, parts, seed)]
            pieces = found[spec.name, region]
            numbers = np.concatenate([piece[0] for piece in pieces])
            reasons = [reason for piece in pieces for reason in piece[1]]
            frames.append(scorer.frame(spec, region, numbers, reasons, staged.low.mz))
    return pd.concat(frames, ignore_index=True) if frames else empty_rows()


def some_ions(staged: Staged, group: slice) -> Staged:
    """Return what is known of some ion images, as arrays."""

    def cut(values: Any) -> Any:
        return None if values is None else np.asarray(values[group])

    return replace(
        staged,
        truth=None if staged.truth is None else staged.truth.select(group),
        low=staged.low.select(group),
        scale=staged.scale[group],
        counts_per_unit=cut(staged.counts_per_unit),
        noise_free=cut(staged.noise_free),
        again=scorer.again(staged, group),
        repeats={
            place: staged.repeats[channel]
            for place, channel in enumerate(range(len(staged.scale))[group])
            if channel in staged.repeats
        },
    )


def parts_of(prediction: NDArray[np.float32], staged: Staged, seed: int) -> SectionParts:
    """Return a section as a metric reads it in parts."""
    truth = staged.truth

    def rows(band: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        assert truth is not None
        return np.asarray(prediction[:, band]), np.asarray(truth.values[:, band])

    return SectionParts(
        channels=len(prediction),
        shape=(prediction.shape[1], prediction.shape[2]),
        mask=None if truth is None else truth.mask,
        groups=tuple(groups(prediction.shape)),
        bands=tuple(bands(prediction.shape)),
        ions=lambda group: scorer.evaluation_of(
            prediction[group], some_ions(staged, group), seed=seed
        ),
        rows=rows,
        seed=seed,
    )


def _together(
    spec: MetricSpec,
    prediction: NDArray[np.float32],
    staged: Staged,
    parts: SectionParts,
    seed: int,
) -> tuple[scorer.Values, list[str]]:
    """Compute a metric that looks at all ion images."""
    count = 1 if spec.regions == ("section",) else len(prediction)
    try:
        in_parts = _in_parts(spec)
        if in_parts is not None:
            scored = in_parts(parts, **spec.params)
            return np.asarray(scored.values, dtype=np.float64), list(scored.reasons)
        wanted = prediction.size * BYTES_PER_VALUE / 2**30
        room = float(os.environ.get("MSIBENCH_SCORE_GIB", WHOLE_GIB))
        if wanted > room:
            reason = (
                f"not computed: it looks at all {len(prediction)} ion images together, which takes "
                f"about {wanted:.1f} GiB; MSIBENCH_SCORE_GIB allows {room:g}"
            )
            return np.full(count, np.nan), [reason] * count
        whole = some_ions(staged, slice(None))
        return scorer.compute(
            spec, np.asarray(prediction), whole, None, staged.protocol.border, seed
        )
    except Exception as error:
        message = f"metric failed: {type(error).__name__}: {error}"[:300]
        return np.full(count, np.nan), [message] * count


def _in_parts(spec: MetricSpec) -> Callable[..., Scored] | None:
    """Return the metric's own way to read a section in parts, where its module offers one."""
    with suppress(PluginError):
        return resolve_target(f"{spec.target.rpartition(':')[0]}:evaluate_in_parts")
    return None
