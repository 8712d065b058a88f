"""The bugs that are planted in personal/pair.py, one to a student; and right lines in other words.

Each is one line of the pair, written wrongly. Most are in the backward. Some of those in the
forward have a backward that agrees with them, and a gradient check says that all is right.
"""

from typing import NamedTuple

KINDS = {
    "sign": "a plus stands for a minus, or a minus for a plus",
    "factor": "a factor is missing or there twice, or a mean stands for a sum",
    "term": "a term of a sum is missing",
    "transpose": "a matrix is transposed that should not be, or is not that should",
    "axis": "a sum or a broadcast runs along the wrong axis",
    "operand": "another array stands where the right one belongs",
    "order": "two things have changed places: results, weights, entries of the cache",
    "cache": "the cache holds something else than the backward believes",
    "mask": "the mask is lost, turned round or too late, or a row without keys is not 0",
    "temperature": "the scores are divided by the wrong number, or not at all",
    "state": "an array that is still needed is written over",
}


class Mutation(NamedTuple):
    place: str  # what stands on the left of the line
    kind: str
    wrong: str  # what stands on the right of it
    also: str = ""  # a kind that describes it as well


MUTATIONS = [
    # softmax
    Mutation("masked", "mask", "S if mask is None else np.where(mask, S, -1e9)"),
    Mutation("masked", "mask", "S if mask is None else np.where(mask, -np.inf, S)"),
    Mutation("total", "axis", "E.sum(axis=-2, keepdims=True)"),
    # forward
    Mutation("scale", "temperature", "1 / math.sqrt(q_exc.shape[-1])", "factor"),
    Mutation("scale", "temperature", "TEMPERATURE / math.sqrt(q_exc.shape[-1])", "factor"),
    Mutation("scale", "temperature", "1 / (TEMPERATURE * q_exc.shape[-1])", "factor"),
    Mutation("scale", "temperature", "1 / (TEMPERATURE * math.sqrt(v.shape[-1]))", "operand"),
    Mutation("S_inh", "temperature", "q_inh @ swap(k_inh)", "factor"),
    Mutation("S_inh", "operand", "scale * q_inh @ swap(k_exc)"),
    Mutation("S_exc", "state", "np.multiply(q_exc, scale, out=q_exc) @ swap(k_exc)"),
    Mutation("A_exc", "mask", "np.where(True if mask is None else mask, softmax(S_exc), 0)"),
    Mutation("A_inh", "mask", "softmax(S_inh)"),
    Mutation("A_inh", "operand", "softmax(S_exc, mask)"),
    Mutation("one_minus_g", "sign", "sigmoid(z_gate)", "operand"),
    Mutation("A", "sign", "g[..., None] * A_exc + one_minus_g[..., None] * A_inh"),
    Mutation("A", "order", "one_minus_g[..., None] * A_exc - g[..., None] * A_inh", "operand"),
    Mutation("A", "axis", "g[..., None, :] * A_exc - one_minus_g[..., None, :] * A_inh"),
    Mutation("cache", "cache", "q_exc, k_exc, q_exc, k_inh, v, A, A_exc, A_inh, g, one_minus_g, scale", "operand"),
    Mutation("cache", "cache", "q_exc, k_exc, q_inh, k_inh, v, A_exc, A_exc, A_inh, g, one_minus_g, scale", "operand"),
    Mutation("cache", "cache", "q_exc, k_exc, q_inh, k_inh, v, A, A_exc, A_inh, one_minus_g, g, scale", "order"),
    # backward
    Mutation("dA", "transpose", "v @ swap(do)"),
    Mutation("dv", "transpose", "A @ do"),
    Mutation("dv", "factor", "swap(A) @ do / A.shape[-2]"),
    Mutation("dA_exc", "factor", "dA"),
    Mutation("dA_exc", "state", "np.multiply(g[..., None], dA, out=dA)"),
    Mutation("dA_inh", "sign", "one_minus_g[..., None] * dA"),
    Mutation("dA_inh", "factor", "-dA"),
    Mutation("dA_inh", "operand", "-g[..., None] * dA"),
    Mutation("dg", "sign", "row_sum(dA * (A_exc - A_inh))[..., 0]"),
    Mutation("dg", "term", "row_sum(dA * A_exc)[..., 0]"),
    Mutation("dg", "axis", "(dA * (A_exc + A_inh)).sum(axis=-2)"),
    Mutation("dz_gate", "factor", "g * dg"),
    Mutation("dz_gate", "sign", "-g * one_minus_g * dg"),
    Mutation("dS_inh", "term", "A_inh * dA_inh"),
    Mutation("dS_inh", "sign", "A_inh * (dA_inh + row_sum(dA_inh * A_inh))"),
    Mutation("dS_inh", "factor", "dA_inh - row_sum(dA_inh * A_inh)"),
    Mutation("dS_exc", "axis", "A_exc * (dA_exc - (dA_exc * A_exc).sum(axis=-2, keepdims=True))"),
    Mutation("dS_exc", "operand", "A_exc * (dA_exc - row_sum(dA_exc * A_inh))"),
    Mutation("dS_exc", "factor", "A_exc * (dA_exc - (dA_exc * A_exc).mean(axis=-1, keepdims=True))"),
    Mutation("dS_exc", "state", "np.multiply(A_exc, dA_exc - row_sum(dA_exc * A_exc), out=A_exc)"),
    Mutation("dq_inh", "transpose", "scale * swap(dS_inh) @ k_inh"),
    Mutation("dq_exc", "factor", "dS_exc @ k_exc"),
    Mutation("dk_inh", "factor", "scale * swap(dS_inh) @ (scale * q_inh)"),
    Mutation("dk_inh", "operand", "scale * swap(dS_exc) @ q_inh"),
    Mutation("dk_exc", "transpose", "scale * dS_exc @ q_exc"),
    Mutation("grads", "order", "dk_exc, dq_exc, dq_inh, dk_inh, dv, dz_gate"),
    Mutation("grads", "order", "dq_inh, dk_inh, dq_exc, dk_exc, dv, dz_gate"),
]

# Right, in other words: which of them a student's file has is drawn as well, so that two files of a
# class differ in many lines, and most of them are no bug.
OTHER_WORDS = {
    "total": "E.sum(axis=-1, keepdims=True)",
    "scale": "(TEMPERATURE**2 * q_exc.shape[-1]) ** -0.5",
    "S_exc": "q_exc @ swap(scale * k_exc)",
    "S_inh": "scale * (q_inh @ swap(k_inh))",
    "A": "-one_minus_g[..., None] * A_inh + g[..., None] * A_exc",
    "dA": "swap(v @ swap(do))",
    "dv": "swap(swap(do) @ A)",
    "dA_exc": "dA * g[..., None]",
    "dA_inh": "dA * -one_minus_g[..., None]",
    "dg": "(do * ((A_exc + A_inh) @ v)).sum(axis=-1)",
    "dz_gate": "dg * (g - g * g)",
    "dS_inh": "A_inh * dA_inh - row_sum(A_inh * dA_inh) * A_inh",
    "dS_exc": "A_exc * dA_exc - row_sum(A_exc * dA_exc) * A_exc",
    "dq_exc": "dS_exc @ (scale * k_exc)",
    "dk_inh": "swap(dS_inh) @ (scale * q_inh)",
    "dk_exc": "swap(swap(scale * q_exc) @ dS_exc)",
}
