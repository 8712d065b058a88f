"""Parameters, gradients and moments as flat vectors, and what is done to them once per step.

On one vector, clipping and AdamW are a dozen operations, however many matrices there are. Matrices
that meet the same tokens are copied into one, W_in or W_up, and with them goes what acts on columns
of tokens: the gain of a norm, 1 / sqrt(d), the head norm's w_norm and 1 - lambda_init. The tokens
meet these folded matrices, and their gradients are unfolded afterwards:

    y = (n w) W = n W',   W' = diag(w) W,   dW = diag(w) dW',   dw_i = sum_j W_ij dW'_ij
"""

import math
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np

from ..attention.multihead import at_depth, attention_specs
from ..model import mlp_specs, model_specs
from ..params import leaves, tree_map

CHUNK = 2**15  # numbers that AdamW takes at once on a CPU: those of its vectors then fit the cache


@lru_cache
def places(cfg) -> list[tuple[slice, tuple]]:
    """Where in a vector each parameter lies, and its shape."""
    shapes = [tuple(cfg.sizes[axis] for axis in spec.axes.split()) for spec in leaves(model_specs(cfg)).values()]
    ends = pairwise(accumulate(map(math.prod, shapes), initial=0))
    return [(slice(*cut), shape) for cut, shape in zip(ends, shapes, strict=True)]


def size_of(cfg) -> int:
    return places(cfg)[-1][0].stop


def views(cfg, vector) -> dict:
    """The parameters that lie in a vector, one after the other."""
    arrays = iter([vector[where].reshape(shape) for where, shape in places(cfg)])
    return tree_map(lambda _: next(arrays), model_specs(cfg))


def columns(cfg) -> dict[str, slice]:
    """The columns of W_in: of queries, keys, values and, where tokens have gates, of those."""
    names, specs = sorted(cfg.mechanism.projections, key=lambda name: "qkv".index(name[0])), attention_specs(cfg)
    widths = {f"W_{name}": cfg.sizes[cfg.mechanism.projections[name].split()[1]] for name in names}
    if {"b_gate", "W_lambda"} & specs.keys():
        widths["W_lambda" if "W_lambda" in specs else "W_gate"] = cfg.n_heads
    ends = pairwise(accumulate(widths.values(), initial=0))
    return {name: slice(*cut) for name, cut in zip(widths, ends, strict=True)}


def merged_sizes(cfg) -> dict[str, int]:
    """The letters of the shapes, with P and U: the columns of W_in, and the matrices in W_up."""
    return cfg.sizes | {"P": max(cut.stop for cut in columns(cfg).values()), "U": len(mlp_specs(cfg)) - 1, "1": 1}


# --------------------------------------------------------------------------------- folded matrices


def fold_rows(before, after, folded, dfolded, gain, dgain, parts):
    """Write down folded = diag(gain) W in the program before; in after dW and dgain, from dfolded.

    parts : (where in folded, W, dW) of each matrix that is merged into it
    """
    for where, W, dW in parts:
        before.into(folded[where]).multiply(W, gain[:, None])
        after.into(folded[where]).multiply(dfolded[where], W)
        after.into(dW).multiply(dfolded[where], gain[:, None])
    after.into(dgain[..., None]).matmul(folded, before.xp.ones((folded.shape[-1], 1), folded.dtype))


def fold_block(before, after, cfg, layer, p, g) -> tuple[dict, dict]:
    """What the tokens meet in a block, and room for its gradient; what is not folded is p's, g's.

        W_in = diag(w_1) [scale W_q, W_k, W_v, W_gate],   W_up = diag(w_2) [W_gate; W_up]
        W_o = (1 - lambda_init) diag(w_norm, .., w_norm) W_o,   scale = 1 / sqrt(d)
    """
    cfg, sizes, cuts = at_depth(cfg, layer), merged_sizes(cfg), columns(cfg)
    (attention, mlp), (dattention, dmlp) = ((tree["attention"], tree["mlp"]) for tree in (p, g))
    W, dW = ({"W_o": tree["W_o"], "b_gate": tree.get("b_gate")} for tree in (attention, dattention))
    for folded, down in ((W, mlp), (dW, dmlp)):
        for name, letters in (("W_in", "C P"), ("W_up", "U C F"), ("lam", "1 1"), ("b_gate", "H")):
            if folded.get(name) is None:
                folded[name] = before.xp.zeros([sizes[letter] for letter in letters.split()], mlp["W_down"].dtype)
        folded["W_down"] = down["W_down"]
    queries, scale = (slice(None), slice(sizes["H"] * cfg.mechanism.maps * sizes["d"])), sizes["d"] ** -0.5
    after.into(dW["W_in"][queries]).multiply(dW["W_in"][queries], scale)
    parts = [((slice(None), cuts[name]), attention[name], dattention[name]) for name in cuts if name in attention]
    fold_rows(before, after, W["W_in"], dW["W_in"], p["norm1"]["w"], g["norm1"]["w"], parts)
    before.into(W["W_in"][queries]).multiply(W["W_in"][queries], scale)
    halves = before.xp.zeros_like(W["W_up"][..., 0])
    parts = [(i, mlp[name], dmlp[name]) for i, name in enumerate(list(mlp)[:-1])]
    fold_rows(before, after, W["W_up"], dW["W_up"], p["norm2"]["w"], halves, parts)
    after.do(halves.sum, axis=0, out=g["norm2"]["w"])
    if cfg.has_head_norm:
        W["W_o"], dW["W_o"] = fold_head_norm(before, after, cfg, attention, dattention)
    if "lambda_q_exc" in attention:
        fold_lambda(before, after, cfg.lambda_init, attention, dattention, W["lam"], dW["lam"])
    return W, dW


