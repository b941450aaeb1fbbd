"""Pretrained files: find them, check them, fetch them on request, say how to get them.

Nothing here downloads on its own: `find` and `require` only look, `fetch` is what the user asked for.
The module imports no torch; `read_state_dict` does, when it is called.
"""

from msibench.weights.container import UnsafeWeightsError, refuse_torchscript
from msibench.weights.load import bare_state_dict, blocks_per_group, read_state_dict
from msibench.weights.locate import add, fetch, find, is_here, require, resolve, sha256_of, verify
from msibench.weights.registry import CORE_WEIGHTS, known, lookup

__all__ = [
    "CORE_WEIGHTS",
    "UnsafeWeightsError",
    "add",
    "bare_state_dict",
    "blocks_per_group",
    "fetch",
    "find",
    "is_here",
    "known",
    "lookup",
    "read_state_dict",
    "refuse_torchscript",
    "require",
    "resolve",
    "sha256_of",
    "verify",
]
