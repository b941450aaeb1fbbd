"""Benchmark super-resolution and fusion of mass spectrometry images."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from msibench.contracts.hookspecs import hookimpl
from msibench.contracts.method import (
    Method,
    MethodSpec,
    Reporting,
    Resources,
    Restorable,
    Task,
    Trainable,
    Uncertain,
    WeightFile,
)
from msibench.contracts.progress import tell_progress
from msibench.errors import MSIBenchError

if TYPE_CHECKING:
    from msibench.contracts.board import ProtocolSpec, SchemeSpec, TrackSpec
    from msibench.contracts.dataset import DatasetSpec
    from msibench.contracts.metric import Evaluation, MetricSpec, Scored
    from msibench.image import Budget, GuideImage, Interval, MSImage, Pair, Problem, Skip
    from msibench.library.advising import advise
    from msibench.library.intervals import Confidence, confidence
    from msibench.library.leaderboards import Leaderboard, load_board, run
    from msibench.library.neighbours import (
        from_anndata,
        from_xarray,
        to_anndata,
        to_spatialdata,
        to_xarray,
    )
    from msibench.library.sections import degrade, evaluate, read
    from msibench.library.upscaling import upscale

__version__ = "0.2.0"

__all__ = [
    "Budget",
    "Confidence",
    "DatasetSpec",
    "Evaluation",
    "GuideImage",
    "Interval",
    "Leaderboard",
    "MSIBenchError",
    "MSImage",
    "Method",
    "MethodSpec",
    "MetricSpec",
    "Pair",
    "Problem",
    "ProtocolSpec",
    "Reporting",
    "Resources",
    "Restorable",
    "SchemeSpec",
    "Scored",
    "Skip",
    "Task",
    "TrackSpec",
    "Trainable",
    "Uncertain",
    "WeightFile",
    "__version__",
    "advise",
    "confidence",
    "degrade",
    "evaluate",
    "from_anndata",
    "from_xarray",
    "hookimpl",
    "load_board",
    "read",
    "run",
    "tell_progress",
    "to_anndata",
    "to_spatialdata",
    "to_xarray",
    "upscale",
]

_LIBRARY = {
    "DatasetSpec": "msibench.contracts.dataset",
    "Evaluation": "msibench.contracts.metric",
    "MetricSpec": "msibench.contracts.metric",
    "ProtocolSpec": "msibench.contracts.board",
    "SchemeSpec": "msibench.contracts.board",
    "Scored": "msibench.contracts.metric",
    "TrackSpec": "msibench.contracts.board",
    "Budget": "msibench.image",
    "GuideImage": "msibench.image",
    "Interval": "msibench.image",
    "MSImage": "msibench.image",
    "Pair": "msibench.image",
    "Problem": "msibench.image",
    "Skip": "msibench.image",
    "Confidence": "msibench.library.intervals",
    "Leaderboard": "msibench.library.leaderboards",
    "advise": "msibench.library.advising",
    "confidence": "msibench.library.intervals",
    "degrade": "msibench.library.sections",
    "evaluate": "msibench.library.sections",
    "from_anndata": "msibench.library.neighbours",
    "from_xarray": "msibench.library.neighbours",
    "load_board": "msibench.library.leaderboards",
    "read": "msibench.library.sections",
    "run": "msibench.library.leaderboards",
    "to_anndata": "msibench.library.neighbours",
    "to_spatialdata": "msibench.library.neighbours",
    "to_xarray": "msibench.library.neighbours",
    "upscale": "msibench.library.upscaling",
}
"""What is imported when it is first used, so that ``import msibench`` is quick and loads no NumPy."""


def __getattr__(name: str) -> Any:
    if name not in _LIBRARY:
        raise AttributeError(f"module 'msibench' has no attribute {name!r}")
    return getattr(import_module(_LIBRARY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
