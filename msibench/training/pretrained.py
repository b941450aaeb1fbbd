"""What every pretrained single-image method does around its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from msibench.contracts.method import WeightFile
from msibench.errors import ConfigurationError, MissingWeightsError
from msibench.image import Problem, Skip
from msibench.training.networks import BackProjected, OnInterpolation
from msibench.training.pretrained_specs import TILED
from msibench.training.tile_plan import InputNeeds, options_from
from msibench.training.tiles import upscale_ions
from msibench.weights import sha256_of
from msibench.weights.locate import missing_message

DEFAULTS: Mapping[str, object] = {**TILED, "back_project": False}
"""Configuration that every pretrained method shares; see `TileOptions`.

``skip`` is ``"bicubic"`` for networks trained to add to the interpolated image
(`msibench.training.networks.OnInterpolation`), ``"none"`` for all published ones. ``back_project`` adds
to the network's image what its area mean lacks of its input (`msibench.training.networks.BackProjected`),
for networks trained with it.
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network that is ready to run, and what the record should say about it."""

    network: nn.Module
    needs: InputNeeds
    about: Mapping[str, object] = field(default_factory=dict)


class PretrainedMethod:
    """Choose the file for the problem's factor, load it, and put the ion images through.

    A plugin subclasses this, lists its published files in `files` and writes `load`.

    Parameters
    ----------
    weights
        File name → verified path, as the runner hands it over.
    config
        Any of `DEFAULTS`, and what `own_keys` names.
    """

    files: ClassVar[Mapping[str, Mapping[int, WeightFile]]] = {}
    """Variant → factor → published file."""
    own_keys: ClassVar[frozenset[str]] = frozenset()
    """Further configuration, e.g. the architecture that `msibench finetune` trains from scratch; for
    inference it is read off the checkpoint."""

    def __init__(self, weights: Mapping[str, Path] | None = None, **config: Any) -> None:
        unknown = config.keys() - DEFAULTS.keys() - self.own_keys - {"variant"}
        if unknown:
            raise ConfigurationError(
                f"unknown option(s) {sorted(unknown)}; this method takes "
                f"{sorted(DEFAULTS.keys() | self.own_keys)}"
            )
        self.config = {**DEFAULTS, **config}
        if self.config["skip"] not in ("none", "bicubic"):
            raise ConfigurationError(f"skip must be none or bicubic, got {self.config['skip']!r}")
        self.weights = {name: Path(path) for name, path in (weights or {}).items()}
        self.options = options_from(self.config)
        self._report: dict[str, object] = {}

    def load(self, path: Path, problem: Problem) -> Loaded:
        """Read a checkpoint; the network may stay on the CPU."""
        raise NotImplementedError

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the intensity unit of ``problem.low``."""
        path = self.file_for(problem.factor)
        loaded = self.load(path, problem)
        if loaded.needs.factor != problem.factor:
            kind = loaded.about.get("architecture", "network")
            return Skip(
                f"{path.name} is a {kind} for x{loaded.needs.factor}; the problem asks for "
                f"x{problem.factor}. Choose a protocol of its factor, or another checkpoint."
            )
        network = loaded.network.to(problem.device).eval()
        if self.config["skip"] == "bicubic":
            network = OnInterpolation(network, problem.factor)
        if self.config["back_project"]:
            network = BackProjected(network, problem.factor)
        fine, happened = upscale_ions(
            network,
            problem.low.values,
            loaded.needs,
            self.options,
            device=problem.device,
            precision=problem.precision,
        )
        self._report = {
            **happened,
            **loaded.about,
            "weights_file": path.name,
            "weights_sha256": sha256_of(path),
            "parameters": sum(p.numel() for p in loaded.network.parameters()),
        }
        if happened["tiling_changes_result"]:
            self._report["note"] = (
                "the network sees the whole image at once; tiling it changed the result"
            )
        return fine

    def report(self) -> Mapping[str, object]:
        """Return what the last call did: tiles, batch, halvings, file and digest."""
        return self._report

    def file_for(self, factor: int) -> Path:
        """Return the checkpoint for `factor`: the published one, else the one that the user gave.

        Raises
        ------
        MissingWeightsError
            If there is none; the message says how to get it.
        """
        published = self.files.get(str(self.config.get("variant", "")), {})
        wanted = published.get(factor)
        if wanted is not None and wanted.name in self.weights:
            return self.weights[wanted.name]
        elsewhere = {file.name for file in published.values()}
        own = [path for name, path in self.weights.items() if name not in elsewhere]
        if len(own) == 1:
            return own[0]
        if wanted is not None:
            raise MissingWeightsError(missing_message(wanted))
        offered = ", ".join(f"x{known}" for known in sorted(published)) or "none"
        raise MissingWeightsError(
            f"There is no published file for x{factor} (there is for: {offered}). "
            "Name one of your own with --weights PATH."
        )
