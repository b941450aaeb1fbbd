"""A finished training as a method of its own, kept away from the sections that it has seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from msibench.contracts.method import MethodSpec, WeightFile
from msibench.errors import ConfigurationError
from msibench.image import MSImage
from msibench.io.whole_files import write_whole
from msibench.training.checkpoints import RECORD, WEIGHTS, load_record
from msibench.training.seen import refusal, twin_reason
from msibench.weights import add


class MethodCatalogue(Protocol):
    """Looks methods up: `msibench.plugin_manager.Catalogue`, which is in a higher layer."""

    def method(self, name: str) -> MethodSpec:
        """Return the method called `name`."""
        ...


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
        """Return why this method must not be scored on a section, or an empty string.

        Parameters
        ----------
        section
            ``"data-set/section"``.
        image
            The section as measured, so that a copy under another name is recognised too.
        declared_range
            As on the data set's card.
        """
        by_name = refusal(self.spec, section)
        if by_name or image is None:
            return by_name
        return twin_reason(self.spec.name, section, image, [self.record], declared_range)


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
    # A method for one factor that has several files (ResShift: network and autoencoder) trains the
    # first; one for several factors has a file for each, and this one takes the place of them all.
    others = base.weights[1:] if base.factors is not None and len(base.factors) == 1 else ()
    weights = (trained, *others)
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
    """Copy weights and record into the cache, where every run on this machine finds them."""
    placed = add(variant.weights, variant.spec.weights[0])
    record = (variant.weights.parent / RECORD).read_bytes()
    write_whole({placed.with_suffix(".json"): record})


def method_from_training(folder: Path, catalogue: MethodCatalogue) -> MethodSpec:
    """Make a finished training ready to run: ``msibench run TRACK --method FOLDER``.

    Parameters
    ----------
    folder
        What ``msibench finetune`` has written.
    catalogue
        The installed plugins' methods.

    Raises
    ------
    DataError, IntegrityError
        As `read_variant`.
    UnknownNameError
        If the method that was trained is not installed.
    """
    variant = read_variant(folder, catalogue.method(load_record(folder)["method"]))
    install(variant)
    return variant.spec
