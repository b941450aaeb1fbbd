"""Hyper-parameters of LCRN, each with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

PAPER = "Zou et al. 2025"


@dataclass(frozen=True, slots=True, kw_only=True)
class LcrnConfig:
    """Every setting of LCRN; `SOURCES` says where each default comes from."""

    channels: tuple[int, int] = (64, 32)
    kernel_size: int = 3
    activation: Literal["relu", "leaky-relu", "gelu"] = "relu"
    final_activation: Literal["none", "relu", "sigmoid"] = "none"
    edge_kernel: Literal["laplacian8", "laplacian4", "sobel"] = "laplacian8"
    guide_to_edges: Literal["grey", "mean", "each"] = "grey"
    mse_weight: float = 1.0
    edge_weight: float = 1.0
    learning_rate: float = 3e-4
    epochs: int = 2000
    fidelity: Literal["magnified", "footprint"] = "magnified"
    rises: int | None = None
    patience: int | None = 50
    restore: Literal["best", "last"] = "best"
    best_by: Literal["edge", "total", "mse"] = "total"
    tile: int = 192
    memory_gb: float = 1.0

    def __post_init__(self) -> None:
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1, got {self.kernel_size}")
        if len(self.channels) != 2 or min(self.channels) < 1:
            raise ValueError(
                "channels must be two counts (after the initial block, after the first residual "
                f"block), got {self.channels}"
            )
        if self.mse_weight < 0 or self.edge_weight < 0:
            raise ValueError(
                f"loss weights must not be negative, got {self.mse_weight} and {self.edge_weight}"
            )
        if self.fidelity not in ("magnified", "footprint"):
            raise ValueError(f"fidelity must be magnified or footprint, got {self.fidelity!r}")
        if self.tile < 16:
            raise ValueError(f"tile must be at least 16 fine pixels, got {self.tile}")


PAPER_BUDGET: Mapping[str, object] = asdict(LcrnConfig())
"""As published, and our choice where the paper is silent."""

QUICK_BUDGET: Mapping[str, object] = asdict(
    LcrnConfig(channels=(16, 8), learning_rate=1e-2, epochs=60, patience=None)
)
"""Stated, small: a sixteenth of the arithmetic, 60 epochs at a higher learning rate
without early stop (at that rate the edge loss rises five times before anything is learnt)."""

FOOTPRINT_BUDGET: Mapping[str, object] = asdict(LcrnConfig(fidelity="footprint", edge_weight=0.001))
"""The published network and budget, fitted to the coarse pixels themselves."""

QUICK_FOOTPRINT_BUDGET: Mapping[str, object] = asdict(
    LcrnConfig(
        channels=(16, 8),
        kernel_size=1,
        activation="leaky-relu",
        learning_rate=1e-2,
        epochs=150,
        patience=None,
        fidelity="footprint",
        edge_weight=0.001,
    )
)

SOURCES: Mapping[str, str] = {
    "channels": f"{PAPER}, Experimental Section, Training: 3, 64, 32, 1; quick: 16 and 8",
    "kernel_size": "not stated, our choice: 3, with which the published iteration rate fits the "
    "arithmetic of one whole-image pass",
    "activation": "not stated, our choice: ReLU, as in the residual networks that the paper builds on; quick "
    "footprint: leaky, as a small network of ReLUs may die",
    "final_activation": "not stated, our choice: none; negative intensities are set to 0 at the end",
    "edge_kernel": "not stated ('a designated 3x3 convolutional kernel to extract edge features'), "
    "our choice: the 8-neighbour Laplacian, one kernel that sees every direction",
    "guide_to_edges": "not stated how three channels meet one, our choice: luma (Rec. 601); 'mean' "
    "is their mean, 'each' compares the output with every channel",
    "mse_weight": "not stated ('the additive sum of the loss times its respective weight'), our "
    "choice: 1",
    "edge_weight": "not stated, our choice: 1",
    "learning_rate": f"{PAPER}, Training: 0.0003, Adam with default settings; quick: 0.01",
    "epochs": f"{PAPER}, Training: 2000 as upper limit; quick: 60",
    "fidelity": f"{PAPER}, Fusion Workflow: the interpolated ion image; footprint: our choice, the output's "
    "mean over each coarse pixel is held to what was measured there",
    "rises": f"{PAPER}, Training: 5 total counts of loss increase, read to the letter; off by default, as it "
    "counts the optimiser's jitter and ends fits in which both losses still fall",
    "patience": f"{PAPER}, section 2.4: ended if the edge loss 'was not optimized along with the overall loss "
    "for a certain number of epochs'; the number is not stated, our choice: 50; quick: no early stop",
    "restore": "not stated, our choice: the best epoch, so that the epochs after it cost nothing",
    "best_by": "not stated, our choice: the total loss; the edge loss alone can be lowest before the "
    "ion image is learnt at all",
    "tile": "no influence on the result beyond rounding: fine pixels along the edge of the parts "
    "whose gradients are summed",
    "memory_gb": "no influence on the result beyond rounding: memory that the batch of "
    "ions on a GPU may take",
}
