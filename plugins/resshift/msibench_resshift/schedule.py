"""Residual-shifting diffusion: how much of the residual is left at each step, for every release.

Paper: Yue, Wang, Loy, *ResShift*, NeurIPS 2023, equations 1-10. Written from the paper and from the
published settings; no code was carried over. Two checkpoints of one architecture can belong to two
schedules, and the wrong one gives an image that looks like one: so a schedule is never guessed, it is
looked up by the checkpoint's name, or stated (`schedule_for`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from msibench import MSIBenchError
from msibench.weights import sha256_of


class ScheduleError(MSIBenchError, ValueError):
    """A checkpoint and a diffusion schedule do not belong together, or neither is known."""


@dataclass(frozen=True)
class Schedule:
    """Geometric schedule of the square roots of eta, equation 10 of the paper."""

    name: str
    steps: int
    """T, number of network evaluations."""
    kappa: float
    """Noise variance is ``kappa**2 * eta``."""
    min_noise_level: float
    power: float = 0.3
    etas_end: float = 0.99
    scale: int = 4

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ScheduleError(f"a schedule needs at least 2 steps, got {self.steps}")
        if not (self.kappa > 0 and self.power > 0 and 0 < self.min_noise_level < 1):
            raise ScheduleError(
                "kappa and power must be positive and min_noise_level in (0, 1), got "
                f"kappa={self.kappa}, power={self.power}, min_noise_level={self.min_noise_level}"
            )

    @cached_property
    def sqrt_eta(self) -> NDArray[np.float64]:
        """Share of the residual at each step, ``(steps,)``, rising."""
        start = min(self.min_noise_level / self.kappa, self.min_noise_level)
        share = (np.arange(self.steps) / (self.steps - 1)) ** self.power
        return np.asarray(start * (self.etas_end / start) ** share)

    @cached_property
    def eta(self) -> NDArray[np.float64]:
        """Square of `sqrt_eta`."""
        return self.sqrt_eta**2

    @cached_property
    def alpha(self) -> NDArray[np.float64]:
        """Increase of eta at each step; the first counts from zero."""
        return np.diff(self.eta, prepend=0.0)

    @property
    def _before(self) -> NDArray[np.float64]:
        return np.concatenate([[0.0], self.eta[:-1]])

    @cached_property
    def posterior_variance(self) -> NDArray[np.float64]:
        """Variance of a reverse step, equation 7; zero at the last one (t = 0)."""
        return self.kappa**2 * self._before / self.eta * self.alpha

    @cached_property
    def keep(self) -> NDArray[np.float64]:
        """Weight of the present state in the mean of a reverse step."""
        return self._before / self.eta

    @cached_property
    def pull(self) -> NDArray[np.float64]:
        """Weight of the network's estimate in the mean of a reverse step."""
        return self.alpha / self.eta

    @cached_property
    def input_scale(self) -> NDArray[np.float64]:
        """What the state is divided by before the network sees it."""
        return np.sqrt(self.eta * self.kappa**2 + 1)


SCHEDULES: Mapping[str, Schedule] = {
    "bicsr": Schedule("bicsr", steps=4, kappa=2.0, min_noise_level=0.2),
    "realsr-v1": Schedule("realsr-v1", steps=15, kappa=2.0, min_noise_level=0.04),
    "realsr-v2": Schedule("realsr-v2", steps=15, kappa=2.0, min_noise_level=0.04),
    "realsr-v3": Schedule("realsr-v3", steps=4, kappa=2.0, min_noise_level=0.2),
    "msi_sr": Schedule("msi_sr", steps=4, kappa=0.5, min_noise_level=0.2, power=1.0),
}
"""Every published release by name."""

CHECKPOINTS: Mapping[str, str] = {
    "resshift_bicsrx4_s4.pth": "bicsr",
    "resshift_realsrx4_s15_v1.pth": "realsr-v1",
    "resshift_realsrx4_s15_v2.pth": "realsr-v2",
    "resshift_realsrx4_s4_v3.pth": "realsr-v3",
    "msi_sr.pth": "msi_sr",
}
"""Published file → the schedule that it was trained under."""

_ALIASES = {
    "bicsr_s4": "bicsr",
    "resshift-b": "bicsr",
    "realsr": "realsr-v1",
    "realsr_v1": "realsr-v1",
    "realsr_v2": "realsr-v2",
    "realsr_v3": "realsr-v3",
    "realsr_v1v2_s15": "realsr-v1",
    "realsr_v3_s4": "realsr-v3",
    "resshift-r-v1": "realsr-v1",
    "resshift-r-v2": "realsr-v2",
    "resshift-r-v3": "realsr-v3",
    "msi-sr": "msi_sr",
    "msi_sr_s4": "msi_sr",
    "resshift-msi": "msi_sr",
}


