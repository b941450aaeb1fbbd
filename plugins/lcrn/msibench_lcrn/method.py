"""LCRN as msibench runs it: one network per ion image, fitted to the section itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from msibench import Problem, Skip
from msibench.training.fitting import FitProgress, FitSettings, IonFits, fit_ions
from msibench.training.ions import ion_identities, network_guide, reason_to_skip, scale_ions
from msibench.training.kept_curves import kept_points, six_digits
from msibench.training.threads import one_thread_each, ordered_map
from msibench_lcrn.config import LcrnConfig
from msibench_lcrn.network import LcrnNetwork
from msibench_lcrn.objective import LcrnObjective

log = logging.getLogger(__name__)


class LCRN:
    """Fuse every ion image with the guide by a small residual network of its own.

    The guide's three channels go in, one ion image on the fine grid comes out; the fit balances the
    bilinearly magnified ion image against the edges of the guide and ends when those edges are
    lost. A grey guide is repeated to three channels, of RGBA the opacity is left out.

    Parameters
    ----------
    config
        Fields of `LcrnConfig`.
    """

    def __init__(self, **config: Any) -> None:
        if "channels" in config:
            config["channels"] = tuple(config["channels"])
        self.config = LcrnConfig(**config)
        self._report: dict[str, object] = {}

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the unit of ``problem.low``."""
        if (reason := reason_to_skip(problem)) is not None:
            return reason
        assert problem.guide is not None
        device = torch.device(problem.device)
        ions = scale_ions(problem.low)
        radius = self._network().radius
        objective = LcrnObjective(
            ions, network_guide(problem.guide), problem.factor, self.config, radius, device
        )
        fits = fit_ions(
            self._network,
            objective,
            ions.with_signal,
            replace(self._settings(), precision=problem.precision, device=problem.device),
            seed=problem.seed,
            identities=[ion_identities(problem.low)[ion] for ion in ions.with_signal],
            example=objective.example,
            progress=_log_progress,
        )
        self._report = _fit_report(ions.with_signal, fits, objective.parts)
        return ions.restore(_predict(fits, ions.with_signal, objective, problem))

    def report(self) -> Mapping[str, object]:
        """Return epochs, rises and loss curves of the last call of `upscale`."""
        return self._report

    def _network(self) -> LcrnNetwork:
        c = self.config
        return LcrnNetwork(3, c.channels, c.kernel_size, c.activation, c.final_activation)

    def _settings(self) -> FitSettings:
        c = self.config
        return FitSettings(
            epochs=c.epochs,
            learning_rate=c.learning_rate,
            watch="edge",
            rises=c.rises,
            patience=c.patience,
            restore=c.restore,
            best_by=c.best_by,
            group_bytes=int(c.memory_gb * 2**30),
        )


def _predict(
    fits: IonFits, which: tuple[int, ...], objective: LcrnObjective, problem: Problem
) -> NDArray[np.float32]:
    """Run every ion's network over the guide, tile by tile, so that memory stays bounded."""
    fine = np.zeros((problem.low.channels, *problem.fine_shape), np.float32)

    def fill(position: int) -> None:
        predict = fits.network([position])
        for tile in objective.tiles:
            rows, columns = tile.around(tile.halo)
            with torch.inference_mode():
                output = predict(objective.guide[..., rows, columns])[0, 0, 0].float().cpu().numpy()
            top, left = tile.rows.start - rows.start, tile.columns.start - columns.start
            fine[
                which[position],
                tile.rows.start : tile.rows.stop,
                tile.columns.start : tile.columns.stop,
            ] = output[top : top + len(tile.rows), left : left + len(tile.columns)]

    with (
        one_thread_each() as threads,
        ordered_map(threads if problem.device == "cpu" else 1) as spread,
    ):
        spread(fill, range(len(which)))
    return fine


def _log_progress(progress: FitProgress) -> None:
    if progress.epoch % 50 == 0 or progress.ions_left == 0:
        log.info(
            "%d of %d ions left, at most %d epochs of this group",
            progress.ions_left,
            progress.ions,
            progress.epochs_left,
        )


def _fit_report(which: tuple[int, ...], fits: IonFits, parts: int) -> dict[str, object]:
    """Return a summary of the fits, JSON-able and of bounded size."""
    curves = []
    for ion, epochs in enumerate(fits.epochs):
        points = kept_points(int(epochs))
        curves.append(
            {
                "epoch": points,
                **{
                    term: six_digits(fits.curves[ion, points, column])
                    for column, term in enumerate(fits.terms)
                },
            }
        )
    return {
        "channels": list(which),
        "epochs": fits.epochs.tolist(),
        "best_epoch": fits.best_epoch.tolist(),
        "edge_loss_rises": fits.rises.tolist(),
        "stopped_early": fits.stopped_early.tolist(),
        "curves": curves,
        "parts": parts,
    }
