"""The table of mechanisms: one row each. A new one is a file with its head pair, and a row here."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ..params import Spec
from . import differential, differential_v2, gated, output_gate, softmax, twicing


class Control(NamedTuple):
    """What weighs one map against the other: its parameters, and the pair that makes it from the tokens."""

    specs: Callable
    forward: Callable
    backward: Callable


class Mechanism(NamedTuple):
    head_forward: Callable
    head_backward: Callable
    projections: dict  # q, k, v and their kin, in the head's order, each with the axes of its W_
    split: int = 1  # parts that the C / H columns of a head are split into for keys: d = C / (split H)
    control: Control | None = None  # the head's last argument, if it has one
    lambda_init: Callable | None = None  # of the depth; None where heads are not normalised
    decodes: bool = True  # can it see more keys than queries, as decoding with a past needs?


def pair(module, name):
    """The two functions of a pair."""
    return getattr(module, f"{name}_forward"), getattr(module, f"{name}_backward")


def token_gate(name):
    """A control with one matrix, by the name of that matrix."""
    forward, backward = pair(output_gate, "token_gate")
    specs = {name: Spec("C H")}
    return Control(lambda cfg: specs, partial(forward, name=name), backward)


LAMBDA = Control(differential.lambda_specs, *pair(differential, "lambda"))
GATE = Control(gated.gate_specs, *pair(gated, "gate_logits"))
GATE_AS_LAMBDA = Control(gated.gate_specs, *pair(gated, "gate_lambda"))

SINGLE = {"q": "C C", "k": "C C", "v": "C C"}
DUAL = {"q_exc": "C H*d", "k_exc": "C H*d", "q_inh": "C H*d", "k_inh": "C H*d", "v": "C C"}
SHARED = {"q_exc": "C C", "q_inh": "C C", "k": "C C", "v": "C C"}

MECHANISMS = {
    "softmax": Mechanism(*pair(softmax, "softmax_head"), SINGLE),
    "diff_v1": Mechanism(*pair(differential, "differential_head"), DUAL, 2, LAMBDA, differential.depth_schedule),
    "dgsa": Mechanism(*pair(gated, "gated_head"), DUAL, 2, GATE, lambda layer: 0.8),
    "diff_v2": Mechanism(*pair(differential_v2, "differential_v2_head"), SHARED, control=token_gate("W_lambda")),
    "output_gate": Mechanism(*pair(output_gate, "output_gate_head"), SINGLE, control=token_gate("W_gate")),
    "twicing": Mechanism(*pair(twicing, "twicing_head"), SINGLE, decodes=False),
}
ON_INHIBITION = {  # the row with gate_on="inhibition": differential attention whose lambda is the gate
    "dgsa": MECHANISMS["diff_v1"]._replace(control=GATE_AS_LAMBDA, lambda_init=MECHANISMS["dgsa"].lambda_init),
}
KINDS = tuple(MECHANISMS)
