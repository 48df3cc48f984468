"""The networks of torchvision: all for classification, all for segmentation, parts of detectors."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from .entry import CLASSES, Entry, image

__all__ = ["CLASSIFICATION", "DETECTION", "SEGMENTATION"]

_REPRESENTATIVE = {
    "resnet18",
    "mobilenet_v3_small",
    "squeezenet1_1",
    "shufflenet_v2_x0_5",
    "regnet_y_400mf",
    "lraspp_mobilenet_v3_large",
    "mobilenet_v3_large_fpn",
}


def _classifier(name: str, **options: Any) -> nn.Module:
    """Build a network for classification."""
    from torchvision import models

    return models.get_model(name, weights=None, num_classes=CLASSES, **options)


def _maxvit_t() -> nn.Module:
    """Build MaxViT-T for small images: its windows of 7 x 7 would ask for 224 x 224 pixels."""
    from torchvision.models.maxvit import MaxVit

    return MaxVit(
        input_size=(64, 64),
        stem_channels=64,
        partition_size=2,
        block_channels=[64, 128, 256, 512],
        block_layers=[2, 2, 5, 2],
        head_dim=32,
        stochastic_depth_prob=0.2,
        num_classes=CLASSES,
    )


_AT_32 = """
    convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161
    densenet169 densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3
    efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_l
    efficientnet_v2_m efficientnet_v2_s googlenet mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3
    mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf
    regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf
    regnet_y_16gf regnet_y_1_6gf regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf
    regnet_y_8gf resnet101 resnet152 resnet18 resnet34 resnet50 resnext101_32x8d
    resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5
    shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn
    vgg19 vgg19_bn wide_resnet101_2 wide_resnet50_2 vit_b_16 vit_l_16
"""
_AT_64 = """
    alexnet maxvit_t swin_b swin_s swin_t swin_v2_b swin_v2_s swin_v2_t vit_b_32 vit_l_32
"""
_SIZES = {
    **dict.fromkeys(_AT_32.split(), 32),
    **dict.fromkeys(_AT_64.split(), 64),
    "vit_h_14": 28,
    "inception_v3": 75,
}
"""Pixels on a side. A ViT has two patches on a side; Swin has two on a side in its last stage."""

_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False},
    # The auxiliary classifier is trained on images of 299 pixels only: see below.
    "inception_v3": {"init_weights": False, "aux_logits": False},
    **{name: {"image_size": size} for name, size in _SIZES.items() if name.startswith("vit_")},
}


def _kind(name: str) -> str:
    """Return the kind of a network for classification."""
    if name.startswith(("vit_", "swin_")):
        return "attention"
    return "mixed" if name == "maxvit_t" else "convolutional"


def _family(name: str) -> str:
    """Return the file of torchvision that has a network."""
    known = ("convnext", "densenet", "efficientnet", "mnasnet", "mobilenet", "regnet", "shufflenet")
    known += ("squeezenet", "swin", "vgg", "vit", "googlenet", "inception", "maxvit", "alexnet")
    return next((family for family in known if name.startswith(family)), "resnet")


CLASSIFICATION: list[Entry] = [
    Entry(
        f"torchvision/{name}",
        _kind(name),
        _family(name),
        _maxvit_t if name == "maxvit_t" else partial(_classifier, name, **_OPTIONS.get(name, {})),
        image(3, size, size),
        (3, size, size),
        representative=name in _REPRESENTATIVE,
    )
    for name, size in sorted(_SIZES.items())
]
CLASSIFICATION.append(
    Entry(
        "torchvision/inception_v3_auxiliary",
        "convolutional",
        "inception",
        partial(_classifier, "inception_v3", init_weights=False),
        image(3, 299, 299),
        (3, 299, 299),
    )
)


def _segmentation(name: str, **options: Any) -> nn.Module:
    """Build a network for segmentation."""
    from torchvision.models import segmentation

    build = getattr(segmentation, name)
    return build(weights=None, weights_backbone=None, num_classes=CLASSES, **options)


def _segment(name: str, label: str | None = None, **options: Any) -> Entry:
    """Return the entry of a network for segmentation."""
    return Entry(
        f"torchvision/{label or name}",
        "segmentation",
        name.partition("_")[0],
        partial(_segmentation, name, **options),
        image(3, 32, 32),
        (3, 32, 32),
        representative=name in _REPRESENTATIVE,
    )


SEGMENTATION: list[Entry] = [
    _segment("fcn_resnet50"),
    _segment("fcn_resnet101"),
    _segment("deeplabv3_resnet50"),
    _segment("deeplabv3_resnet101"),
    _segment("deeplabv3_mobilenet_v3_large"),
    _segment("lraspp_mobilenet_v3_large"),
    _segment("fcn_resnet50", "fcn_resnet50_auxiliary", aux_loss=True),
    _segment("deeplabv3_mobilenet_v3_large", "deeplabv3_mobilenet_v3_auxiliary", aux_loss=True),
]


def _resnet_fpn(name: str, **options: Any) -> nn.Module:
    """Build a residual network with a feature pyramid, as Faster R-CNN has it."""
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    return resnet_fpn_backbone(backbone_name=name, weights=None, trainable_layers=5, **options)


def _mobilenet_fpn(name: str) -> nn.Module:
    """Build MobileNet with a feature pyramid."""
    from torchvision.models.detection.backbone_utils import mobilenet_backbone

    return mobilenet_backbone(
        backbone_name=name,
        weights=None,
        fpn=True,
        norm_layer=nn.BatchNorm2d,
        trainable_layers=6,
    )


class Detector(nn.Module):
    """A backbone and a head: images in, scores and boxes of all anchors out."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what the head makes of the backbone's maps."""
        return self.head(list(self.backbone(images).values()))


