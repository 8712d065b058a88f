"""Attention rollout: one map through all layers, from tokens that go in to those that come out."""

from .. import check, shapes
from ..backend import array_module

TREATMENTS = {"absolute": abs, "clipped": lambda A: A.clip(0, None), "excitatory": lambda A: A}


@shapes.takes(maps=(list, tuple))
def attention_rollout(maps, treatment):
    """How much of each input token reaches each output token.        [eq:rollout, published]

        R = M_L ... M_2 M_1,   M = (P + I) / 2
        P = mean over heads of A, treated, each of its rows divided by its sum

    maps      : a list, first layer first, of real A (B, H, T, T)
    treatment : absolute   : |A|, so that what is subtracted counts as much as what is added
                clipped    : max(A, 0), what is added alone
                excitatory : A unchanged; give A_exc, whose rows sum to 1, or to 0 where all keys
                             are masked
    returns R : (B, T, T), row = the token that comes out, column = the token that goes in;
                rows sum to 1
    raises    : ShapeError, TypeError, ValueError naming the argument

    After Abnar and Zuidema, Quantifying Attention Flow in Transformers, 2020, arXiv:2005.00928.
    I is the residual path; a token whose row of P is all zero keeps itself alone. Each head is
    treated before the mean, so that heads of opposite signs do not cancel.

    The treatments are ours: published rollout takes softmax maps, which they leave unchanged. A
    gated map needs one: its rows sum to 2 g - 1 and may be negative, so that the product of
    untreated maps is no distribution over tokens.
    """
    _check_maps(maps, treatment)
    eye = R = array_module(*maps).eye(maps[0].shape[-1], dtype=maps[0].dtype)
    for A in maps:
        P = _normalise(TREATMENTS[treatment](A).mean(axis=1))  # (B, H, T, T) -> (B, T, T)
        R = _normalise(P + eye) @ R
    return R


def _normalise(A):
    """Rows of non-negative numbers, divided by their sum; rows of zeros stay."""
    total = A.sum(axis=-1, keepdims=True)
    return A / (total + (total == 0))


def _check_maps(maps, treatment):
    check.one_of("attention_rollout", "treatment", treatment, tuple(TREATMENTS))
    shapes.whole("attention_rollout", **{"len(maps)": len(maps)})
    shapes.is_array("attention_rollout", "maps[0]", maps[0])
    square = tuple(("T", keys, f"the keys of maps[0] {maps[0].shape}") for keys in maps[0].shape[-1:])
    shapes.arrays("attention_rollout", {f"maps[{i}]": "B H T T" for i in range(len(maps))}, *maps, sizes=square)
    for i, A in enumerate(maps):
        if A.dtype.kind == "c":
            raise TypeError(f"attention_rollout: maps[{i}] has dtype {A.dtype}, expected float32 or float64")
        sums = A.sum(axis=-1)
        if treatment == "excitatory" and not (abs(sums * (sums - 1)) < 1e-3).all():
            raise ValueError(
                f"attention_rollout: maps[{i}] has row sums from {float(sums.min()):.3g} to {float(sums.max()):.3g}, "
                "expected 1 with 'excitatory'; give head.A_exc"
            )
