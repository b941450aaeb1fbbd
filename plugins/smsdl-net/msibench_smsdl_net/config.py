"""Hyper-parameters of SMSDL-Net. Only the abstract is public: every number is our choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

ABSTRACT = "Lin, Yang, Ge 2025, abstract"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsdlConfig:
    """Every setting of SMSDL-Net; `SOURCES` says where each default comes from."""

    registration: Literal["none", "bspline"] = "none"
    patch_sizes: tuple[int, ...] = (4, 8, 16)
    dim: int = 96
    depth: int = 4
    heads: int = 3
    global_crop: int = 64
    local_crop: int = 32
    local_crops: int = 4
    prototypes: int = 512
    teacher_momentum: float = 0.996
    centre_momentum: float = 0.9
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    features_learning_rate: float = 5e-4
    features_weight_decay: float = 0.04
    features_steps: int = 2000
    features_batch: int = 16
    shifts: int = 2
    hidden: tuple[int, ...] = (256, 256)
    regression_learning_rate: float = 1e-3
    regression_steps: int = 2000
    regression_batch: int = 256

    def __post_init__(self) -> None:
        if not self.patch_sizes or self.dim < 1 or self.depth < 1:
            raise ValueError("the transformer needs at least one branch, dimension and block")
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim must be a multiple of twice heads, got {self.dim}, {self.heads}")
        for size in self.patch_sizes:
            if self.global_crop % size or self.local_crop % size:
                raise ValueError(
                    f"crops must be multiples of every patch size, got {self.global_crop} and "
                    f"{self.local_crop} for a patch of {size}"
                )
            if size % self.shifts:
                raise ValueError(
                    f"patch sizes must be multiples of shifts, got {size} and {self.shifts}"
                )
        if min(self.features_steps, self.regression_steps) < 0:
            raise ValueError("steps must not be negative")
        if min(self.features_batch, self.regression_batch, self.prototypes, *self.hidden) < 1:
            raise ValueError("batches, prototypes and hidden widths must be at least 1")


FULL_BUDGET: Mapping[str, object] = asdict(SmsdlConfig())
"""Our reading of the abstract; the paper's own budget is not public."""

QUICK_BUDGET: Mapping[str, object] = asdict(
    SmsdlConfig(
        dim=24,
        depth=2,
        heads=2,
        local_crops=2,
        prototypes=64,
        features_learning_rate=1e-3,
        teacher_momentum=0.98,
        features_steps=60,
        features_batch=4,
        shifts=1,
        hidden=(48, 48),
        regression_learning_rate=3e-3,
        regression_steps=300,
        regression_batch=128,
    )
)
"""Stated, small: a quarter of the dimensions, 60 steps on the stain, 300 on the ions."""

NOT_STATED = "not stated, our choice: "

SOURCES: Mapping[str, str] = {
    "registration": f"{ABSTRACT}: a nonlinear transformation; off by default, as the harness hands "
    "out registered guides; 'bspline' runs msibench.registration on the guide once more",
    "patch_sizes": f"{ABSTRACT}: multi-branch, spatially multi-level; "
    + NOT_STATED
    + "4, 8, 16 px, "
    "from subcellular texture to tissue at 2-10 µm a pixel",
    "dim": NOT_STATED + "96 a branch, enough for one section; quick: 24",
    "depth": NOT_STATED + "4 blocks a branch; quick: 2",
    "heads": NOT_STATED + "3 of 32 dimensions; quick: 2 of 12",
    "global_crop": NOT_STATED + "64 px, four of the largest patches along an edge",
    "local_crop": NOT_STATED + "32 px, half a global crop",
    "local_crops": NOT_STATED + "4; quick: 2",
    "prototypes": NOT_STATED + "512, since one section holds few textures; quick: 64",
    "teacher_momentum": "DINO (Caron et al. 2021): 0.996, rising to 1; quick: 0.98, as 60 steps "
    "would hardly move a slower teacher",
    "centre_momentum": "DINO: 0.9",
    "student_temperature": "DINO: 0.1",
    "teacher_temperature": "DINO: 0.04",
    "features_learning_rate": "DINO: 0.0005 at a batch of 256, kept; quick: 0.001",
    "features_weight_decay": "DINO: 0.04, where its schedule starts",
    "features_steps": NOT_STATED + "2000; quick: 60",
    "features_batch": NOT_STATED + "16 places of the section a step; quick: 4",
    "shifts": NOT_STATED
    + "2 x 2 shifted passes, so that tokens stand half a patch apart; quick: 1",
    "hidden": NOT_STATED + "two layers of 256; quick: two of 48",
    "regression_learning_rate": NOT_STATED + "0.001, Adam's default; quick: 0.003",
    "regression_steps": NOT_STATED + "2000; quick: 300",
    "regression_batch": NOT_STATED + "256 MSI pixels a step; quick: 128",
}
