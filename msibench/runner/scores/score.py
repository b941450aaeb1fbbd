"""From a prediction and the truth to metric rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.metric import Evaluation, Intervals, MetricSpec, Scored, SectionParts
from msibench.errors import MissingWeightsError, PluginError
from msibench.io.stored_stack import bands, groups
from msibench.plugin_manager import resolve_target
from msibench.results.keys import digest_of
from msibench.results.metric_rows import ROW_COLUMNS, empty_rows
from msibench.results.problems import Staged
from msibench.scoring.cube import NOTHING_PRESENT
from msibench.weights import find as find_weight

if TYPE_CHECKING:
    import pandas as pd

LACKED = "weights-missing"
"""How the reason of a value begins for which a pretrained file is not here."""
WHOLE_SECTION = -1
"""Channel of a value that belongs to the section rather than to one ion image."""
WHOLE_GIB = 3.0
"""Memory that a metric may take that needs a whole large section; ``MSIBENCH_SCORE_GIB`` moves it."""

Values = NDArray[np.float64]


def score(
    prediction: NDArray[np.float32],
    staged: Staged,
    metrics: Iterable[MetricSpec],
    *,
    seed: int = 0,
    intervals: Intervals | None = None,
) -> pd.DataFrame:
    """Compute every metric of one prediction, and of its intervals.

    Metrics of one ion image get groups of images, each group read once for all of them; a small section is
    one group, and the values are those of the whole section to the last bit. Metrics that look at all ion
    images together read a large section in parts themselves (``evaluate_in_parts``), or say that they
    cannot. A metric that fails costs its own rows: they are NaN and say why. A metric that does not apply
    (no truth, no guide) has no rows.

    Returns
    -------
    Columns of ``metrics.parquet``, one row per ion image, metric and region.
    """
    import pandas as pd

    chosen = [spec for spec in metrics if applies(spec, staged)]
    border, cut = staged.protocol.border, groups(prediction.shape)
    grouped = [spec for spec in chosen if len(cut) == 1 or _one_ion_at_a_time(spec)]
    found: dict[tuple[str, str], list[tuple[Values, list[str]]]] = {}
    nothing: list[NDArray[np.bool_]] = []
    for group in cut:
        values, part = np.asarray(prediction[group]), staged.some_ions(group)
        nothing.append(nothing_present(part))
        known = None if intervals is None else intervals.some_ions(group)
        evaluation = evaluation_of(values, part, seed=seed, intervals=known)
        for spec in grouped:
            for region, mask in regions_of(spec, staged, border):
                found.setdefault((spec.name, region), []).append(
                    compute(spec, evaluation, mask, border)
                )
    parts = []
    for spec in chosen:
        for region, _ in regions_of(spec, staged, border):
            pieces = found.get((spec.name, region)) or [_together(spec, prediction, staged, seed)]
            numbers = np.concatenate([piece[0] for piece in pieces])
            reasons = [reason for piece in pieces for reason in piece[1]]
            numbers, reasons = without_nothing(numbers, reasons, np.concatenate(nothing))
            parts.append(columns_of(spec, region, numbers, reasons, staged.low.mz))
    if not parts:
        return empty_rows()
    whole = {name: np.concatenate([part[name] for part in parts]) for name in ROW_COLUMNS}
    return pd.DataFrame(whole).astype(ROW_COLUMNS)


def nothing_present(staged: Staged) -> NDArray[np.bool_]:
    """Return for each ion image whether its truth is zero everywhere; ``(0,)`` where no truth is known."""
    if staged.truth is None:
        return np.zeros(0, dtype=np.bool_)
    return np.asarray(~np.asarray(staged.truth.values).any(axis=(1, 2)))


def without_nothing(
    values: Values, reasons: list[str], nothing: NDArray[np.bool_]
) -> tuple[Values, list[str]]:
    """Remove the values of ion images on which nothing is present."""
    if len(values) != len(nothing) or not nothing.any():
        return values, reasons
    said = [NOTHING_PRESENT if no else why for no, why in zip(nothing, reasons, strict=True)]
    return np.where(nothing, np.nan, values), said


def _one_ion_at_a_time(spec: MetricSpec) -> bool:
    """Whether a value for an ion image does not depend on the other images."""
    return spec.each_ion_alone or spec.kind == "full-reference"


def _together(
    spec: MetricSpec, prediction: NDArray[np.float32], staged: Staged, seed: int
) -> tuple[Values, list[str]]:
    """Compute a metric that looks at all ion images of a large section."""
    count = 1 if spec.regions == ("section",) else len(prediction)
    try:
        in_parts = _in_parts(spec)
        if in_parts is not None:
            scored = in_parts(section_parts(prediction, staged, seed), **spec.params)
            return np.asarray(scored.values, dtype=np.float64), list(scored.reasons)
        wanted = prediction.size * spec.bytes_per_value / 2**30
        room = float(os.environ.get("MSIBENCH_SCORE_GIB", WHOLE_GIB))
        if wanted > room:
            reason = (
                f"not computed: it looks at all {len(prediction)} ion images together, which takes "
                f"about {wanted:.1f} GiB; MSIBENCH_SCORE_GIB allows {room:g}"
            )
            return np.full(count, np.nan), [reason] * count
        whole = staged.some_ions(slice(None))
        evaluation = evaluation_of(np.asarray(prediction), whole, seed=seed)
        return compute(spec, evaluation, None, staged.protocol.border)
    except Exception as error:
        message = f"metric failed: {type(error).__name__}: {error}"[:300]
        return np.full(count, np.nan), [message] * count


def _in_parts(spec: MetricSpec) -> Callable[..., Scored] | None:
    """Return the metric's own way to read a section in parts, where its module offers one."""
    with suppress(PluginError):
        return resolve_target(f"{spec.target.rpartition(':')[0]}:evaluate_in_parts")
    return None


