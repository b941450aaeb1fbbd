"""Every baseline with its hyper-parameters and where each comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

VAN_DE_PLAS = "Van de Plas et al., Nat. Methods 12 (2015) 366-372"
ZOU = "Zou Y., Sun S., Tang W., Li B., Image Fusion for Super-Resolution MSI of Plant Tissue (2025)"
SRCNN = "Dong et al., IEEE TPAMI 38 (2016) 295-307"
GUIDED_FILTER = "He and Sun, Fast Guided Filter, arXiv:1505.00996 (2015)"
JOINT_BILATERAL = "Kopf et al., ACM Trans. Graph. 26 (2007) 96"
PIXTRANSFORM = "de Lutio et al., ICCV 2019, 8829-8837"

_FEATURES = {
    "features": "not stated in this detail, our choice: colour, colour smoothed over half and over "
    "one coarse pixel, gradient magnitude, local standard deviation",
}
_FIT = {
    "epochs": "not stated, our choice: 2,000, as LCRN's upper limit in the same comparison; quick: "
    "few enough for seconds",
    "learning_rate": "not stated, our choice: 3e-4, as LCRN in the same comparison; quick: higher, "
    "for fewer epochs",
    "rises": "our choice: never stop early, so that every ion has the same budget",
    "tile": "our choice: fine pixels along an edge of the parts whose gradients are summed",
    "target": f"{ZOU}: the interpolated ion image; footprint: our choice, as PixTransform's loss",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What becomes a `MethodSpec`."""

    target: str
    config: Mapping[str, object]
    citation: str
    title: str
    sources: Mapping[str, str]
    budget: str = ""
    control: bool = field(default=False)


_ALL_FEATURES = ("colour", "smooth-half", "smooth-one", "gradient", "deviation")
_LINEAR = "msibench_baselines.linear:LinearFusion"
_NETWORK = "msibench_baselines.image_network:ImageNetworkFusion"

METHODS: Mapping[str, Baseline] = {
    "pls": Baseline(
        target=_LINEAR,
        config={
            "model": "pls",
            "components": 8,
            "ridge": 0.0,
            "features": _ALL_FEATURES,
        },
        citation=VAN_DE_PLAS,
        title="partial least squares from guide features",
        sources={
            "model": f"{VAN_DE_PLAS}: PLS regression, guide at the coarse grid to all m/z at once",
            "components": "not stated here, our choice: 8, about half of the 15 features",
            "ridge": "not used by this model",
            **_FEATURES,
        },
    ),
    "ridge": Baseline(
        target=_LINEAR,
        config={
            "model": "ridge",
            "components": 0,
            "ridge": 1e-2,
            "features": _ALL_FEATURES,
        },
        citation="Hoerl and Kennard, Technometrics 12 (1970) 55-67",
        title="ridge regression from guide features",
        sources={
            "model": "our choice: the linear map that PLS approximates, with a penalty",
            "components": "not used by this model",
            "ridge": "our choice: 0.01 on standardised features, as a share of the pixels",
            **_FEATURES,
        },
    ),
    "ols": Baseline(
        target=_LINEAR,
        config={
            "model": "ols",
            "components": 0,
            "ridge": 0.0,
            "features": ("colour",),
        },
        citation="ordinary least squares",
        title="least squares from the guide's colour",
        sources={
            "model": "our choice: the simplest map from guide to ions",
            "components": "not used by this model",
            "ridge": "not used by this model",
            "features": "our choice: colour alone",
        },
    ),
    "guided-filter": Baseline(
        target="msibench_baselines.filters:GuidedFilter",
        config={"radius": 2, "epsilon": 1e-3},
        citation=GUIDED_FILTER,
        title="local linear model of the guide",
        sources={
            "radius": "our choice: windows of 5 x 5 coarse pixels, the least that fits 4 numbers well",
            "epsilon": f"{GUIDED_FILTER}: between 1e-4 and 1e-1 for guides in [0, 1]",
        },
    ),
    "joint-bilateral": Baseline(
        target="msibench_baselines.filters:JointBilateral",
        config={"radius": 2, "sigma_space": 1.0, "sigma_range": 0.1},
        citation=JOINT_BILATERAL,
        title="joint bilateral upsampling",
        sources={
            "radius": f"{JOINT_BILATERAL}: windows of 5 x 5 coarse pixels",
            "sigma_space": "our choice: one coarse pixel, so that the window holds two deviations",
            "sigma_range": "our choice: a tenth of the guide's range",
        },
    ),
    "guide-only": Baseline(
        target="msibench_baselines.guide_only:GuideOnly",
        config={},
        citation="none: a control of this benchmark",
        title="control: paints the guide",
        sources={},
        control=True,
    ),
    "cnn3": Baseline(
        target=_NETWORK,
        config={
            "network": "cnn3",
            "channels": (64, 32),
            "kernels": (9, 1, 5),
            "depth": 0,
            "epochs": 2000,
            "learning_rate": 3e-4,
            "rises": None,
            "tile": 192,
            "target": "magnified",
        },
        citation=ZOU,
        title="three-layer CNN, budget as published where stated",
        sources={
            "network": f"{ZOU}: three-layer CNN with MSE as a baseline",
            "channels": f"not stated, our choice: 64 and 32, as {SRCNN}; quick: 8 and 8",
            "kernels": f"not stated, our choice: 9-1-5, as {SRCNN}; quick: 3-3-3",
            "depth": "not used by this network",
            **_FIT,
        },
        budget="paper",
    ),
    "unet": Baseline(
        target=_NETWORK,
        config={
            "network": "unet",
            "channels": (128, 5),
            "kernels": (3,),
            "depth": 5,
            "epochs": 2000,
            "learning_rate": 3e-4,
            "rises": None,
            "tile": 512,
            "target": "magnified",
        },
        citation=ZOU,
        title="single-stage U-Net, MSE only",
        sources={
            "network": f"{ZOU}: single-stage U-Net with MSE (its mint data)",
            "channels": "not stated, our choice: 128, skips of 5, as DeepFERE's fusion network; quick: "
            "8 and 2",
            "kernels": "not stated, our choice: 3",
            "depth": "not stated, our choice: 5 scales, as DeepFERE's fusion network; quick: 2",
            **_FIT,
        },
        budget="paper",
    ),
    "pixtransform": Baseline(
        target="msibench_baselines.pixtransform:PixTransform",
        config={
            "hidden": (32, 2048, 32),
            "iterations": 32_000,
            "batch": 32,
            "learning_rate": 1e-3,
            "weight_decay": (1e-4, 1e-3, 1e-3),
            "coordinates": True,
        },
        citation=PIXTRANSFORM,
        title="guided per-pixel network with footprint loss",
        sources={
            "hidden": f"{PIXTRANSFORM}: 32-2048-32; quick: 16-64-16",
            "iterations": f"{PIXTRANSFORM}: 32,000; quick: 400",
            "batch": f"{PIXTRANSFORM}: 32 coarse pixels",
            "learning_rate": f"{PIXTRANSFORM}: Adam, 0.001; quick: 0.005",
            "weight_decay": f"{PIXTRANSFORM}: 1e-4 (place), 1e-3 (colour), 1e-3 (head)",
            "coordinates": f"{PIXTRANSFORM}: the place is an input beside the colour",
        },
        budget="paper",
    ),
}