def fold_head_norm(before, after, cfg, p, g):
    """W_o with the gain that all heads share, and room for its gradient."""
    (folded, dfolded), factor = (before.xp.zeros_like(p["W_o"]) for _ in range(2)), 1 - cfg.lambda_init
    gain, dgain = (before.xp.zeros((cfg.n_heads, len(p["w_norm"])), p["W_o"].dtype) for _ in range(2))
    before.into(gain).multiply(p["w_norm"], factor)
    fold_rows(before, after, folded, dfolded, gain.reshape(-1), dgain.reshape(-1), [(..., p["W_o"], g["W_o"])])
    after.do(dgain.sum, axis=0, out=g["w_norm"])
    after.into(g["w_norm"]).multiply(g["w_norm"], factor)
    return folded, dfolded


def fold_lambda(before, after, lambda_init, p, g, lam, dlam):
    """lam = exp(lambda_q_exc . lambda_k_exc) - exp(lambda_q_inh . lambda_k_inh) + lambda_init"""
    e, de = (before.xp.zeros((2, 1, 1), lam.dtype) for _ in range(2))
    for i, (s, sign) in enumerate((("exc", 1), ("inh", -1))):
        q, k = p[f"lambda_q_{s}"], p[f"lambda_k_{s}"]
        before.into(e[i]).matmul(q[None], k[:, None]).exp(e[i])
        after.into(de[i]).multiply(e[i], dlam).multiply(de[i], sign)
        after.into(g[f"lambda_q_{s}"]).multiply(k, de[i, 0])
        after.into(g[f"lambda_k_{s}"]).multiply(q, de[i, 0])
    before.into(lam).subtract(e[0], e[1]).add(lam, lambda_init)


# ------------------------------------------------------------------------------ clipping and AdamW


class AdamW:
    """Clipping by the global norm, and AdamW, on flat vectors.      [eq:clip, eq:adamw, published]

    Where the loss or the norm is not finite, nothing changes: then the gradient counts as 0, b1 and
    b2 as 1, and lr as 0. The device chooses, so that nobody waits for it.

    p, g, m, v : (n,), the parameters, their gradient and the moments
    decay      : (n,), the weight decay of each parameter
    """

    betas, eps = (0.9, 0.999), 1e-8

    def __init__(self, xp, p, g, m, v, decay, clip):
        self.xp, self.dtype, self.clip = xp, p.dtype, clip
        self.knobs, self.idle = xp.zeros(7, p.dtype), xp.asarray(np.array([0, 1, 0, 1, 0, 1, 1], p.dtype))
        self.size = min(len(p), CHUNK) if xp is np else len(p)
        cuts = [slice(start, start + self.size) for start in range(0, len(p), self.size)]
        self.parts = [[vector[cut] for vector in (p, g, m, v, decay)] for cut in cuts]
        self.squares, self.norm = xp.zeros((len(cuts), 1, 1)), xp.zeros((1, 1))
        self.factor, self.bad = xp.zeros((1, 1), p.dtype), xp.zeros((1, 1), bool)

    def knobs_at(self, lr, t) -> np.ndarray:
        """What step t, counted from 1, needs: lr, b1, 1 - b1, b2, 1 - b2, 1 - b1^t, 1 - b2^t."""
        b1, b2 = self.betas
        return np.array([lr, b1, 1 - b1, b2, 1 - b2, 1 - b1**t, 1 - b2**t])

    def add_squares(self, program, own):
        """The squares of some parts of the gradient, added in float64."""
        room = self.xp.zeros((1, self.size))
        for i in own:
            wide = room[:, : self.parts[i][1].size]
            program.into(wide).copy(self.parts[i][1])
            program.into(self.squares[i]).matmul(wide, wide.T)

    def find_norm(self, program, loss):
        """The norm, the factor that clips it, and whether this step can be taken."""
        share = self.xp.zeros((1, 1))
        program.do(self.squares.sum, axis=0, out=self.norm)
        program.into(self.norm).sqrt(self.norm)
        program.into(share).add(self.norm, 1e-12).divide(self.clip, share).minimum(share, 1)
        program.into(self.factor).copy(share)
        program.into(share).add(self.norm, loss)  # finite if both are
        program.into(self.bad).isfinite(share).logical_not(self.bad)
        program.into(self.knobs).copy(self.idle, where=self.bad[0])

    def update(self, program, own):
        """p <- p - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay p), of some parts."""
        into, room = program.into, self.xp.zeros((2, self.size), self.dtype)
        lr, b1, c1, b2, c2, m_part, v_part = (self.knobs[i : i + 1] for i in range(7))
        for i in own:
            p, g, m, v, decay = self.parts[i]
            s, t = room[0, : p.size], room[1, : p.size]
            into(s).multiply(g, self.factor[0]).copy(0, where=self.bad[0])
            # m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2
            into(t).multiply(s, c1)
            into(m).multiply(m, b1).add(m, t)
            into(s).multiply(s, s).multiply(s, c2)
            into(v).multiply(v, b2).add(v, s)
            into(s).divide(v, v_part).sqrt(s).add(s, self.eps)
            into(t).divide(m, m_part).divide(t, s)
            into(s).multiply(p, decay)
            into(t).add(t, s).multiply(t, lr).copy(0, where=self.bad[0])
            into(p).subtract(p, t)
