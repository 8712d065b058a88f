"""Matrices, masked arrays and memory maps are refused by name, and none is handed out."""

from functools import partial

import numpy as np
import pytest
from support.problems import TOKENS, whole_model

from dgsa_np import attention, losses, ops, optim
from dgsa_np.attention import AttentionConfig
from dgsa_np.backend import array_module
from dgsa_np.checkpoint import load_checkpoint, save_checkpoint
from dgsa_np.data import Split, corrupt, load
from dgsa_np.lab.sample import sample
from dgsa_np.model import ModelConfig, init_model, model_forward
from dgsa_np.params import flatten


def on_disk(a, folder):
    held = np.lib.format.open_memmap(folder / f"{a.dtype}.npy", "w+", a.dtype, a.shape)
    held[:] = a
    return held


SUBCLASSES = {"matrix": lambda a, _: np.matrix(a), "MaskedArray": lambda a, _: np.ma.array(a), "memmap": on_disk}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("name", SUBCLASSES)
def test_a_subclass_of_arrays_is_refused_by_name(name, tmp_path):
    """To numpy.matrix * is a product of matrices;
    a masked array leaves numbers out; neither says so.
    """
    good = np.eye(4) + 1
    bad, integers, true = (SUBCLASSES[name](good.astype(dtype), tmp_path) for dtype in ("f8", "i8", "?"))
    row, tokens, p = np.ones(4), np.zeros((4, 4), int), dict.fromkeys(("W_q", "W_k", "W_v", "W_o"), bad)
    vision, cfg = whole_model("dgsa", "vision")[1::-1], ModelConfig(task="lm", **TOKENS | {"n_out": 11})
    language = init_model(cfg, np.random.default_rng(0)), cfg
    calls = {
        "x": partial(ops.rmsnorm_forward, bad, row),
        "W": partial(ops.linear_forward, good, bad),
        "scores": partial(ops.softmax_forward, bad),
        "mask": partial(ops.softmax_forward, good, true),
        "logits": partial(losses.cross_entropy_forward, bad, np.arange(4)),
        "targets": partial(losses.cross_entropy_forward, np.ones((4, 4, 2)), integers),
        "keep": partial(losses.cross_entropy_forward, np.ones((4, 4, 2)), tokens, true),
        "upstream gradient": partial(ops.silu_backward, bad, ops.silu_forward(good)[1]),
        "positions": partial(ops.rotary_forward, np.ones((4, 1, 4, 2)), bad),
        "W_q": partial(attention.attention_forward, good[None], p, AttentionConfig(kind="softmax", width=4)),
        "grads": partial(optim.sgd_step, {"W": good}, {"W": bad}, 0.1),
        "images": partial(model_forward, bad, *vision),
        "tokens": partial(model_forward, integers, *language),
        "prompt": lambda: next(sample(*language, integers, 1, np.random.default_rng(0))),
        "inputs": Split(bad, np.arange(4)).length,
        "state.W": partial(save_checkpoint, tmp_path / "c.npz", {"W": bad}),
        "corrupt: x": partial(corrupt, bad, "blur", 0.5, np.random.default_rng(0)),
        "array_module": partial(array_module, bad),
    }
    for argument, call in calls.items():
        with pytest.raises((TypeError, ValueError), match=rf"{argument}\b.* {name}, expected"):
            call()
    advice = r"\.filled\(value\)" if name == "MaskedArray" else "numpy.asarray"
    with pytest.raises(TypeError, match=rf"x is {name}, expected an array; .*{advice}"):
        ops.silu_forward(bad)


def test_loaders_and_checkpoints_hand_out_arrays_themselves(digits, sources, tmp_path):
    save_checkpoint(tmp_path / "c.npz", {"W": np.eye(3), "b": [np.ones(2)]})
    trees = [load_checkpoint(tmp_path / "c.npz"), *digits[:3], *load("rt-polarity", sources)[:3]]
    trees += load("text", sources / "text.txt", length=8)[:3]
    assert {type(a) for tree in trees for a in flatten(tree).values()} == {np.ndarray}
