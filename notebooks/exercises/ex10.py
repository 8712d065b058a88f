"""Exercise 10: the block, mirrored.   [eq:block, choice]"""

import numpy as np

NORM = 'pre'


# Given: three pairs. forward(x, p) returns y and a cache, backward(dy, cache) returns dx and
# gradients shaped like p.


def rmsnorm_forward(x, p, eps=1e-5):
    """y = w x r, r = (mean(x^2) + eps)^(-1/2), over the last axis.

    x : (B, T, C)      p : {"w": (C,)}
    """
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    return p["w"] * x * r, (x * r, r, p["w"])


def rmsnorm_backward(dy, cache):
    n, r, w = cache
    dn = dy * w
    return r * (dn - n * (dn * n).mean(axis=-1, keepdims=True)), {"w": (dy * n).sum(axis=(0, 1))}


def attention_forward(x, p):
    """y = A x W: a stand-in for attention, its weights A are learned and the same for all x.

    x : (B, T, C)      p : {"A": (T, T), "W": (C, C)}
    """
    mixed = p["A"] @ x
    return mixed @ p["W"], (x, mixed, p["A"], p["W"])


def attention_backward(dy, cache):
    x, mixed, A, W = cache
    dmixed = dy @ W.T
    dA, dW = np.einsum("btc,bsc->ts", dmixed, x), np.einsum("btc,bte->ce", mixed, dy)
    return A.T @ dmixed, {"A": dA, "W": dW}


def mlp_forward(x, p):
    """y = tanh(x W_up) W_down.   x : (B, T, C)   p : {"W_up": (C, F), "W_down": (F, C)}"""
    h = np.tanh(x @ p["W_up"])
    return h @ p["W_down"], (x, h, p["W_up"], p["W_down"])


def mlp_backward(dy, cache):
    x, h, W_up, W_down = cache
    du = (1 - h * h) * (dy @ W_down.T)
    return du @ W_up.T, {"W_up": np.einsum("btc,btf->cf", x, du), "W_down": np.einsum("btf,btc->fc", h, dy)}


# Yours.


def block_forward(x, p):
    """A residual block. NORM says where its norms stand.

        "pre"  : x <- x + attention(norm1(x)),    x <- x + mlp(norm2(x))
        "post" : x <- norm1(x + attention(x)),    x <- norm2(x + mlp(x))

    x : (B, T, C), is left as it is
    p : {"norm1": ..., "attention": ..., "norm2": ..., "mlp": ...}
    returns x : (B, T, C), and a cache of your choice
    """
    raise NotImplementedError("ex10: block_forward")


def block_backward(dx, cache):
    """The forward pass, read upwards.

    dx : (B, T, C), the gradient of what block_forward returned; is left as it is
    returns dx : (B, T, C), the gradient of its x, and gradients that nest as p does
    """
    raise NotImplementedError("ex10: block_backward")


# Given: what the grader calls beside them.


def block(x, p):
    """The output alone."""
    return block_forward(x, p)[0]


def block_dx(dx, cache):
    """dx alone."""
    return block_backward(dx, cache)[0]


def block_gradients(dx, cache):
    """The gradients of the parameters, in a fixed order."""
    _, d = block_backward(dx, cache)
    return (
        d["norm1"]["w"],
        d["attention"]["A"],
        d["attention"]["W"],
        d["norm2"]["w"],
        d["mlp"]["W_up"],
        d["mlp"]["W_down"],
    )
