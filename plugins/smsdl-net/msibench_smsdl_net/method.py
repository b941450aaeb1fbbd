"""SMSDL-Net as msibench runs it: features from the section's own guide, then a regression."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from msibench import GuideImage, Problem, Skip
from msibench.errors import RegistrationError
from msibench.registration import Affine, Composite, register, resample
from msibench.training.fitting import ion_seed
from msibench.training.ions import ion_identities, network_guide, reason_to_skip, scale_ions
from msibench.training.kept_curves import kept_points, six_digits
from msibench.training.threads import one_thread_each, ordered_map
from msibench_smsdl_net.config import SmsdlConfig
from msibench_smsdl_net.dense_features import DenseFeatures, token_maps
from msibench_smsdl_net.network import Regression
from msibench_smsdl_net.regression import fit_regression, predict
from msibench_smsdl_net.self_distillation import DistillationCurves, learn_features

log = logging.getLogger(__name__)


class SMSDLNet:
    """Learn features of the stain by self-distillation, then every ion from the features.

    A grey guide is repeated to three channels, of RGBA the opacity is left out; guides smaller than
    a global crop are continued by their border.

    Parameters
    ----------
    config
        Fields of `SmsdlConfig`.
    """

    def __init__(self, **config: Any) -> None:
        for name in ("patch_sizes", "hidden"):
            if name in config:
                config[name] = tuple(config[name])
        self.config = SmsdlConfig(**config)
        self._report: dict[str, object] = {}

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the unit of ``problem.low``."""
        if (reason := reason_to_skip(problem)) is not None:
            return reason
        try:
            guide = self._registered(problem)
        except RegistrationError as error:
            return Skip(f"needs a guide that can be registered: {error}")
        ions = scale_ions(problem.low)
        fine = np.zeros((problem.low.channels, *problem.fine_shape), np.float32)
        which = list(ions.with_signal)
        if not which:
            self._report = {"channels": []}
            return fine
        with one_thread_each() as threads:
            features, distillation = self._features(guide, problem)
            models = self._regressions(features.count, problem, which)

            def fit(position: int) -> list[float]:
                ion, (model, generator) = which[position], models[position]
                curve = fit_regression(
                    features,
                    ions.values[ion],
                    ions.known[ion],
                    problem.factor,
                    self.config,
                    model,
                    generator,
                )
                fine[ion] = predict(model, features)
                log.info("ion %d of %d done", ion + 1, problem.low.channels)
                return curve

            with ordered_map(threads if problem.device == "cpu" else 1) as spread:
                curves = spread(fit, range(len(which)))
        self._report = {
            "channels": which,
            "features": features.count,
            "registration": self.config.registration,
            "distillation": _kept(distillation.loss),
            "teacher_entropy": _kept(distillation.teacher_entropy),
            "curves": [_kept(curve) for curve in curves],
        }
        return ions.restore(fine)

    def report(self) -> Mapping[str, object]:
        """Return the loss curves of the last call of `upscale`."""
        return self._report

    def _features(
        self, guide: GuideImage, problem: Problem
    ) -> tuple[DenseFeatures, DistillationCurves]:
        """Learn the features of the guide; the ions play no part."""
        seed = ion_seed(problem.seed, 0)
        colours = _standardised(network_guide(guide)).to(problem.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            vit, curves = learn_features(
                _continued(colours, self.config.global_crop),
                self.config,
                torch.Generator().manual_seed(seed),
            )
        return DenseFeatures(token_maps(vit, colours, self.config.shifts), colours), curves

    def _regressions(
        self, features: int, problem: Problem, which: list[int]
    ) -> list[tuple[Regression, torch.Generator]]:
        """Return every ion's network and generator; both follow from the ion's own m/z."""
        identities = ion_identities(problem.low)
        made = []
        with torch.random.fork_rng(devices=[]):
            for ion in which:
                seed = ion_seed(problem.seed, identities[ion])
                torch.manual_seed(seed)
                model = Regression(features, self.config.hidden).to(problem.device)
                made.append((model, torch.Generator().manual_seed(seed)))
        return made

    def _registered(self, problem: Problem) -> GuideImage:
        """Return the guide on the fine grid, bent onto the ion images if that is asked for."""
        assert problem.guide is not None
        if self.config.registration == "none":
            return problem.guide
        factor = problem.factor
        stretch = Affine(np.eye(2) * factor, np.full(2, (factor - 1) / 2))
        found = register(
            problem.guide, problem.low, model="bspline", start=stretch, seed=problem.seed
        )
        shrink = Affine(np.eye(2) / factor, np.full(2, (1 / factor - 1) / 2))
        return resample(problem.guide, Composite(shrink, found.transform), problem.fine_shape)


def _standardised(guide: NDArray[np.float32]) -> torch.Tensor:
    """Bring every channel to mean 0 and spread 1; a constant channel becomes 0."""
    mean = guide.mean((1, 2), keepdims=True, dtype=np.float64)
    spread = guide.std((1, 2), keepdims=True, dtype=np.float64)
    scaled = (guide - mean) / np.where(spread > 1e-6, spread, 1)
    return torch.from_numpy(scaled.astype(np.float32))


def _continued(image: torch.Tensor, least: int) -> torch.Tensor:
    """Repeat the border until the image is at least `least` pixels along each edge."""
    rows, columns = (max(0, least - side) for side in image.shape[-2:])
    return F.pad(image[None], (0, columns, 0, rows), mode="replicate")[0]


def _kept(values: list[float]) -> dict[str, object]:
    points = kept_points(len(values))
    return {"step": points, "value": six_digits(values[point] for point in points)}
