"""Multi-head attention whose heads and whose embedding are narrowed on their own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["MultiheadAttention"]


class MultiheadAttention(nn.MultiheadAttention):
    """`torch.nn.MultiheadAttention` in which heads × head size may differ from the embedding.

    Computes what the original computes, with the same parameters; `num_heads` and `head_dim` say
    how the projections are taken apart, and nothing else depends on the embedding's size.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        object.__setattr__(self, "_building", True)
        super().__init__(*args, **kwargs)
        self._building = False

    @property
    def _qkv_same_embed_dim(self) -> bool:
        """Keep PyTorch's fused encoder, which relies on the original's sizes, away."""
        return bool(self.__dict__.get("_building")) and bool(self.__dict__["_one_matrix"])

    @_qkv_same_embed_dim.setter
    def _qkv_same_embed_dim(self, value: bool) -> None:
        """Accept what the constructor of the original says."""
        self.__dict__["_one_matrix"] = value

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,  # noqa: ARG002  (a hint for a fused kernel; the mask is given)
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend; arguments and results are those of the original."""
        batched = query.dim() == 3
        q, k, v = (self._batch_first(part, batched) for part in self._projected(query, key, value))
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat((k, self.bias_k.expand(k.shape[0], -1, -1)), 1)
            v = torch.cat((v, self.bias_v.expand(v.shape[0], -1, -1)), 1)
        q, k, v = (
            part.reshape(*part.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)
            for part in (q, k, v)
        )
        if self.add_zero_attn:
            k, v = (torch.cat((part, torch.zeros_like(part[:, :, :1])), 2) for part in (k, v))
        mask = self._mask(attn_mask, key_padding_mask, q, k)
        weights = None
        dropout = self.dropout if self.training else 0.0
        if need_weights:
            scores = (q * self.head_dim**-0.5) @ k.transpose(-2, -1)
            weights = torch.softmax(scores if mask is None else scores + mask, -1)
            weights = F.dropout(weights, dropout, self.training)
            out = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        else:
            out = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        out = F.linear(out.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)
        if not batched:
            return out.squeeze(0), weights
        return (out if self.batch_first else out.transpose(0, 1)), weights

    def _projected(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Project to the heads, with one matrix or with three."""
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        matrices: tuple[torch.Tensor, ...]
        if self._parameters["in_proj_weight"] is not None:
            if query is key and key is value:
                return F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
            matrices = self.in_proj_weight.chunk(3)
        else:
            matrices = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        return tuple(
            F.linear(source, matrix, bias)
            for source, matrix, bias in zip((query, key, value), matrices, biases, strict=True)
        )

    def _batch_first(self, part: torch.Tensor, batched: bool) -> torch.Tensor:
        """Bring a projection into the shape (samples, positions, heads × head size)."""
        if not batched:
            return part.unsqueeze(0)
        return part if self.batch_first else part.transpose(0, 1)

    def _mask(
        self,
        attention: torch.Tensor | None,
        padding: torch.Tensor | None,
        query: torch.Tensor,
        key: torch.Tensor,
    ) -> torch.Tensor | None:
        """Add the masks up, in the shape (samples, heads, positions, positions)."""
        total = None
        if attention is not None:
            attention = _additive(attention, query)
            if attention.dim() == 3:
                attention = attention.reshape(-1, self.num_heads, *attention.shape[1:])
            total = attention
        if padding is not None:
            padding = padding if padding.dim() == 2 else padding.unsqueeze(0)
            padding = _additive(padding, query)[:, None, None]
            total = padding if total is None else total + padding
        extra = key.shape[2] - (key.shape[2] if total is None else total.shape[-1])
        return total if total is None or not extra else F.pad(total, (0, extra))


def _additive(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Turn a mask of booleans (True: not to be seen) into one to be added."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))
