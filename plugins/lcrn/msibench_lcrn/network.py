"""The loss-controlled residual network (LCRN).

Paper: Zou, Sun, Tang, Li, "Image Fusion for Super-Resolution Mass Spectrometry Imaging of Plant
Tissue", 2025. No code was published; this is written from the text. The paper gives an initial
block 3 -> 64 and two residual blocks 64 -> 32 and 32 -> 1, each of two convolutions with a 1x1
convolution from its input to its output; kernel size, activation and the channels between a
block's convolutions are our choice (see `config.SOURCES`).
"""

from __future__ import annotations

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "none": nn.Identity,
}


class ResidualBlock(nn.Module):
    """Two convolutions, and a 1x1 convolution from the block's input to its output."""

    def __init__(
        self, before: int, after: int, kernel_size: int, activation: str, last: str
    ) -> None:
        super().__init__()
        pad = kernel_size // 2
        self.first = nn.Conv2d(before, after, kernel_size, padding=pad)
        self.between = ACTIVATIONS[activation]()
        self.second = nn.Conv2d(after, after, kernel_size, padding=pad)
        self.skip = nn.Conv2d(before, after, 1)
        self.after = ACTIVATIONS[last]()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, before, row, column)`` -> ``(B, after, row, column)``."""
        result: Tensor = self.after(self.second(self.between(self.first(x))) + self.skip(x))
        return result


class LcrnNetwork(nn.Module):
    """Guide in, one ion image out, both on the fine grid.

    Parameters
    ----------
    guide_channels
        Channels of the guide: 3 in the paper.
    channels
        After the initial block and after the first residual block.
    kernel_size
        Of every convolution but the 1x1 ones; odd.
    activation, final_activation
        Names of `ACTIVATIONS`.
    """

    def __init__(
        self,
        guide_channels: int = 3,
        channels: tuple[int, int] = (64, 32),
        kernel_size: int = 3,
        activation: str = "relu",
        final_activation: str = "none",
    ) -> None:
        super().__init__()
        wide, narrow = channels
        self.initial = nn.Sequential(
            nn.Conv2d(guide_channels, wide, kernel_size, padding=kernel_size // 2),
            ACTIVATIONS[activation](),
        )
        self.block1 = ResidualBlock(wide, narrow, kernel_size, activation, activation)
        self.block2 = ResidualBlock(narrow, 1, kernel_size, activation, final_activation)
        self.radius = 5 * (kernel_size // 2)

    def forward(self, guide: Tensor) -> Tensor:
        """``(B, guide_channels, row, column)`` in [0, 1] -> ``(B, 1, row, column)``."""
        result: Tensor = self.block2(self.block1(self.initial(guide)))
        return result
