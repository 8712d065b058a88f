"""The second version of the Differential Transformer (V2).

The two branches have queries of their own and share the keys and values. Lambda is a number between
0 and 1 for each token and head, made from the token.
"""

from typing import Annotated, NamedTuple

from ..ops.axes import swap
from ..ops.linear import LinearCache, linear_backward, linear_forward
from ..ops.softmax import sigmoid
from ..params import Spec
from ..shapes import Array, takes, undoes
from .differential import DifferentialHeadCache, as_lam, differential_head_backward, differential_head_forward


@takes(q_exc="B H T d", k="B H S d", q_inh="B H T d", v="B H S e", lam=as_lam, mask="mask B H T S")
def differential_v2_head_forward(q_exc, q_inh, k, v, lam, mask=None) -> tuple[Array, DifferentialHeadCache]:
    """The difference of two maps over shared keys.             [eq:differential-v2-head, published]

        o = A v,   A = softmax(q_exc k^T / sqrt(d)) - lam softmax(q_inh k^T / sqrt(d))

    lam : broadcastable to (B, H, T)
    returns o : (B, H, T, e), and a DifferentialHeadCache
    """
    o, head = differential_head_forward(q_exc, k, q_inh, k, v, lam, mask)
    return o, head


@undoes(DifferentialHeadCache, "B H T e")
def differential_v2_head_backward(do, cache) -> tuple[Array, Array, Array, Array, Array]:
    """The five gradients, each shaped like its argument.                       [derived]

    returns dq_exc, dq_inh, dk, dv, dlam

    Both branches use the keys, so that dk is the sum of two gradients.
    """
    # o, head = differential_head_forward(q_exc, k, q_inh, k, v, lam, mask)
    dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam = differential_head_backward(do, cache)
    return dq_exc, dq_inh, dk_exc + dk_inh, dv, dlam


# --------------------------------------------------------------------------- lambda, from the token


def token_lambda_specs(cfg) -> dict[str, Spec]:
    """W_lambda (C, H). It starts at 0, so that every lambda starts at 1/2."""
    return {"W_lambda": Spec("C H")}


class TokenLambdaCache(NamedTuple):
    lam: Annotated[Array, "B H T"]
    one_minus_lam: Array
    linear: LinearCache


@takes(x="B T C")
def token_lambda_forward(x, p, cfg) -> tuple[Array, TokenLambdaCache]:
    """One lambda in (0, 1) per token and head.                         [eq:token-lambda, published]

        lam = sigmoid(x W_lambda)

    p : W_lambda (C, H)
    returns lam : (B, H, T), and a TokenLambdaCache
    """
    z, linear = linear_forward(x, p["W_lambda"])
    lam, one_minus_lam = sigmoid(swap(z)), sigmoid(-swap(z))
    return lam, TokenLambdaCache(lam, one_minus_lam, linear)


@undoes(TokenLambdaCache, "B H T")
def token_lambda_backward(dlam, cache) -> tuple[Array, dict]:
    """dx (B, T, C), and the gradient of W_lambda."""
    lam, one_minus_lam, linear = cache
    # lam, one_minus_lam = sigmoid(swap(z)), sigmoid(-swap(z))
    dz = swap(lam * one_minus_lam * dlam)
    # z, linear = linear_forward(x, p["W_lambda"])
    dx, dW_lambda = linear_backward(dz, linear)
    return dx, {"W_lambda": dW_lambda}
