"""Attention: one file per mechanism, multihead.py around them, masks.py."""

from .differential import differential_head_backward, differential_head_forward
from .gated import gated_head_backward, gated_head_forward
from .masks import causal_mask, padding_mask
from .mechanisms import KINDS
from .multihead import AttentionConfig, attention_backward, attention_forward, attention_map, init_attention
from .softmax import softmax_head_backward, softmax_head_forward

__all__ = [
    "KINDS",
    "AttentionConfig",
    "attention_backward",
    "attention_forward",
    "attention_map",
    "causal_mask",
    "differential_head_backward",
    "differential_head_forward",
    "gated_head_backward",
    "gated_head_forward",
    "init_attention",
    "padding_mask",
    "softmax_head_backward",
    "softmax_head_forward",
]
