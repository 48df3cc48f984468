"""Three small networks for 28×28 grey images in ten classes: plain, residual, inverted residual."""

from __future__ import annotations

import torch
from optprune.problems.digits import Block
from torch import nn

__all__ = ["VGG", "InvertedResidual", "MobileNet", "ResNet20"]

CLASSES = 10


class VGG(nn.Module):
    """Six 3×3 convolutions in pairs, with max-pooling between the pairs.

    288,170 parameters, 29,128,448 MACs an image (convolutions and the head).

    After Simonyan and Zisserman (2015, arXiv:1409.1556), with batch normalization; the widths are
    ours.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(1, 32),
            *_convolution(32, 32),
            nn.MaxPool2d(2),
            *_convolution(32, 64),
            *_convolution(64, 64),
            nn.MaxPool2d(2),
            *_convolution(64, 128),
            *_convolution(128, 128),
        )
        self.head = nn.Linear(128, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of shape ``(n, 10)`` for images of shape ``(n, 1, 28, 28)``."""
        logits: torch.Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return logits


class ResNet20(nn.Module):
    """A stem and three stages of three residual blocks, with 16, 32 and 64 channels.

    272,186 parameters, 31,021,952 MACs an image (convolutions and the head).

    After He et al. (2016, arXiv:1512.03385, section 4.2), with projections where the shape changes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.stages = nn.Sequential()
        channels = 16
        for width, first_stride in ((16, 1), (32, 2), (64, 2)):
            for stride in (first_stride, 1, 1):
                self.stages.append(Block(channels, width, stride))
                channels = width
        self.head = nn.Linear(channels, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of shape ``(n, 10)`` for images of shape ``(n, 1, 28, 28)``."""
        x = torch.relu(self.norm(self.stem(x)))
        logits: torch.Tensor = self.head(self.stages(x).mean(dim=(2, 3)))
        return logits


class InvertedResidual(nn.Module):
    """Expand by 1×1, filter each channel by 3×3, project by 1×1 without an activation.

    Parameters
    ----------
    inputs, outputs : int
        Channels; where they are equal and `stride` is 1, the inputs are added to the outputs.
    expansion : int
        Channels inside are `expansion` times `inputs`; at 1, nothing is expanded.
    stride : int
        Of the 3×3 convolution.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        inner = expansion * inputs
        self.adds = stride == 1 and inputs == outputs
        self.expand = _pointwise(inputs, inner) if expansion != 1 else nn.Identity()
        self.filter = nn.Sequential(
            nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
        )
        self.project = nn.Sequential(
            nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's outputs, shape ``(n, outputs, height / stride, width / stride)``."""
        y: torch.Tensor = self.project(self.filter(self.expand(x)))
        return x + y if self.adds else y


class MobileNet(nn.Module):
    """A stem, seven inverted residual blocks, a last 1×1 convolution and a head.

    86,634 parameters, 6,597,856 MACs an image (convolutions and the head).

    After MobileNetV2 of Sandler et al. (2018, arXiv:1801.04381); the widths and strides are ours.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()
        )
        self.blocks = nn.Sequential()
        channels = 16
        for expansion, width, repeats, first_stride in (
            (1, 16, 1, 1),
            (4, 24, 2, 2),
            (4, 32, 2, 2),
            (4, 64, 2, 1),
        ):
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                self.blocks.append(InvertedResidual(channels, width, expansion, stride))
                channels = width
        self.last = _pointwise(channels, 128)
        self.head = nn.Linear(128, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of shape ``(n, 10)`` for images of shape ``(n, 1, 28, 28)``."""
        x = self.last(self.blocks(self.stem(x)))
        logits: torch.Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """Return a 3×3 convolution, its normalization and its activation."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


def _pointwise(inputs: int, outputs: int) -> nn.Sequential:
    """Return a 1×1 convolution with its normalization and its bounded activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6()
    )
