"""A quality suite that takes seconds: a method against a control method on a small phantom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import MethodSpec
from msibench.datasets import load_card, read_section
from msibench.degradation import protocol
from msibench.image import MSImage, Problem
from msibench.plugin_manager.discovery import discover
from msibench.testing.subject import NotCheckableError, Subject

ROWS, COLUMNS = 48, 56
SECTIONS = ("synthetic-1", "synthetic-2", "synthetic-3")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A method and its control on the same small sections, each run once."""

    spec: MethodSpec
    control: MethodSpec
    margin_db: float = 0.1

    @cached_property
    def problems(self) -> list[tuple[Problem, MSImage]]:
        """Problems with their truths, on three sections of the phantom.

        Raises
        ------
        NotCheckableError
            If the data set ``phantom`` is not installed.
        """
        known = discover().datasets
        if "phantom" not in known:
            raise NotCheckableError("the data set 'phantom' is not installed")
        card = load_card(known["phantom"])
        card = replace(card, parameters={**card.parameters, "rows": ROWS, "columns": COLUMNS})
        chosen = protocol(f"area-x{self.factor}@1")
        made = []
        for name in SECTIONS:
            section = read_section(card, name)
            prepared = chosen.prepare(section.image, counts_per_unit=section.counts_per_unit)
            rows, columns = prepared.truth.shape
            guide, second = section.guide, section.second
            problem = Problem(
                low=prepared.low,
                factor=chosen.factor,
                guide=None
                if guide is None
                else replace(
                    guide,
                    values=guide.values[:, :rows, :columns],
                    mask=None if guide.mask is None else guide.mask[:rows, :columns],
                ),
                second=None if second is None else second.crop(slice(rows), slice(columns)),
                protocol=chosen.name,
            )
            made.append((problem, prepared.truth))
        return made

    @property
    def factor(self) -> int:
        """Factor of the suite: 4 where the method can."""
        factors = self.spec.factors
        return 4 if factors is None or 4 in factors else min(factors)

    @cached_property
    def predictions(self) -> list[NDArray[np.float32]]:
        """The method's result."""
        return self._run(self.spec)

    @cached_property
    def control_predictions(self) -> list[NDArray[np.float32]]:
        """The control's result."""
        return self._run(self.control)

    def psnr(self, predictions: list[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Return the PSNR of every ion image in dB, sections one after the other."""
        from msibench.metrics import psnr

        return np.concatenate(
            [
                np.asarray(psnr(image, truth.values, data_range=1.0), dtype=np.float64)
                for image, (_, truth) in zip(predictions, self.problems, strict=True)
            ]
        )

    def _run(self, spec: MethodSpec) -> list[NDArray[np.float32]]:
        if spec.trainable:
            raise NotCheckableError(
                "it must be trained on other sections first; run a track instead"
            )
        subject = Subject(spec=spec)
        return [subject.upscale(problem) for problem, _ in self.problems]


def check_scores_are_defined(trial: Trial) -> None:
    """Every ion image of the phantom gets a finite score."""
    values = trial.psnr(trial.predictions)
    undefined = np.flatnonzero(~np.isfinite(values))
    assert not len(undefined), f"PSNR is undefined on image {undefined.tolist()}"


def check_not_worse_than_control(trial: Trial) -> None:
    """The method does not lose more PSNR than the margin against the control, image by image."""
    from msibench.scoring import noninferiority

    ours, theirs = (trial.psnr(p) for p in (trial.predictions, trial.control_predictions))
    sections = np.repeat(np.arange(len(SECTIONS)), len(ours) // len(SECTIONS))
    verdict = noninferiority(theirs, ours, sections, margin=trial.margin_db)
    assert verdict.outcome != "worse", (
        f"{trial.spec.name} has {-verdict.difference:.2f} dB less PSNR than {trial.control.name} "
        f"[{-verdict.high:.2f}, {-verdict.low:.2f}], on {verdict.images} ion images of "
        f"{verdict.sections} phantom sections; {trial.margin_db:g} dB are allowed"
    )


def check_intensity_is_kept(trial: Trial) -> None:
    """The mean of all ion images together stays within a tenth of that of the coarse ones."""
    before = np.mean([np.nanmean(problem.low.values) for problem, _ in trial.problems])
    after = np.mean([image.mean() for image in trial.predictions])
    assert abs(after - before) <= 0.1 * before, (
        f"the mean intensity is {after:.4g}; the coarse images have {before:.4g}"
    )


QUALITY_CHECKS: tuple[Callable[[Trial], None], ...] = (
    check_scores_are_defined,
    check_not_worse_than_control,
    check_intensity_is_kept,
)
"""In the order in which they are run."""