def _ssdlite() -> nn.Module:
    """Build SSDLite on MobileNetV3."""
    from torchvision.models import mobilenet_v3_large
    from torchvision.models.detection.ssdlite import SSDLiteHead, _mobilenet_extractor

    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    network = mobilenet_v3_large(weights=None, norm_layer=norm, reduced_tail=True)
    backbone = _mobilenet_extractor(network, 6, norm)
    channels = [672, 480, 512, 256, 256, 128]
    return Detector(backbone, SSDLiteHead(channels, [6] * 6, CLASSES, norm))


def _ssd() -> nn.Module:
    """Build SSD on VGG-16, with its scaled L2 norm."""
    from torchvision.models import vgg16
    from torchvision.models.detection.ssd import SSDHead, _vgg_extractor

    backbone = _vgg_extractor(vgg16(weights=None), False, 5)
    channels = [512, 1024, 512, 256, 256, 256]
    return Detector(backbone, SSDHead(channels, [4, 6, 6, 6, 4, 4], CLASSES))


def _retinanet() -> nn.Module:
    """Build RetinaNet on ResNet-18."""
    from torchvision.models.detection.retinanet import RetinaNetHead
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    backbone = _resnet_fpn(
        "resnet18",
        norm_layer=nn.BatchNorm2d,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    return Detector(backbone, RetinaNetHead(256, 9, CLASSES))


def _fcos() -> nn.Module:
    """Build FCOS on ResNet-18: group normalisation in the heads."""
    from torchvision.models.detection.fcos import FCOSHead
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    backbone = _resnet_fpn(
        "resnet18",
        norm_layer=nn.BatchNorm2d,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    return Detector(backbone, FCOSHead(256, 1, CLASSES))


class ProposalNetwork(nn.Module):
    """A backbone with feature pyramid and the head that proposes regions."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.detection.rpn import RPNHead

        self.backbone = _mobilenet_fpn("mobilenet_v3_small")
        self.head = RPNHead(256, 3)

    def forward(self, images: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return objectness and boxes of every level."""
        return self.head(list(self.backbone(images).values()))


_PYRAMID = ("fpn.layer_blocks.*",)


def _detect(name: str, family: str, build: Any, size: int, *heads: str) -> Entry:
    """Return the entry of a part of a detector."""
    return Entry(
        f"torchvision/{name}",
        "detection",
        family,
        build,
        image(3, size, size),
        (3, size, size),
        heads,
        representative=name in _REPRESENTATIVE,
    )


DETECTION: list[Entry] = [
    _detect("resnet18_fpn_frozen_norm", "fpn", partial(_resnet_fpn, "resnet18"), 64, *_PYRAMID),
    _detect(
        "resnet50_fpn",
        "fpn",
        partial(_resnet_fpn, "resnet50", norm_layer=nn.BatchNorm2d),
        64,
        *_PYRAMID,
    ),
    _detect(
        "mobilenet_v3_large_fpn",
        "fpn",
        partial(_mobilenet_fpn, "mobilenet_v3_large"),
        64,
        *_PYRAMID,
    ),
    _detect("mobilenet_v2_fpn", "fpn", partial(_mobilenet_fpn, "mobilenet_v2"), 64, *_PYRAMID),
    _detect(
        "ssdlite_mobilenet_v3_large",
        "ssd",
        _ssdlite,
        64,
        "head.*_head.module_list.?.1",
    ),
    _detect("ssd_vgg16", "ssd", _ssd, 272, "head.*_head.module_list.*"),
    _detect(
        "retinanet_resnet18",
        "retinanet",
        _retinanet,
        64,
        "head.*.cls_logits",
        "head.*.bbox_reg",
    ),
    _detect(
        "fcos_resnet18",
        "fcos",
        _fcos,
        64,
        "head.*.cls_logits",
        "head.*.bbox_reg",
        "head.*.bbox_ctrness",
    ),
    _detect(
        "proposals_mobilenet_v3_small",
        "rpn",
        ProposalNetwork,
        64,
        "head.cls_logits",
        "head.bbox_pred",
    ),
]
