"""The table of mechanisms: one row each. A new one is a file with its head pair, and a row here."""

from collections.abc import Callable
from typing import NamedTuple

from .differential import (
    depth_schedule,
    differential_head_backward,
    differential_head_forward,
    lambda_backward,
    lambda_forward,
    lambda_specs,
)
from .gated import gate_logits_backward, gate_logits_forward, gate_specs, gated_head_backward, gated_head_forward
from .softmax import softmax_head_backward, softmax_head_forward


class Control(NamedTuple):
    """What weighs one map against the other: its parameters, and the pair that makes it from the tokens."""

    specs: Callable
    forward: Callable
    backward: Callable


class Mechanism(NamedTuple):
    head_forward: Callable
    head_backward: Callable
    projections: dict  # q, k, v and their kin, in the head's order, each with the axes of its W_
    maps: int = 1  # softmax maps per head: the key width d is C / (maps H)
    control: Control | None = None  # the head's last argument, if it has one
    lambda_init: Callable | None = None  # of the depth; None where heads are not normalised


SINGLE = {"q": "C C", "k": "C C", "v": "C C"}
DUAL = {"q_exc": "C H*d", "k_exc": "C H*d", "q_inh": "C H*d", "k_inh": "C H*d", "v": "C C"}

MECHANISMS = {
    "softmax": Mechanism(softmax_head_forward, softmax_head_backward, SINGLE),
    "diff_v1": Mechanism(
        differential_head_forward,
        differential_head_backward,
        DUAL,
        maps=2,
        control=Control(lambda_specs, lambda_forward, lambda_backward),
        lambda_init=depth_schedule,
    ),
    "dgsa": Mechanism(
        gated_head_forward,
        gated_head_backward,
        DUAL,
        maps=2,
        control=Control(gate_specs, gate_logits_forward, gate_logits_backward),
        lambda_init=lambda layer: 0.8,
    ),
}
KINDS = tuple(MECHANISMS)
