"""Attention: one file for each mechanism, and what the mechanisms share.

multihead.py builds a layer from the heads of any mechanism, mechanisms.py is the table of all
mechanisms, masks.py makes masks, and tiled.py computes long sequences with less memory.
"""

from .differential import differential_head_backward, differential_head_forward
from .differential_v2 import differential_v2_head_backward, differential_v2_head_forward
from .gated import gated_head_backward, gated_head_forward
from .masks import causal_mask, padding_mask
from .mechanisms import KINDS
from .multihead import (
    AttentionConfig,
    attention_backward,
    attention_forward,
    attention_gate,
    attention_map,
    init_attention,
)
from .output_gate import output_gate_head_backward, output_gate_head_forward
from .softmax import softmax_head_backward, softmax_head_forward
from .twicing import twicing_head_backward, twicing_head_forward

__all__ = [
    "KINDS",
    "AttentionConfig",
    "attention_backward",
    "attention_forward",
    "attention_gate",
    "attention_map",
    "causal_mask",
    "differential_head_backward",
    "differential_head_forward",
    "differential_v2_head_backward",
    "differential_v2_head_forward",
    "gated_head_backward",
    "gated_head_forward",
    "init_attention",
    "output_gate_head_backward",
    "output_gate_head_forward",
    "padding_mask",
    "softmax_head_backward",
    "softmax_head_forward",
    "twicing_head_backward",
    "twicing_head_forward",
]