def _variant(
    name: str, title: str, changes: Mapping[str, object], budget: str = "quick"
) -> Baseline:
    published = METHODS[name]
    return Baseline(
        target=published.target,
        config={**published.config, **changes},
        citation=published.citation,
        title=title,
        sources=published.sources,
        budget=budget,
    )


_SMALL_CNN: Mapping[str, object] = {
    "channels": (8, 8), "kernels": (3, 3, 3), "epochs": 40, "learning_rate": 2e-2,
}  # fmt: skip
_SMALL_UNET: Mapping[str, object] = {
    "channels": (8, 2), "depth": 2, "epochs": 30, "learning_rate": 2e-2,
}  # fmt: skip
METHODS = {
    **METHODS,
    "cnn3-quick": _variant("cnn3", "three-layer CNN, small, 40 epochs", _SMALL_CNN),
    "unet-quick": _variant("unet", "U-Net, small, 30 epochs", _SMALL_UNET),
    "cnn3-footprint": _variant(
        "cnn3",
        "three-layer CNN fitted through the pixel footprint",
        {"target": "footprint"},
        budget="paper",
    ),
    "cnn3-footprint-quick": _variant(
        "cnn3",
        "three-layer CNN fitted through the pixel footprint, pixel by pixel, small, 150 epochs",
        {**_SMALL_CNN, "kernels": (1, 1, 1), "epochs": 150, "target": "footprint"},
    ),
    "unet-footprint": _variant(
        "unet",
        "U-Net fitted through the pixel footprint",
        {"target": "footprint"},
        budget="paper",
    ),
    "unet-footprint-quick": _variant(
        "unet",
        "U-Net fitted through the pixel footprint, one scale, small, 300 epochs",
        {**_SMALL_UNET, "depth": 1, "epochs": 300, "learning_rate": 1e-2, "target": "footprint"},
    ),
    "pixtransform-quick": _variant(
        "pixtransform",
        "guided per-pixel network, small, 400 steps",
        {"hidden": (16, 64, 16), "iterations": 400, "learning_rate": 5e-3},
    ),
}
