"""Specs of methods that run a pretrained network: what their plugins share; imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from msibench.contracts.method import MethodSpec, Resources, Task, WeightFile

TILED: Mapping[str, object] = {
    "tile": 256,
    "overlap": 32,
    "batch": 16,
    "scaling": "minmax",
    "quantise8": False,
    "skip": "none",
}
"""Configuration of a published network; see `msibench.training.pretrained.DEFAULTS`."""

SHIPPED_SLICES = (1, 2, 4, 6, 7, 8, 10, 11, 13, 15, 16, 18, 19, 21, 23, 24, 25, 28, 29, 32)
"""Slices of lbae-mouse-brain on which the small shipped networks were trained."""
SHIPPED_PHANTOMS = (11, 12, 13, 14)


def method_per_file(
    family: MethodSpec,
    files: Mapping[str, Mapping[int, WeightFile]],
    *,
    titles: Mapping[str, str],
    memory_gb: Mapping[str, float],
) -> Iterator[MethodSpec]:
    """Yield one method for each published file of a family of networks.

    Parameters
    ----------
    family
        What all have in common; `name` is the family's.
    files
        Variant → factor → file. The method is called ``family-variant`` for x4, the factor of the MSI
        papers, and ``family-variant-x2`` etc. for the others.
    titles, memory_gb
        Variant → what the leaderboard adds to the name, and the memory of processor and GPU.
    """
    for variant, published in files.items():
        for factor, file in published.items():
            memory = memory_gb[variant]
            yield replace(
                family,
                name=f"{family.name}-{variant}" + ("" if factor == 4 else f"-x{factor}"),
                config={"variant": variant, **family.config},
                factors=frozenset({factor}),
                weights=(file,),
                title=titles[variant],
                resources=replace(family.resources, memory_gb=memory, vram_gb=memory),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedFile:
    """The checkpoint of a small network that ships with its plugin."""

    package: str
    """Holds it as ``weights/<name>``."""
    name: str
    sha256: str
    size: int
    """Bytes."""

    def weight_file(self, trained_on: str) -> WeightFile:
        """Return it as the file of a method."""
        return WeightFile(
            name=self.name,
            sha256=self.sha256,
            size=self.size,
            licence="Apache-2.0",
            trained_on=trained_on,
            path=f"{self.package}:weights/{self.name}",
        )


def shipped_method(
    name: str,
    target: str,
    file: ShippedFile,
    *,
    citation: str,
    size: str,
    architecture: str,
    tile: int = 256,
) -> MethodSpec:
    """Return the small network of a family that was trained here, on ion images alone.

    All families were trained for x4 on the same sections. The record beside each file holds the command
    that repeats the training, the digests of all sections and the loss curve.

    Parameters
    ----------
    name, target, citation
        As in the spec.
    file
        Its checkpoint.
    size
        Number of parameters, e.g. ``"52 k parameters"``.
    architecture
        The network in a few words.
    tile
        Longest side of a tile in coarse pixels; 0: never tile.
    """
    return MethodSpec(
        name=name,
        target=target,
        task=Task.SINGLE_IMAGE,
        config={"variant": "msi-tiny", **TILED, "tile": tile, "skip": "bicubic"},
        factors=frozenset({4}),
        each_ion_alone=True,
        weights=(
            file.weight_file(
                "20 training sections of lbae-mouse-brain (BSD-3-Clause), 4 of phantom"
            ),
        ),
        training_data=training_sections(SHIPPED_SLICES, SHIPPED_PHANTOMS),
        citation=citation,
        licence="Apache-2.0; weights: Apache-2.0",
        title=f"our own, {size}, trained on ion images",
        resources=Resources(cpus=1, memory_gb=2.0, vram_gb=1.0),
        sources={
            "architecture": f"our choice, small enough to ship: {architecture}",
            "skip": "our choice: the network adds to the bicubic image, so it starts at interpolation",
            "tile": "as the published variants",
            "overlap": "as the published variants",
            "scaling": "our choice: each ion image on its own range",
            "quantise8": "our choice: floating point",
        },
    )


def training_sections(slices: Iterable[int], phantoms: Iterable[int]) -> tuple[str, ...]:
    """Return the names of training sections, for `MethodSpec.training_data`."""
    return (
        *(f"lbae-mouse-brain/slice_{number}" for number in slices),
        *(f"phantom/synthetic-{number}" for number in phantoms),
    )
