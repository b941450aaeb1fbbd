"""Benchmark super-resolution and fusion of mass spectrometry images."""

from msibench.contracts.dataset import DatasetSpec
from msibench.contracts.hookspecs import hookimpl
from msibench.contracts.method import (
    Method,
    MethodSpec,
    Reporting,
    Resources,
    Task,
    Trainable,
    WeightFile,
)
from msibench.contracts.metric import Evaluation, MetricSpec, Scored
from msibench.contracts.progress import tell_progress
from msibench.errors import MSIBenchError
from msibench.image import Budget, GuideImage, MSImage, Pair, Problem, Skip

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "DatasetSpec",
    "Evaluation",
    "GuideImage",
    "MSIBenchError",
    "MSImage",
    "Method",
    "MethodSpec",
    "MetricSpec",
    "Pair",
    "Problem",
    "Reporting",
    "Resources",
    "Scored",
    "Skip",
    "Task",
    "Trainable",
    "WeightFile",
    "__version__",
    "hookimpl",
    "tell_progress",
]
