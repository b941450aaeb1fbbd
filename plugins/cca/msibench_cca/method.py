"""CCA fusion as the benchmark runs it: registered ion images of two or three modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench import MSImage, Problem, Skip
from msibench.errors import DataError
from msibench.training.ions import magnify, scale_ions
from msibench_cca.back_to_mz import ion_images
from msibench_cca.canonical import predict_in_stages
from msibench_cca.config import CCAConfig
from msibench_cca.grid_artefact import remove_grid
from msibench_cca.maps import Maps, factor_image


class CCAFusion:
    """Predict fine ion images from a second, finer MSI modality by canonical correlation.

    Both modalities become maps of NMF components; CCA ties the fine maps, averaged to the coarse grid, to
    the coarse maps; the fine maps then predict coarse components on the fine grid, and the component
    spectra take them back to m/z. With a middle modality this is done in two stages.

    Parameters
    ----------
    config
        Fields of `CCAConfig`.
    """

    def __init__(self, **config: Any) -> None:
        self.config = CCAConfig(**config)
        self._report: dict[str, object] = {}

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the unit of ``problem.low``.

        Where the second modality was not measured, off tissue, and where CCA finds nothing to correlate
        (a constant section), the result is the bilinearly magnified ion image.
        """
        if problem.second is None:
            return Skip(
                "needs a second, finer MSI modality on the fine grid "
                f"{problem.fine_shape[0]} x {problem.fine_shape[1]}; this section has none"
            )
        low = factor_image(problem.low, self.config, seed=problem.seed, device=problem.device)
        if low is None:
            return Skip("needs tissue: no coarse pixel is on the mask and known in all ion images")
        coarse, channels = low
        finer: list[Maps] = []
        self._motions: list[dict[str, object]] = []
        for name, image in (("middle", problem.middle), ("second", problem.second)):
            if image is None:
                continue
            cleaned = self._without_grid(image) if name == "second" else image
            found = factor_image(cleaned, self.config, seed=problem.seed, device=problem.device)
            if found is None:
                return Skip(f"needs tissue: nothing is known of the {name} modality")
            before = finer[-1] if finer else coarse
            finer.append(self._registered(found[0], before))
        self._report = {
            "nmf_relative_error": [round(maps.relative_error, 6) for maps in (coarse, *finer)]
        }
        if self._motions:
            self._report["registration"] = self._motions
        rows, columns = problem.fine_shape
        fine = magnify(
            ions := scale_ions(problem.low),
            slice(None),
            problem.factor,
            range(rows),
            range(columns),
        )[0]
        fine = ions.restore(fine)
        try:
            maps, stages = predict_in_stages(coarse, finer, self.config)
        except DataError as error:
            self._report["fall_back"] = f"bilinear: {error}"
            return fine
        self._report["stages"] = [stage.summary() for stage in stages]
        painted = maps.known & self._tissue(problem)
        predicted = ion_images(maps)
        for place, channel in enumerate(channels):
            fine[channel][painted] = predicted[place][painted]
        return fine

    def report(self) -> Mapping[str, object]:
        """Return NMF errors, canonical correlations and fits of the last call of `upscale`."""
        return self._report

    def _without_grid(self, image: MSImage) -> MSImage:
        if self.config.grid_tile is None:
            return image
        known = np.asarray(np.isfinite(image.values).all(axis=0))
        if image.mask is not None:
            known &= image.mask
        cleaned = remove_grid(
            image.values, self.config.grid_tile, keep_level=self.config.keep_level, known=known
        )
        return replace(image, values=np.where(np.isfinite(image.values), cleaned, np.nan))

    def _registered(self, finer: Maps, coarse: Maps) -> Maps:
        if not self.config.register:
            return finer
        from msibench_cca.registration import move, register_rigid

        found = register_rigid(
            finer, coarse, steps=self.config.register_steps, rate=self.config.register_rate
        )
        self._motions.append(
            {
                "angle_deg": round(found.angle_deg, 4),
                "correlation_before": round(found.correlation_before, 6),
                "correlation": round(found.correlation, 6),
                "refused": found.refused,
            }
        )
        return move(finer, found)

    def _tissue(self, problem: Problem) -> NDArray[np.bool_]:
        mask = problem.low.mask
        if mask is None:
            return np.ones(problem.fine_shape, dtype=bool)
        return mask.repeat(problem.factor, 0).repeat(problem.factor, 1)
