"""Hyper-parameters of DeepFERE, each with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

CODE = "the authors' program, as the method card describes it"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepfereConfig:
    """Every setting of DeepFERE; `SOURCES` says where each default comes from."""

    as_published: bool = False
    register: bool = True
    mode: Literal["auto", "ion", "embedding"] = "auto"
    warm_up_on: Literal["ion", "embedding"] = "ion"
    embedding: Literal["pca", "nmf", "umap"] = "pca"
    mapping_width: int = 64
    width: int = 128
    skip_width: int = 5
    scales: int = 5
    embedding_iterations: int = 6000
    embedding_warm_up: int = 1000
    embedding_learning_rate: float = 2e-5
    ion_iterations: int = 500
    ion_warm_up: int = 1000
    ion_learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    windows: int = 800
    chunk: int = 50

    def __post_init__(self) -> None:
        for name in ("mapping_width", "width", "skip_width", "scales", "windows", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.embedding_iterations < self.embedding_warm_up:
            raise ValueError(
                "embedding_iterations counts the warm-up too: expected at least "
                f"{self.embedding_warm_up}, got {self.embedding_iterations}"
            )
        if min(self.ion_iterations, self.ion_warm_up, self.embedding_warm_up) < 0:
            raise ValueError("iterations and warm-ups must not be negative")


PAPER_BUDGET: Mapping[str, object] = asdict(DeepfereConfig())
"""Published widths and iterations, corrected where the program departs from the text."""

AS_PUBLISHED: Mapping[str, object] = asdict(DeepfereConfig(as_published=True))
"""What the authors' program does, its quirks included."""

QUICK_BUDGET: Mapping[str, object] = asdict(
    DeepfereConfig(
        mapping_width=12,
        width=16,
        scales=4,
        embedding_iterations=100,
        embedding_warm_up=40,
        embedding_learning_rate=2e-3,
        ion_iterations=150,
        ion_warm_up=0,
        ion_learning_rate=2e-3,
        windows=10,
    )
)
"""Stated, small: about a thirtieth of the arithmetic, 150 joint iterations an ion at ten times the rate. At 40
iterations and 25 times the rate an ion collapsed with two of three seeds (10.4, 16.6 and 10.4 dB)."""

MULTISTAGE: Mapping[str, object] = {**PAPER_BUDGET, "register": False}
"""The U-Net with which Zou et al. (2025) compare on ginkgo: several stages, the same three losses, a guide that is
registered beforehand."""

QUICK_MULTISTAGE: Mapping[str, object] = {**QUICK_BUDGET, "register": False}

SOURCES: Mapping[str, str] = {
    "as_published": f"true: {CODE}; false: our mending, see the README for the differences",
    "register": f"{CODE}: true; false for the U-Net of Zou et al. 2025, whose guides BigWarp had registered",
    "mode": "not stated, our choice: embedding for three channels without an m/z, ion images one by "
    "one otherwise",
    "warm_up_on": f"{CODE}: an embedding, to no effect; our choice: the ion itself, so that an ion's "
    "result does not depend on which others are in the stack",
    "embedding": "for warm_up_on = embedding; not stated for other sections (the example's is UMAP), our choice: PCA, which needs "
    "nothing more; UMAP is an extra",
    "mapping_width": f"{CODE}: 64; quick: 12",
    "width": f"{CODE}: 128; quick: 16",
    "skip_width": f"{CODE}: 5",
    "scales": f"{CODE}: 5; quick: 4",
    "embedding_iterations": f"{CODE}: 6000 with the warm-up; quick: 100",
    "embedding_warm_up": f"{CODE}: 1000; quick: 40",
    "embedding_learning_rate": f"{CODE}: 2e-5; quick: 2e-3",
    "ion_iterations": f"{CODE}: 500; quick: 150",
    "ion_warm_up": f"{CODE}: 1000, of a network that is then thrown away, so as published they are "
    "not run; otherwise run and kept; quick: 0",
    "ion_learning_rate": f"{CODE}: 2e-4; quick: 2e-3",
    "beta1": f"{CODE}: 0.5",
    "beta2": f"{CODE}: 0.999",
    "windows": f"{CODE}: 800 windows of 16 x 16 an iteration; quick: 10",
    "chunk": "no influence on the result beyond rounding: windows in memory at a time",
}
