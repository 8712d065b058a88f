"""The pairs that a transformer is made of, forward and backward side by side.

A backward is its forward read upwards: above each of its lines stands the forward line that it undoes.
dX is the derivative of the loss with respect to X and has the shape of X.
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
