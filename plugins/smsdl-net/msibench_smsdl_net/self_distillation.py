"""Learn features of the stained section from the section itself (DINO; Caron et al. 2021)."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msibench import tell_progress
from msibench.training.adam import Adam
from msibench_smsdl_net.config import SmsdlConfig
from msibench_smsdl_net.network import MultiBranchViT, PrototypeHead

log = logging.getLogger(__name__)


@dataclass(slots=True)
class DistillationCurves:
    """Curves that show whether the self-distillation went well."""

    loss: list[float] = field(default_factory=list)
    teacher_entropy: list[float] = field(default_factory=list)
    """Of the teacher's mean assignment, in nats: near 0 after a collapse, at most ln(prototypes)."""


class Crops:
    """Draws views of one image: a place, a size, a mirror, a change of colour."""

    def __init__(self, image: Tensor, generator: torch.Generator) -> None:
        self._image, self._generator = image, generator

    def _uniform(self, low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=self._generator).item()

    def draw(self, centre: tuple[float, float], size: int, least: float) -> Tensor:
        """Return ``(3, size, size)`` around `centre` (shares of the image's edges).

        The view covers between `least` and once `size` pixels along each edge, moved by up to half
        a view from the centre and never beyond the image.
        """
        rows, columns = self._image.shape[-2:]
        edge = max(4, round(size * self._uniform(least, 1)))
        top = (rows - edge) * centre[0] + edge * self._uniform(-0.5, 0.5)
        left = (columns - edge) * centre[1] + edge * self._uniform(-0.5, 0.5)
        first = round(min(max(top, 0), rows - edge)), round(min(max(left, 0), columns - edge))
        view = self._image[:, first[0] : first[0] + edge, first[1] : first[1] + edge]
        view = F.interpolate(view[None], size=(size, size), mode="bilinear", align_corners=False)[0]
        if self._uniform(0, 1) < 0.5:
            view = view.flip(-1)
        if self._uniform(0, 1) < 0.5:
            view = view.flip(-2)
        if self._uniform(0, 1) < 0.5:
            view = view.transpose(-1, -2)
        gain, shift = self._uniform(0.8, 1.2), self._uniform(-0.1, 0.1)
        tint = torch.tensor([self._uniform(0.9, 1.1) for _ in range(3)], device=view.device)
        return view * gain * tint[:, None, None] + shift

    def views(
        self, count: int, size: int, least: float, places: list[tuple[float, float]]
    ) -> list[Tensor]:
        """Return `count` batches of views, one view of each place in a batch."""
        return [
            torch.stack([self.draw(place, size, least) for place in places]) for _ in range(count)
        ]

    def place(self) -> tuple[float, float]:
        """Return a random place of the image."""
        return self._uniform(0, 1), self._uniform(0, 1)


def distillation_loss(
    student: list[Tensor], teacher: list[Tensor], centre: Tensor, config: SmsdlConfig
) -> Tensor:
    """Cross-entropy between the teacher's assignment of one view and the student's of every other.

    Parameters
    ----------
    student
        Prototype cosines of every view, the global ones first, each ``(B, prototypes)``.
    teacher
        Those of the global views; no gradient flows into them.
    centre
        Running mean of the teacher's cosines, ``(prototypes,)``.
    config
        Temperatures.
    """
    total, pairs = student[0].new_zeros(()), 0
    for i, theirs in enumerate(teacher):
        aim = F.softmax((theirs.detach() - centre) / config.teacher_temperature, 1)
        for j, ours in enumerate(student):
            if i != j:
                log_share = F.log_softmax(ours / config.student_temperature, 1)
                total = total - (aim * log_share).sum(1).mean()
                pairs += 1
    return total / pairs


def learn_features(
    image: Tensor, config: SmsdlConfig, generator: torch.Generator
) -> tuple[MultiBranchViT, DistillationCurves]:
    """Train the multi-branch transformer on crops of one image; return the teacher.

    Parameters
    ----------
    image
        ``(3, row, column)``, standardised, at least a global crop along each edge.
    config
        Sizes, temperatures, steps.
    generator
        Draws the crops; the weights come from PyTorch's own generator.
    """
    vit = MultiBranchViT(
        config.patch_sizes, config.global_crop, config.dim, config.depth, config.heads
    )
    head = PrototypeHead(config.dim * len(config.patch_sizes), config.prototypes)
    student = nn.Sequential(vit, head).to(image.device)
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimiser = Adam(
        student.parameters(),
        learning_rate=config.features_learning_rate,
        weight_decay=config.features_weight_decay,
        decoupled=True,
    )
    centre = torch.zeros(config.prototypes, device=image.device)
    crops, curves = Crops(image, generator), DistillationCurves()
    for step in range(config.features_steps):
        tell_progress(step, config.features_steps, "steps of the features")
        places = [crops.place() for _ in range(config.features_batch)]
        large = crops.views(2, config.global_crop, 0.6, places)
        small = crops.views(config.local_crops, config.local_crop, 0.6, places)
        with torch.no_grad():
            theirs = _side_by_side(teacher, large)
        ours = _side_by_side(student, large) + _side_by_side(student, small)
        loss = distillation_loss(ours, theirs, centre, config)
        progress = step / config.features_steps
        optimiser.learning_rate = config.features_learning_rate * _warmed_cosine(progress)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(student.parameters(), 3.0)
        optimiser.step()
        # The teacher follows more and more slowly.
        keep = 1 - (1 - config.teacher_momentum) * (math.cos(math.pi * progress) + 1) / 2
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 1 - keep)
            seen = torch.cat(theirs)
            share = F.softmax((seen - centre) / config.teacher_temperature, 1).mean(0)
            centre.lerp_(seen.mean(0), 1 - config.centre_momentum)
        curves.loss.append(loss.item())
        curves.teacher_entropy.append(-(share * share.clamp(min=1e-12).log()).sum().item())
        if step % 100 == 0:
            log.info("features: %d steps left", config.features_steps - step)
    learnt = teacher[0]
    assert isinstance(learnt, MultiBranchViT)
    return learnt.eval(), curves


def _side_by_side(network: nn.Module, views: list[Tensor]) -> list[Tensor]:
    """Run batches of views of one size as one; return the outputs of each."""
    return list(network(torch.cat(views)).split(len(views[0]))) if views else []


def _warmed_cosine(progress: float, warm_up: float = 0.1) -> float:
    """Rise linearly over the first tenth, fall to zero as a cosine over the rest."""
    if progress < warm_up:
        return (progress + 0.01) / (warm_up + 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))
