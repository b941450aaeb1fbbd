"""One score per ion image and method out of the metrics of a scheme."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.errors import ConfigurationError
from msibench.scoring.cube import IMAGE_KEY, SPECIMEN, Cube, cubes
from msibench.scoring.normalise import normalise
from msibench.scoring.schemes import Scheme


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageScores:
    """The scores of one protocol on every ion image."""

    composite: NDArray[np.float64]
    """``(image, method)``; NaN where `undefined` or `refused` says why."""
    scores: NDArray[np.float64]
    """Every metric on the common scale, ``(image, method, metric)``."""
    weights: NDArray[np.float64]
    """What entered the composite, ``(method, metric)``; rows sum to 1 or, if refused, to 0."""
    missing: tuple[tuple[str, ...], ...]
    """Metrics of the scheme without any value, one tuple per method."""
    refused: tuple[str, ...]
    """Why a method has no composite at all; empty where it has one."""


def composite(
    rows: pd.DataFrame, scheme: Scheme, *, control_method: str | None = None
) -> pd.DataFrame:
    """Score every ion image of every method; protocols stay apart.

    Parameters
    ----------
    rows
        Long table with the columns of ``msibench.scoring.cube.COLUMNS``.
    scheme
        Metrics, weights, normalisation and policies.
    control_method
        The method that scores 0; needed by a scheme with ``normalisation = "anchored"``.

    Returns
    -------
    One row per protocol, image and method: ``protocol dataset section mz_set channel mz method
    composite missing reason`` and one column ``score.<metric>`` per metric of the scheme. Where
    ``composite`` is NaN, ``reason`` says why; ``missing`` names the metrics that a marked composite
    is made without.

    Raises
    ------
    DataError
        If the table is malformed or holds no row of `control_method`.
    ConfigurationError
        If an anchored scheme comes without a control method, or a weighted metric exists per
        section only.
    """
    frames = []
    for cube in cubes(rows):
        ions = cube.ion_images()
        scored = score_images(ions, scheme, control_method=control_method)
        count = len(ions.methods)
        images = ions.images.drop(columns=SPECIMEN)
        frame = images.loc[images.index.repeat(count)].reset_index(drop=True)
        frame.insert(0, "protocol", cube.protocol)
        frame["method"] = np.tile(np.array(ions.methods, dtype=object), len(ions.images))
        frame["composite"] = scored.composite.ravel()
        frame["missing"] = [", ".join(names) for names in scored.missing] * len(ions.images)
        frame["reason"] = _reasons(ions, scheme, scored).ravel()
        for index, metric in enumerate(scheme.metrics):
            frame[f"score.{metric.name}"] = scored.scores[..., index].ravel()
        frames.append(frame)
    if not frames:
        columns = ["protocol", *IMAGE_KEY, "mz", "method", "composite", "missing", "reason"]
        return pd.DataFrame(columns=columns + [f"score.{m.name}" for m in scheme.metrics])
    return pd.concat(frames, ignore_index=True)


def score_images(cube: Cube, scheme: Scheme, *, control_method: str | None = None) -> ImageScores:
    """Score the ion images of one protocol; see `composite`."""
    control = None
    if scheme.normalisation == "anchored":
        if control_method is None:
            raise ConfigurationError(
                f"Scheme {scheme.name!r} is anchored and needs a control method that scores 0; "
                'name it in the track, for example control = "bicubic"'
            )
        control = cube.method(control_method)
    shape = (len(cube.images), len(cube.methods), len(scheme.metrics))
    scores = np.full(shape, np.nan)
    measured = np.zeros(shape[1:], dtype=bool)
    for index, metric in enumerate(scheme.metrics):
        measure = cube.measure(metric.name, scheme.region)
        if measure is None:
            continue
        values = cube.values[..., measure]
        if shape[0] and not cube.present[..., measure].any():
            raise ConfigurationError(
                f"Scheme {scheme.name!r} weighs {metric.name!r}, which is one number per section; "
                "a composite needs one value per ion image: take it out of the scheme"
            )
        scores[..., index] = normalise(values, metric, scheme, control)
        measured[:, index] = (~np.isnan(values)).any(axis=0)
        if control is not None:
            measured[:, index] &= measured[control, index]

    chosen = np.array([scheme.weights[metric.name] for metric in scheme.metrics])
    weights = np.where(measured, chosen, 0.0)
    total = weights.sum(axis=1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    entering = np.where(weights > 0, np.nan_to_num(scores) * weights, 0.0)
    holes = np.asarray(((weights > 0) & np.isnan(scores)).any(axis=2))
    result = np.where(holes, np.nan, entering.sum(axis=2))

    missing = tuple(
        tuple(metric.name for metric, there in zip(scheme.metrics, row, strict=True) if not there)
        for row in measured
    )
    refused = tuple(
        _why_refused(cube, scheme, method, names, holes[:, method])
        for method, names in enumerate(missing)
    )
    without = np.array([reason != "" for reason in refused], dtype=bool)
    result[:, without] = np.nan
    weights[without] = 0.0
    return ImageScores(
        composite=result,
        scores=scores,
        weights=weights,
        missing=missing,
        refused=refused,
    )


def _why_refused(
    cube: Cube, scheme: Scheme, method: int, missing: tuple[str, ...], holes: NDArray[np.bool_]
) -> str:
    """Return why a method has no composite at all; empty where it has one.

    `missing` are the metrics without any value, `holes` the images with an undefined metric.
    """
    seen = np.asarray(cube.present[:, method].any(axis=1))
    if not seen.any():
        return "no ion image was scored"
    if missing and (scheme.missing == "refuse" or len(missing) == len(scheme.metrics)):
        return f"no value of {', '.join(missing)}"
    count = int((holes & seen).sum())
    if scheme.undefined == "refuse" and count:
        return f"a metric is undefined on {count} of {int(seen.sum())} images"
    return ""


def _reasons(cube: Cube, scheme: Scheme, scored: ImageScores) -> NDArray[np.object_]:
    """Return for every image and method why there is no composite; empty where there is one."""
    reasons = np.full(scored.composite.shape, "", dtype=object)
    seen = np.asarray(cube.present.any(axis=2))
    for image, method in np.argwhere(np.isnan(scored.composite)):
        if scored.refused[method]:
            reasons[image, method] = f"refused: {scored.refused[method]}"
        elif not seen[image, method]:
            reasons[image, method] = "not scored"
        else:
            holes = np.isnan(scored.scores[image, method]) & (scored.weights[method] > 0)
            names = [m.name for m, hole in zip(scheme.metrics, holes, strict=True) if hole]
            reasons[image, method] = f"undefined: {', '.join(names)}"
    return reasons