def section_parts(prediction: NDArray[np.float32], staged: Staged, seed: int) -> SectionParts:
    """Return a section as a metric reads it in parts."""
    truth = staged.truth

    def rows(band: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        assert truth is not None
        return np.asarray(prediction[:, band]), np.asarray(truth.values[:, band])

    return SectionParts(
        channels=len(prediction),
        shape=(prediction.shape[1], prediction.shape[2]),
        mask=staged.mask,
        groups=tuple(groups(prediction.shape)),
        bands=tuple(bands(prediction.shape)),
        ions=lambda group: evaluation_of(prediction[group], staged.some_ions(group), seed=seed),
        rows=rows,
        seed=seed,
    )


def score_key(spec: MetricSpec, region: str, prediction_digest: str, truth_digest: str) -> str:
    """Return the key of one metric of one prediction: corrected metrics have another."""
    return digest_of(
        {
            "metric": spec.name,
            "version": spec.version,
            "params": dict(spec.params),
            "region": region,
            "prediction": prediction_digest,
            "truth": truth_digest,
        }
    )


def score_keys(
    metrics: Iterable[MetricSpec], staged: Staged, prediction_digest: str
) -> dict[str, str]:
    """Return the score key of every metric and region that applies to a problem."""
    return {
        f"{spec.name}@{region}": score_key(spec, region, prediction_digest, staged.digest)
        for spec in metrics
        if applies(spec, staged)
        for region, _ in regions_of(spec, staged, staged.protocol.border)
    }


def evaluation_of(
    prediction: NDArray[np.float32],
    staged: Staged,
    *,
    seed: int = 0,
    intervals: Intervals | None = None,
) -> Evaluation:
    """Return all that a contextual metric may look at."""
    return Evaluation(
        prediction=prediction,
        truth=staged.truth,
        low=staged.low,
        factor=staged.protocol.factor,
        degrade=staged.protocol.degrade,
        split=staged.protocol.split,
        guide=staged.guide,
        counts_per_unit=staged.counts_per_unit,
        noise_free=staged.noise_free,
        uncharted=staged.uncharted,
        repeat=staged.second_measurement(slice(None)),
        repeat_shares=tuple(
            staged.repeats.get(channel, (channel, ""))[1] for channel in range(len(prediction))
        ),
        interval=None if intervals is None else intervals.told,
        calibrated=None if intervals is None else intervals.calibrated,
        not_calibrated="" if intervals is None else intervals.not_calibrated,
        seed=seed,
    )


def applies(spec: MetricSpec, staged: Staged) -> bool:
    """Whether everything that a metric needs is available."""
    there: Mapping[str, object] = {
        "truth": staged.truth,
        "low": staged.low,
        "guide": staged.guide,
        "counts": staged.counts_per_unit,
        "noise_free": staged.noise_free,
        "uncharted": staged.uncharted,
        "mask": staged.mask,
    }
    return all(there.get(need) is not None for need in spec.needs)


def regions_of(
    spec: MetricSpec, staged: Staged, border: int
) -> list[tuple[str, NDArray[np.bool_] | None]]:
    """Return where a metric is computed: a name and the pixels, None for all."""
    mask = staged.mask
    regions: list[tuple[str, NDArray[np.bool_] | None]] = []
    for region in spec.regions:
        if region in {"image", "section"}:
            regions.append((region, None))
        elif mask is not None:
            regions.append((region, _without_border(mask, border)))
    return regions


def compute(
    spec: MetricSpec, evaluation: Evaluation, mask: NDArray[np.bool_] | None, border: int
) -> tuple[Values, list[str]]:
    """Compute one metric in one region: a value and a reason (empty where it is defined) per ion image."""
    prediction = evaluation.prediction
    channels = prediction.shape[0]
    pixels = prediction.shape[1] * prediction.shape[2]
    if spec.largest_image is not None and pixels > spec.largest_image:
        reason = (
            f"not computed: an image of {prediction.shape[1]} x {prediction.shape[2]} pixels; this "
            f"metric handles at most {spec.largest_image} within a few GB of memory"
        )
        return np.full(channels, np.nan), [reason] * channels
    lacking = [name for name in spec.weights if find_weight(name) is None]
    if lacking:
        how = " && ".join(f"msibench weights fetch {name}" for name in lacking)
        return np.full(channels, np.nan), [f"{LACKED}: {how}"] * channels
    try:
        function = resolve_target(spec.target)
        if spec.kind == "contextual":
            scored: Scored = function(evaluation, **spec.params)
            return np.asarray(scored.values, dtype=np.float64), list(scored.reasons)
        assert evaluation.truth is not None
        test = _without_border(prediction, border)
        reference = _without_border(evaluation.truth.values, border)
        values = np.asarray(
            function(test, reference, data_range=1.0, mask=mask, **spec.params), dtype=np.float64
        )
        reasons = [""] * channels
        if not np.isfinite(values).all():
            explain = resolve_target(f"{spec.target.rpartition(':')[0]}:why_undefined")
            given: list[str] = list(explain(test, reference, mask=mask, **spec.params))
            reasons = [
                "" if np.isfinite(value) else reason or "undefined"
                for value, reason in zip(values, given, strict=True)
            ]
            values = np.where(np.isfinite(values), values, np.nan)
        return values, reasons
    except MissingWeightsError as error:
        return np.full(channels, np.nan), [f"{LACKED}: {error}"[:300]] * channels
    except Exception as error:
        message = f"metric failed: {type(error).__name__}: {error}"[:300]
        return np.full(channels, np.nan), [message] * channels


def columns_of(
    spec: MetricSpec, region: str, values: Values, reasons: list[str], mz: Values
) -> dict[str, NDArray[Any]]:
    """Return the rows of one metric and region, column by column."""
    count = len(values)
    per_channel = count == len(mz) and spec.regions != ("section",)
    constant = {
        "metric": spec.name,
        "metric_version": spec.version,
        "region": region,
        "direction": spec.direction,
    }
    return {
        "channel": np.arange(count) if per_channel else np.full(count, WHOLE_SECTION),
        "mz": mz if per_channel else np.full(count, np.nan),
        **{name: np.full(count, value, dtype=object) for name, value in constant.items()},
        "value": values,
        "reason": np.array(reasons, dtype=object),
    }


def _without_border(values: NDArray[Any], border: int) -> NDArray[Any]:
    return values[..., border:-border, border:-border] if border else values
