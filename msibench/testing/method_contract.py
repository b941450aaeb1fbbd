"""The contract of a method as tests: subclass `MethodContract` and set `spec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from msibench.contracts.method import MethodSpec
from msibench.testing.method_checks import METHOD_CHECKS
from msibench.testing.subject import NotCheckableError, Subject


class MethodContract:
    """Subclass this in a plugin's tests and set `spec`; each check becomes one test."""

    spec: ClassVar[MethodSpec]
    config: ClassVar[Mapping[str, Any]] = {}
    """What differs from the defaults, to keep the checks of a fitting method short."""
    low_shape: ClassVar[tuple[int, int]] = (12, 10)
    expected_failures: ClassVar[Mapping[str, str]] = {}
    """Checks that this method is known to fail, with the reason; each must really fail."""

    @pytest.mark.parametrize("check", METHOD_CHECKS, ids=lambda check: check.__name__)
    def test_contract(
        self, check: Callable[[Subject], None], request: pytest.FixtureRequest
    ) -> None:
        """Run one check."""
        if reason := self.expected_failures.get(check.__name__):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
        subject = Subject(spec=self.spec, config=self.config, low_shape=self.low_shape)
        try:
            check(subject)
        except NotCheckableError as reason:
            pytest.skip(str(reason))