def as_schedule(given: Schedule | str | Mapping[str, Any]) -> Schedule:
    """Return a schedule from a release's name, its published settings, or itself.

    Parameters
    ----------
    given
        A `Schedule`; a name (``"bicsr"``, ``"realsr-v1"`` …); or the settings as published: a mapping
        with ``steps``, ``kappa``, ``min_noise_level`` and, optionally, ``etas_end`` and ``power`` (or
        ``schedule_kwargs``), by itself or under ``config``.

    Raises
    ------
    ScheduleError
        If the name is unknown or a setting is missing or of another diffusion.
    """
    if isinstance(given, Schedule):
        return given
    if isinstance(given, str):
        name = _ALIASES.get(given, given)
        if name not in SCHEDULES:
            raise ScheduleError(
                f"no ResShift schedule named {given!r}; known: {', '.join(SCHEDULES)}"
            )
        return SCHEDULES[name]
    settings = dict(given.get("config", given))
    for key, only in (
        ("schedule_name", "exponential"),
        ("predict_type", "xstart"),
        ("timestep_respacing", None),
        ("scale_factor", 1.0),
        ("normalize_input", True),
        ("latent_flag", True),
    ):
        if settings.get(key, only) != only:
            raise ScheduleError(
                f"ResShift's published diffusions have {key} = {only!r}, got {settings[key]!r}"
            )
    missing = {"steps", "kappa", "min_noise_level"} - settings.keys()
    if missing:
        raise ScheduleError(f"the schedule lacks {', '.join(sorted(missing))}")
    inner: Mapping[str, Any] = settings.get("schedule_kwargs") or {}
    power = inner.get("power", settings.get("power", 0.3))
    return Schedule(
        str(settings.get("name", "given")),
        steps=int(settings["steps"]),
        kappa=float(settings["kappa"]),
        min_noise_level=float(settings["min_noise_level"]),
        power=float(power),
        etas_end=float(settings.get("etas_end", 0.99)),
        scale=int(settings.get("sf", 4)),
    )


def schedule_for(checkpoint: str, stated: str = "") -> Schedule:
    """Return the schedule of a checkpoint, by its published file name or as stated.

    Parameters
    ----------
    checkpoint
        File name; what follows the last ``/`` counts.
    stated
        Name of a schedule from the method's configuration or a training record; needed for a file
        whose name is not among the published ones.

    Raises
    ------
    ScheduleError
        If the two contradict each other, or neither says anything.
    """
    file = checkpoint.rpartition("/")[2]
    stem = file.rpartition(".")[0] or file
    known = next((s for name, s in CHECKPOINTS.items() if name.rpartition(".")[0] == stem), "")
    if known and stated and not _alike(as_schedule(stated), SCHEDULES[known]):
        raise ScheduleError(
            f"{file} was trained under schedule {known!r}, not {stated!r}: the wrong schedule gives a "
            f"wrong image without any error. Use the method of that release, or schedule={known!r}"
        )
    if not (known or stated):
        raise ScheduleError(
            f"{file} is not one of the published checkpoints ({', '.join(CHECKPOINTS)}), so its "
            f"schedule must be stated: schedule = one of {', '.join(SCHEDULES)}"
        )
    return as_schedule(known or stated)


DIGESTS: Mapping[str, str] = {"878da888": "realsr-v3"}
"""Leading digits of the sha256 of a published file, where known → its schedule."""


def check_file(path: Path, chosen: Schedule) -> None:
    """Refuse a checkpoint that is known to belong to another schedule.

    By the name of the file on disk, by its digest, or by the ``schedule`` in a safetensors header,
    where a fine-tuned network says under which schedule it was trained.

    Raises
    ------
    ScheduleError
        If it does.
    """
    by_name = CHECKPOINTS.get(path.name, "")
    digest = sha256_of(path)
    by_digest = next((name for start, name in DIGESTS.items() if digest.startswith(start)), "")
    noted = ""
    if path.suffix.lower() == ".safetensors":
        with safe_open(path, framework="np") as opened:
            noted = (opened.metadata() or {}).get("schedule", "")
    for source, known in (("name", by_name), ("sha256", by_digest), ("header", noted)):
        if known and not _alike(as_schedule(known), chosen):
            raise ScheduleError(
                f"{path.name} belongs to schedule {known!r} by its {source}, not to {chosen.name!r}: "
                "the wrong schedule gives a wrong image without any error. Use the method of that "
                f"release, or schedule={known!r}"
            )


def _alike(a: Schedule, b: Schedule) -> bool:
    """Return whether two names stand for one schedule (v1 and v2; bicsr and v3)."""
    return replace(a, name="") == replace(b, name="")
