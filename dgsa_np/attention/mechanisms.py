"""The table of mechanisms: one row each. A new one is a file with its head pair, and a row here."""

from collections.abc import Callable
from typing import NamedTuple

from . import differential, differential_v2, gated, output_gate, softmax, tiled, twicing


class Pair(NamedTuple):
    forward: Callable
    backward: Callable


class Control(NamedTuple):
    """What weighs one map against the other: its parameters, and the pair that makes it from the tokens."""

    specs: Callable  # of cfg: {name: Spec}
    forward: Callable  # (x, p, cfg) -> lam, z_gate or gate, and a cache
    backward: Callable  # (its gradient, cache) -> dx, grads
    axes: str = "B H T"  # of what it makes; "" is one number for the whole layer


class Mechanism(NamedTuple):
    head: Pair
    projections: dict  # q, k, v and their kin, in the head's order, each with the axes of its W_
    split: int = 1  # parts that the C / H columns of a head are split into for keys: d = C / (split H)
    control: Control | None = None  # makes the head's last argument, if it has one
    lambda_init: Callable | None = None  # of the depth; None where heads are not normalised
    decodes: bool = True  # can it see more keys than queries, as decoding with a past needs?
    value_passes: int = 1  # how often a map is applied to values, for counting products
    tiled: Pair | None = None  # the head on tiles, for long sequences


SINGLE = {"q": "C C", "k": "C C", "v": "C C"}
DUAL = {"q_exc": "C H*d", "k_exc": "C H*d", "q_inh": "C H*d", "k_inh": "C H*d", "v": "C C"}
SHARED = {"q_exc": "C C", "q_inh": "C C", "k": "C C", "v": "C C"}

MECHANISMS = {
    "softmax": Mechanism(
        Pair(softmax.softmax_head_forward, softmax.softmax_head_backward),
        SINGLE,
        tiled=Pair(tiled.tiled_softmax_head_forward, tiled.tiled_softmax_head_backward),
    ),
    "diff_v1": Mechanism(
        Pair(differential.differential_head_forward, differential.differential_head_backward),
        DUAL,
        split=2,
        control=Control(differential.lambda_specs, differential.lambda_forward, differential.lambda_backward, axes=""),
        lambda_init=differential.depth_schedule,
        tiled=Pair(tiled.tiled_differential_head_forward, tiled.tiled_differential_head_backward),
    ),
    "dgsa": Mechanism(
        Pair(gated.gated_head_forward, gated.gated_head_backward),
        DUAL,
        split=2,
        control=Control(gated.gate_specs, gated.gate_logits_forward, gated.gate_logits_backward),
        lambda_init=lambda layer: 0.8,
        tiled=Pair(tiled.tiled_gated_head_forward, tiled.tiled_gated_head_backward),
    ),
    "diff_v2": Mechanism(
        Pair(differential_v2.differential_v2_head_forward, differential_v2.differential_v2_head_backward),
        SHARED,
        control=Control(
            differential_v2.token_lambda_specs,
            differential_v2.token_lambda_forward,
            differential_v2.token_lambda_backward,
        ),
        tiled=Pair(tiled.tiled_differential_v2_head_forward, tiled.tiled_differential_v2_head_backward),
    ),
    "output_gate": Mechanism(
        Pair(output_gate.output_gate_head_forward, output_gate.output_gate_head_backward),
        SINGLE,
        control=Control(output_gate.token_gate_specs, output_gate.token_gate_forward, output_gate.token_gate_backward),
    ),
    "twicing": Mechanism(
        Pair(twicing.twicing_head_forward, twicing.twicing_head_backward), SINGLE, decodes=False, value_passes=2
    ),
}
ON_INHIBITION = {  # the row with gate_on="inhibition": differential attention whose lambda is the gate
    "dgsa": MECHANISMS["diff_v1"]._replace(
        control=Control(gated.gate_specs, gated.gate_lambda_forward, gated.gate_lambda_backward),
        lambda_init=MECHANISMS["dgsa"].lambda_init,
    ),
}
KINDS = tuple(MECHANISMS)
