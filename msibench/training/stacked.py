"""Many networks of one architecture as one: their parameters stacked, ``(ion, parameter)``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from threading import local
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


def ion_seed(seed: int, identity: int) -> int:
    """Return the seed of one ion: the same whether it is fitted alone or among others."""
    return int(np.random.SeedSequence((seed, identity)).generate_state(1)[0])


def initial_parameters(
    build: Callable[[], nn.Module], identities: Sequence[int], seed: int
) -> tuple[nn.Module, Tensor]:
    """Return one module as the architecture, and every ion's first parameters, flattened."""
    module: nn.Module | None = None
    rows: list[Tensor] = []
    with torch.random.fork_rng(devices=[]):
        for identity in identities or (0,):
            torch.manual_seed(ion_seed(seed, identity))
            built = build()
            module = module or built
            rows.append(nn.utils.parameters_to_vector(built.parameters()).detach().float())
    assert module is not None
    return module, torch.stack(rows)[: len(identities)]


def _views(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """Return the named parameters as views of ``(ion, parameter)``, each ``(ion, *its shape)``."""
    named = dict(module.named_parameters())
    pieces = torch.split(flat, [value.numel() for value in named.values()], dim=1)
    return {
        name: piece.reshape(flat.shape[0], *value.shape)
        for (name, value), piece in zip(named.items(), pieces, strict=True)
    }


Forward = Callable[[Tensor, Tensor], Tensor]
"""``(ion, parameter)`` and a shared input -> ``(ion, batch, channel, row, column)``."""


def forward_of(module: nn.Module, *, compiled: bool = False) -> Forward:
    """Return the architecture as one function of all ions' flat parameters and a shared input."""
    threads = local()

    def architecture() -> nn.Module:
        """Return this thread's copy: a module holds the parameters while it is called with them."""
        if not hasattr(threads, "module"):
            threads.module = copy.deepcopy(module)
        return cast("nn.Module", threads.module)

    def one(parameters: Mapping[str, Tensor], image: Tensor) -> Tensor:
        # The compiled function is called from one thread, and a compiler follows no thread-local.
        result: Tensor = functional_call(
            module if compiled else architecture(), dict(parameters), (image,)
        )
        return result

    batched = vmap(one, in_dims=(0, None))

    def forward(flat: Tensor, image: Tensor) -> Tensor:
        views = _views(module, flat)
        if flat.shape[0] == 1:  # one network needs no batching rule
            return one({name: value[0] for name, value in views.items()}, image)[None]
        return batched(views, image)

    return torch.compile(forward, dynamic=False) if compiled else forward


def activation_bytes(module: nn.Module, example: Tensor) -> int:
    """Return roughly what fitting one network on `example` keeps in memory, in bytes.

    Every operation's output is held for the backward pass, and its gradient once beside it.
    """
    held = 0

    def count(_: nn.Module, __: object, output: object) -> None:
        nonlocal held
        if isinstance(output, Tensor):
            held += output.numel() * output.element_size()

    shape_only = copy.deepcopy(module).to("meta")
    for child in shape_only.modules():
        if not any(child.children()):
            child.register_forward_hook(count)
    with torch.no_grad():
        shape_only(example.to("meta"))
    return 3 * held
