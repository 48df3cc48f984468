"""Networks written as people write them: text, sequences, images, and what code likes to do."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from .entry import CLASSES, Entry, image, tokens

__all__ = ["OWN"]

VOCABULARY = 1000
LENGTH = 16


class TextEncoder(nn.Module):
    """BERT in small: embeddings of tokens and positions, a transformer encoder, a classifier."""

    def __init__(
        self, width: int = 64, heads: int = 4, depth: int = 2, norm_first: bool = False
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, width)
        self.position = nn.Parameter(0.02 * torch.randn(1, LENGTH, width))
        self.norm = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, activation="gelu", batch_first=True, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of rows of token numbers."""
        x = self.norm(self.token(tokens) + self.position[:, : tokens.shape[1]])
        x = self.encoder(x)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


class Translator(nn.Module):
    """An encoder and a decoder with a causal mask, called with two arguments."""

    def __init__(self, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.transformer = nn.Transformer(width, heads, 2, 2, 4 * width, batch_first=True)
        self.output = nn.Linear(width, CLASSES)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return logits for every target token."""
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1], dtype=torch.float32)
        mask = mask.to(self.embedding.weight.dtype)
        x = self.transformer(
            self.embedding(source) * self.width**0.5,
            self.embedding(target) * self.width**0.5,
            tgt_mask=mask,
            tgt_is_causal=True,
        )
        return self.output(x)


class Attention(nn.Module):
    """Causal self-attention as in minGPT: one projection, split, heads, softmax."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix the positions."""
        batch, length, width = x.shape
        q, k, v = self.qkv(x).split(width, dim=2)
        q, k, v = (
            t.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for t in (q, k, v)
        )
        x = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(x.transpose(1, 2).contiguous().view(batch, length, width))


class Gpt(nn.Module):
    """A language model whose output shares its embedding's table."""

    def __init__(self, width: int = 64, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.position = nn.Embedding(LENGTH, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth + 1))
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(depth))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            for _ in range(depth)
        )
        self.output = nn.Linear(width, VOCABULARY, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the scores of the next token."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.embedding(tokens) + self.position(positions)
        for index, (attention, mlp) in enumerate(zip(self.attention, self.mlp, strict=True)):
            x = x + attention(self.norms[2 * index](x))
            x = x + mlp(self.norms[2 * index + 1](x))
        return self.output(self.norms[-1](x))


class Recurrent(nn.Module):
    """Tokens through a bidirectional recurrent network of two layers; the last states decide."""

    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 32)
        self.recurrent = cell(32, 48, num_layers=2, batch_first=True, bidirectional=True)
        self.hidden = nn.Linear(2 * 48, 64)
        self.classifier = nn.Linear(64, CLASSES)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of rows of token numbers."""
        outputs, _ = self.recurrent(self.embedding(tokens))
        return self.classifier(torch.relu(self.hidden(outputs[:, -1])))


class TextConvolution(nn.Module):
    """Kim's convolutions over words, their maxima side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 32)
        self.convolutions = nn.ModuleList(nn.Conv1d(32, 24, size) for size in (3, 4, 5))
        self.classifier = nn.Linear(3 * 24, CLASSES)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of rows of token numbers."""
        x = self.embedding(tokens).transpose(1, 2)
        pooled = [torch.relu(each(x)).amax(dim=2) for each in self.convolutions]
        return self.classifier(torch.cat(pooled, dim=1))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Down with pooling, up with transposed convolutions, across with concatenation."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _double(inputs, outputs) for inputs, outputs in zip((3, *widths), widths, strict=False)
        )
        pairs = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.merge = nn.ModuleList(_double(2 * b, b) for _, b in pairs)
        self.classifier = nn.Conv2d(widths[0], CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of every pixel."""
        skips = []
        for index, block in enumerate(self.down):
            x = block(x if index == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat((skip, up(x)), dim=1))
        return self.classifier(x)


class Gated(nn.Module):
    """Gated linear units as a module over channels and as a function over features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.glu = nn.GLU(dim=1)
        self.middle = nn.Conv2d(16, 48, 3, padding=1)
        self.norm = nn.BatchNorm2d(48)
        self.hidden = nn.Linear(24, 64)
        self.classifier = nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of images."""
        x = self.glu(self.stem(x))
        x = F.glu(self.norm(self.middle(x)), dim=1)
        return self.classifier(F.glu(self.hidden(x.mean((2, 3)))))


