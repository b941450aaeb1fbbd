"""Types of what metrics take: numpy's arrays and torch's tensors alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

ImagesT = TypeVar("ImagesT", NDArray[Any], "Tensor")
"""Images ``(..., row, column)``: a numpy array or a torch tensor, and values of the same kind out."""

Images: TypeAlias = "NDArray[Any] | Tensor"
"""The same, where no values of their kind are returned."""

Mask: TypeAlias = "ArrayLike | Tensor"
"""Pixels to evaluate, bool ``(row, column)``."""
