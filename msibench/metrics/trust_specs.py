"""Specs of the measures of trust; none yet."""

from __future__ import annotations

from msibench.contracts.metric import MetricSpec

TRUST_METRICS: tuple[MetricSpec, ...] = ()