class WeightNormed(nn.Module):
    """Weight normalisation as a parametrization, as for generators of audio."""

    def __init__(self) -> None:
        super().__init__()
        norm = parametrizations.weight_norm
        self.stem = norm(nn.Conv1d(1, 32, 7, padding=3))
        self.down = norm(nn.Conv1d(32, 64, 4, stride=2, padding=1))
        self.dilated = norm(nn.Conv1d(64, 64, 3, padding=3, dilation=3))
        self.up = norm(nn.ConvTranspose1d(64, 32, 4, stride=2, padding=1))
        self.classifier = norm(nn.Linear(32, CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of signals."""
        x = F.leaky_relu(self.down(F.leaky_relu(self.stem(x), 0.1)), 0.1)
        x = x + F.leaky_relu(self.dilated(x), 0.1)
        return self.classifier(self.up(x).mean(2))


class OldWeightNormed(nn.Module):
    """Weight normalisation as the hook of earlier versions of PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.stem = nn.utils.weight_norm(nn.Conv1d(1, 32, 7, padding=3))
            self.middle = nn.utils.weight_norm(nn.Conv1d(32, 48, 3, padding=1))
        self.classifier = nn.Linear(48, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of signals."""
        x = F.leaky_relu(self.middle(F.leaky_relu(self.stem(x), 0.1)), 0.1)
        return self.classifier(x.mean(2))


class Critic(nn.Module):
    """A discriminator with spectral normalisation."""

    def __init__(self) -> None:
        super().__init__()
        norm = parametrizations.spectral_norm
        self.layers = nn.Sequential(
            norm(nn.Conv2d(3, 32, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(32, 64, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
        )
        self.extra = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Flatten())
        self.classifier = nn.Linear(64 * 8 * 8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of images."""
        return self.classifier(self.extra(self.layers(x)))


class Parametric(nn.Module):
    """A slope for every channel, and subpixel convolution: super-resolution in small."""

    def __init__(self) -> None:
        super().__init__()
        self.feature = nn.Sequential(nn.Conv2d(3, 56, 5, padding=2), nn.PReLU(56))
        self.shrink = nn.Sequential(nn.Conv2d(56, 12, 1), nn.PReLU(12))
        self.maps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.PReLU(12)) for _ in range(3)
        )
        self.expand = nn.Sequential(nn.Conv2d(12, 56, 1), nn.PReLU(56))
        self.last = nn.Conv2d(56, 3 * 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the images at twice their size."""
        x = self.shrink(self.feature(x))
        skip = x
        for layer in self.maps:
            x = layer(x)
        return F.pixel_shuffle(self.last(self.expand(x + skip)), 2)


class SeveralHeads(nn.Module):
    """One trunk, three tasks, outputs in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(_double(3, 32), nn.MaxPool2d(2), _double(32, 64))
        self.depth = nn.Sequential(nn.Conv2d(64, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 1))
        self.pose = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 6))
        self.classes = nn.Linear(64, CLASSES)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return depth of every pixel, pose, and classes."""
        x = self.trunk(x)
        pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return {
            "depth": self.depth(x),
            "pose": self.pose(pooled),
            "classes": self.classes(pooled),
        }


class TwoInputs(nn.Module):
    """An image and a table, called by name, joined by a feature-wise modulation."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.ReLU())
        self.table = nn.Sequential(nn.Linear(7, 24), nn.SiLU(), nn.Linear(24, 64))
        self.conv = nn.Conv2d(32, 48, 3, padding=1)
        self.classifier = nn.Linear(48, CLASSES)

    def forward(self, image: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of pairs."""
        scale, shift = self.table(table).chunk(2, dim=1)
        x = self.image(image) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
        return self.classifier(torch.relu(self.conv(x)).mean((2, 3)))


class Variational(nn.Module):
    """A variational autoencoder of vectors, without its noise in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU())
        self.mean = nn.Linear(48, 12)
        self.spread = nn.Linear(48, 12)
        self.decoder = nn.Sequential(
            nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 96), nn.ReLU(), nn.Linear(96, 64)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the reconstruction, the mean and the logarithm of the variance."""
        x = self.encoder(x)
        mean, spread = self.mean(x), self.spread(x)
        latent = mean
        if self.training:
            latent = mean + torch.randn_like(mean) * torch.exp(0.5 * spread)
        return self.decoder(latent), mean, spread


class Residual(nn.Module):
    """A residual block and a convolution as classifier, to be written to a file and read back."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(24, 40, 3, padding=1),
            nn.BatchNorm2d(40),
            nn.ReLU(),
            nn.Conv2d(40, 24, 3, padding=1),
            nn.BatchNorm2d(24),
        )
        self.down = nn.Conv2d(24, 32, 3, stride=2, padding=1)
        self.classifier = nn.Conv2d(32, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of images, as maps of one pixel."""
        x = self.stem(x)
        x = torch.relu(self.down(torch.relu(x + self.block(x))))
        return self.classifier(F.avg_pool2d(x, 8))


def from_onnx() -> nn.Module:
    """Write a network as ONNX and read the file as a network of PyTorch."""
    import onnx2torch

    batch = torch.export.Dim("batch", min=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            Residual().eval(),
            (torch.randn(2, 3, 16, 16),),
            str(path),
            dynamo=True,
            dynamic_shapes=({0: batch},),
            opset_version=18,
            external_data=False,
            verbose=False,
        )
        return onnx2torch.convert(str(path))


def _both(batch: int) -> dict[str, torch.Tensor]:
    """Draw an image and a table."""
    return {"image": image(3, 16, 16)(batch), "table": image(7)(batch)}


def _pair(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw rows of source and target tokens."""
    return tokens(VOCABULARY, LENGTH)(batch), tokens(VOCABULARY, LENGTH - 4)(batch)


_TEXT = (tokens(VOCABULARY, LENGTH), (LENGTH,))
_IMAGE = (image(3, 32, 32), (3, 32, 32))
_SIGNAL = (image(1, 64), (1, 64))

OWN: list[Entry] = [
    Entry("own/bert", "attention", "transformer", TextEncoder, *_TEXT, representative=True),
    Entry(
        "own/bert_norm_first",
        "attention",
        "transformer",
        lambda: TextEncoder(norm_first=True),
        *_TEXT,
    ),
    Entry("own/translator", "attention", "transformer", Translator, _pair, (LENGTH, LENGTH - 4)),
    Entry("own/gpt", "attention", "transformer", Gpt, *_TEXT, ("output",), representative=True),
    Entry("own/lstm", "recurrent", "lstm", lambda: Recurrent(nn.LSTM), *_TEXT, representative=True),
    Entry("own/gru", "recurrent", "gru", lambda: Recurrent(nn.GRU), *_TEXT, representative=True),
    Entry("own/text_convolution", "convolutional", "text", TextConvolution, *_TEXT),
    Entry("own/unet", "segmentation", "unet", UNet, *_IMAGE, representative=True),
    Entry("own/gated", "code", "glu", Gated, *_IMAGE, representative=True),
    Entry("own/weight_norm", "code", "weight_norm", WeightNormed, *_SIGNAL, representative=True),
    Entry("own/weight_norm_hook", "code", "weight_norm", OldWeightNormed, *_SIGNAL),
    Entry("own/spectral_norm", "code", "spectral_norm", Critic, *_IMAGE),
    Entry("own/prelu", "code", "prelu", Parametric, *_IMAGE, ("last",), representative=True),
    Entry(
        "own/several_heads",
        "code",
        "heads",
        SeveralHeads,
        *_IMAGE,
        ("depth.2", "pose.2"),
        representative=True,
    ),
    Entry("own/two_inputs", "code", "inputs", TwoInputs, _both, (3, 16, 16)),
    Entry(
        "own/variational",
        "mlp",
        "autoencoder",
        Variational,
        image(64),
        (64,),
        ("mean", "spread", "decoder.4"),
    ),
    Entry(
        "own/from_onnx",
        "code",
        "onnx",
        from_onnx,
        image(3, 16, 16),
        (3, 16, 16),
        representative=True,
    ),
]
