"""The operations that a transformer is made of, each a forward and a backward side by side.

A backward is its forward read upwards: above each of its lines, as a comment, stands the forward
line that it undoes. dX is the derivative of the loss with respect to X and has the shape of X.
"""

from .activations import GeluCache, SiluCache, gelu_backward, gelu_forward, silu_backward, silu_forward
from .axes import merge_heads, row_mean, row_sum, split_heads, sum_rows, sum_to_shape, swap
from .embedding import EmbeddingCache, embedding_backward, embedding_forward
from .feed_forwards import (
    GeluMlpCache,
    SwigluCache,
    gelu_mlp_backward,
    gelu_mlp_forward,
    swiglu_backward,
    swiglu_forward,
)
from .layernorm import LayernormCache, layernorm_backward, layernorm_forward
from .linear import LinearCache, linear_backward, linear_forward
from .rmsnorm import RmsnormCache, rmsnorm_backward, rmsnorm_forward
from .rotary import RotaryCache, rotary_backward, rotary_forward
from .softmax import SoftmaxCache, sigmoid, softmax_backward, softmax_forward

__all__ = [
    "EmbeddingCache",
    "GeluCache",
    "GeluMlpCache",
    "LayernormCache",
    "LinearCache",
    "RmsnormCache",
    "RotaryCache",
    "SiluCache",
    "SoftmaxCache",
    "SwigluCache",
    "embedding_backward",
    "embedding_forward",
    "gelu_backward",
    "gelu_forward",
    "gelu_mlp_backward",
    "gelu_mlp_forward",
    "layernorm_backward",
    "layernorm_forward",
    "linear_backward",
    "linear_forward",
    "merge_heads",
    "rmsnorm_backward",
    "rmsnorm_forward",
    "rotary_backward",
    "rotary_forward",
    "row_mean",
    "row_sum",
    "sigmoid",
    "silu_backward",
    "silu_forward",
    "softmax_backward",
    "softmax_forward",
    "split_heads",
    "sum_rows",
    "sum_to_shape",
    "swap",
    "swiglu_backward",
    "swiglu_forward",
]
