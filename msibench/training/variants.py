"""A finished training as a method of its own, kept away from the sections that it has seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msibench.contracts.method import MethodSpec, WeightFile
from msibench.errors import ConfigurationError
from msibench.image import MSImage
from msibench.training.checkpoints import RECORD, WEIGHTS, load_record
from msibench.training.fingerprint import find_twin, fingerprint
from msibench.training.patches import to_unit_scale


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """A fine-tuned method."""

    spec: MethodSpec
    """Ready for the catalogue: ``name@finetuned-<folder>``, its weights, all data that it has seen."""
    weights: Path
    record: Mapping[str, Any]

    def refusal(
        self, section: str, image: MSImage | None = None, declared_range: float | None = None
    ) -> str:
        """Return why this method must not be judged on a section, or an empty string.

        Parameters
        ----------
        section
            ``"data-set/section"``.
        image
            The section as measured, so that a copy under another name is recognised too.
        declared_range
            As on the data set's card.
        """
        seen = self.spec.training_data
        if section in seen or section.partition("/")[0] in seen:
            return f"{self.spec.name} has learned from {section}: a score there would be of memory"
        if image is None:
            return ""
        ours = fingerprint(to_unit_scale(image, declared_range))
        twin = find_twin(ours, [(entry["section"], entry) for entry in self.record["data"]])
        if twin is None:
            return ""
        return (
            f"{section} is {twin[0]} under another name ({twin[1]}), and {self.spec.name} has "
            "learned from it: a score there would be of memory"
        )


def is_training(folder: Path) -> bool:
    """Return whether `folder` holds a finished training."""
    return (folder / RECORD).is_file() and (folder / WEIGHTS).is_file()


def read_variant(folder: Path, base: MethodSpec, *, name: str = "") -> Variant:
    """Read what ``msibench finetune`` has written.

    Parameters
    ----------
    folder
        Holds ``record.json`` and ``weights.safetensors``.
    base
        The method that was trained, from the catalogue.
    name
        What follows ``@``; empty: ``finetuned-`` and the folder's name.

    Raises
    ------
    DataError
        If the folder holds no finished training.
    IntegrityError
        If the weights are not those of the record.
    ConfigurationError
        If the training is of another method.
    """
    record = load_record(folder)
    if record["method"] != base.name:
        raise ConfigurationError(
            f"{folder} is a training of {record['method']!r}, not of {base.name!r}; "
            f"ask for {record['method']}@…"
        )
    label = name or "finetuned-" + re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name)
    digest = record["weights"]["sha256"]
    learned = tuple(entry["section"] for entry in record["data"])
    scratch = record["request"]["start"] == "scratch"
    before = () if scratch else base.training_data
    trained = WeightFile(
        name=f"finetuned/{base.name}/{digest[:16]}.safetensors",
        sha256=digest,
        size=record["weights"]["bytes"],
        licence="not stated" if scratch else "as of the weights it started from",
        non_commercial=not scratch and any(file.non_commercial for file in base.weights),
        trained_on=", ".join(learned),
        how=f"It was trained here: msibench weights add {WEIGHTS} of that folder.",
    )
    # A method of several files (ResShift: network and autoencoder) has one that is trained: the first.
    weights = (trained, *base.weights[1:])
    spec = replace(
        base,
        name=f"{base.name}@{label}",
        config={**base.config, **record["request"]["config"]},
        factors=frozenset({int(record["factor"])}),
        weights=weights,
        training_data=tuple(dict.fromkeys((*before, *learned))),
        title="trained from scratch" if scratch else "fine-tuned",
    )
    return Variant(spec, folder / WEIGHTS, record)


def install(variant: Variant) -> None:
    """Copy the weights into the cache, where every run on this machine finds them by digest."""
    from msibench.weights import add

    add(variant.weights, variant.spec.weights[0])
