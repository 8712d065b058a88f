"""The table of mechanisms: one row each. A new one is a file with its head pair, and a row here."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ..params import Spec
from .differential import (
    depth_schedule,
    differential_head_backward,
    differential_head_forward,
    lambda_backward,
    lambda_forward,
    lambda_specs,
)
from .differential_v2 import differential_v2_head_backward, differential_v2_head_forward
from .gated import gate_logits_backward, gate_logits_forward, gate_specs, gated_head_backward, gated_head_forward
from .output_gate import output_gate_head_backward, output_gate_head_forward, token_gate_backward, token_gate_forward
from .softmax import softmax_head_backward, softmax_head_forward
from .twicing import twicing_head_backward, twicing_head_forward


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


def token_gate(name):
    """A control with one matrix, by the name of that matrix."""
    specs = {name: Spec("C H")}
    return Control(lambda cfg: specs, partial(token_gate_forward, name=name), token_gate_backward)


LAMBDA = Control(lambda_specs, lambda_forward, lambda_backward)
GATE = Control(gate_specs, gate_logits_forward, gate_logits_backward)

SINGLE = {"q": "C C", "k": "C C", "v": "C C"}
DUAL = {"q_exc": "C H*d", "k_exc": "C H*d", "q_inh": "C H*d", "k_inh": "C H*d", "v": "C C"}
SHARED = {"q_exc": "C C", "q_inh": "C C", "k": "C C", "v": "C C"}

MECHANISMS = {
    "softmax": Mechanism(softmax_head_forward, softmax_head_backward, SINGLE),
    "diff_v1": Mechanism(
        differential_head_forward, differential_head_backward, DUAL, split=2, control=LAMBDA, lambda_init=depth_schedule
    ),
    "dgsa": Mechanism(
        gated_head_forward, gated_head_backward, DUAL, split=2, control=GATE, lambda_init=lambda layer: 0.8
    ),
    "diff_v2": Mechanism(
        differential_v2_head_forward, differential_v2_head_backward, SHARED, control=token_gate("W_lambda")
    ),
    "output_gate": Mechanism(output_gate_head_forward, output_gate_head_backward, SINGLE, control=token_gate("W_gate")),
    "twicing": Mechanism(twicing_head_forward, twicing_head_backward, SINGLE, decodes=False),
}
KINDS = tuple(MECHANISMS)
