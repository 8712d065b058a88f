"""The table of mechanisms: one row each. A new one is a file with its head pair, and a row here.

Everything else takes the kinds of attention from this table: the layer around the heads, the
command line, the studies, the pictures and the tests.
"""

from collections.abc import Callable
from typing import NamedTuple

from . import differential, differential_v2, gated, output_gate, softmax, tiled, twicing


class Pair(NamedTuple):
    """A forward, and the backward that undoes it."""

    forward: Callable
    backward: Callable


class Control(NamedTuple):
    """What makes the number that a head needs beside queries, keys and values: a lambda, or a gate.

    It is made from the tokens and from parameters of its own.
    """

    specs: Callable  # specs(cfg) -> {name of a parameter: Spec}
    forward: Callable  # forward(x, p, cfg) -> the number, cache
    backward: Callable  # backward(gradient of the number, cache) -> dx, grads
    axes: str = "B H T"  # of the number: one per token and head; "" is one for the whole layer


class Mechanism(NamedTuple):
    """All that the rest of the package knows about a kind of attention."""

    head: Pair  # forward(q.., k.., v[, number of the control], mask=None) -> o, cache
    projections: dict  # the head's queries, keys and values in its order, each with the axes of its W_
    control: Control | None = None  # makes the head's last argument, if it has one
    maps: int = 1  # softmax maps of a head
    split: int = 1  # parts that the C / H columns of a head are split into for keys: d = C / (split H)
    lambda_init: Callable | None = None  # the head norm's number at a depth; None: no head norm
    decodes: bool = True  # can it see more keys than queries, as decoding with a past needs?
    tiled: Pair | None = None  # the head on tiles, for long sequences


SINGLE = {"q": "C C", "k": "C C", "v": "C C"}
DUAL = {"q_exc": "C H*d", "k_exc": "C H*d", "q_inh": "C H*d", "k_inh": "C H*d", "v": "C C"}
SHARED = {"q_exc": "C C", "q_inh": "C C", "k": "C C", "v": "C C"}

MECHANISMS = {
    "softmax": Mechanism(
        head=Pair(softmax.softmax_head_forward, softmax.softmax_head_backward),
        projections=SINGLE,
        tiled=Pair(tiled.tiled_softmax_head_forward, tiled.tiled_softmax_head_backward),
    ),
    "diff_v1": Mechanism(
        head=Pair(differential.differential_head_forward, differential.differential_head_backward),
        projections=DUAL,
        control=Control(differential.lambda_specs, differential.lambda_forward, differential.lambda_backward, axes=""),
        maps=2,
        split=2,
        lambda_init=differential.depth_schedule,
        tiled=Pair(tiled.tiled_differential_head_forward, tiled.tiled_differential_head_backward),
    ),
    "dgsa": Mechanism(
        head=Pair(gated.gated_head_forward, gated.gated_head_backward),
        projections=DUAL,
        control=Control(gated.gate_specs, gated.gate_logits_forward, gated.gate_logits_backward),
        maps=2,
        split=2,
        lambda_init=lambda layer: 0.8,
        tiled=Pair(tiled.tiled_gated_head_forward, tiled.tiled_gated_head_backward),
    ),
    "diff_v2": Mechanism(
        head=Pair(differential_v2.differential_v2_head_forward, differential_v2.differential_v2_head_backward),
        projections=SHARED,
        control=Control(
            differential_v2.token_lambda_specs,
            differential_v2.token_lambda_forward,
            differential_v2.token_lambda_backward,
        ),
        maps=2,
        tiled=Pair(tiled.tiled_differential_v2_head_forward, tiled.tiled_differential_v2_head_backward),
    ),
    "output_gate": Mechanism(
        head=Pair(output_gate.output_gate_head_forward, output_gate.output_gate_head_backward),
        projections=SINGLE,
        control=Control(output_gate.token_gate_specs, output_gate.token_gate_forward, output_gate.token_gate_backward),
    ),
    "twicing": Mechanism(
        head=Pair(twicing.twicing_head_forward, twicing.twicing_head_backward),
        projections=SINGLE,
        decodes=False,
    ),
}
ON_INHIBITION = {  # the row with gate_on="inhibition": differential attention whose lambda is the gate
    "dgsa": MECHANISMS["diff_v1"]._replace(
        control=Control(gated.gate_specs, gated.gate_lambda_forward, gated.gate_lambda_backward),
        lambda_init=MECHANISMS["dgsa"].lambda_init,
    ),
}
KINDS = tuple(MECHANISMS)
