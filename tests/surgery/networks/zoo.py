"""Networks of torchvision, at small input sizes and with few classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torchvision
from torch import nn

from .case import Case, image


def _vgg() -> nn.Module:
    # 4096 hidden units twice would be 120 of its 135 million parameters: 64 say the same.
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"], batch_norm=True)
    return Vgg(features)


class Vgg(nn.Module):
    """VGG-16 with batch normalisation and a narrower classifier."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 64),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(64, 64),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(64, 10),
        )

    forward = torchvision.models.VGG.forward


def model(name: str, **options: Any) -> Callable[[], nn.Module]:
    """Return the factory of a torchvision network with random weights and ten classes."""
    return lambda: getattr(torchvision.models, name)(weights=None, num_classes=10, **options)


def _convnext_norms() -> dict[str, str]:
    stages = {1: 3, 3: 3, 5: 9, 7: 3}
    names = [f"features.{s}.{i}.block.2" for s, depth in stages.items() for i in range(depth)]
    names += ["features.0.1", "features.2.0", "features.4.0", "features.6.0", "classifier.0"]
    return {name: f"{name}.weight" for name in names}


ZOO = [
    Case("resnet18", model("resnet18"), image(3, 32, 32), every_layer_but=("fc",)),
    Case("resnet50", model("resnet50"), image(3, 32, 32), every_layer_but=("fc",)),
    Case("vgg16_bn", _vgg, image(3, 32, 32), every_layer_but=("classifier.6",)),
    Case(
        "mobilenet_v2", model("mobilenet_v2"), image(3, 32, 32), every_layer_but=("classifier.1",)
    ),
    Case(
        "mobilenet_v3_small",
        model("mobilenet_v3_small"),
        image(3, 32, 32),
        every_layer_but=("classifier.3",),
    ),
    Case("densenet121", model("densenet121"), image(3, 32, 32), every_layer_but=("classifier",)),
    Case(
        "googlenet",
        model("googlenet", init_weights=False),
        image(3, 32, 32),
        every_layer_but=(
            "fc",
            "aux1.fc2",
            "aux2.fc2",
            "aux1.fc1",
            "aux2.fc1",
            "aux1.conv.conv",
            "aux2.conv.conv",
        ),
    ),
    Case(
        "efficientnet_b0",
        model("efficientnet_b0"),
        image(3, 32, 32),
        every_layer_but=("classifier.1",),
    ),
    Case("regnet_y_400mf", model("regnet_y_400mf"), image(3, 32, 32), every_layer_but=("fc",)),
    Case(
        "squeezenet1_1",
        model("squeezenet1_1"),
        image(3, 64, 64),
        every_layer_but=("classifier.1",),
    ),
    Case(
        "shufflenet_v2_x1_0",
        model("shufflenet_v2_x1_0"),
        image(3, 32, 32),
        prunable=(
            "conv1.0.weight",
            "stage2.0.branch2.0.weight",
            "stage2.1.branch2.0.weight",
            "stage3.4.branch2.0.weight",
            "conv5.0.weight",
        ),
    ),
    Case("mnasnet1_0", model("mnasnet1_0"), image(3, 32, 32), every_layer_but=("classifier.1",)),
    Case(
        "convnext_tiny",
        model("convnext_tiny"),
        image(3, 32, 32),
        every_layer_but=("classifier.2",),
        norms=_convnext_norms(),
    ),
]
