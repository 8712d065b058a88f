"""The fast step computes what the plain step computes: gradients, updates, on memory that is used
again and again, by any number of threads, in both precisions.
"""
# ruff: noqa: E501 - a table reads best with a row to a line

import tracemalloc
from contextlib import contextmanager
from functools import cache, partial
from itertools import product

import numpy as np
import pytest
from support.compare import bits
from support.fast_step import (
    KINDS,
    MASKS,
    PLACES,
    TASKS,
    THREADS,
    assert_gradients,
    assert_steps,
    batches_of,
    bits_of,
    changed_in,
    fast_gradients,
    held,
    louder,
    plain_gradients,
    plain_steps,
    problem,
    step_for,
)
from support.planting import FAILURES, planted
from support.tiers import most_later

from dgsa_np.fast import shard, step, tables, weights
from dgsa_np.fast.shard import Shard
from dgsa_np.fast.step import Step
from dgsa_np.model import model_forward
from dgsa_np.optim import adamw_init, global_norm
from dgsa_np.params import flatten, tree_map

# ----------------------------------------------------------------------------------- the gradients

NOW = [(*place, THREADS[i % 4]) for i, place in enumerate(PLACES)]
EVERYWHERE = [(*place, threads) for place in PLACES for threads in THREADS]


@pytest.mark.parametrize(("kind", "task", "mask", "threads"), most_later(EVERYWHERE, NOW[::7]))
def test_loss_and_gradients_are_those_of_the_plain_step(kind, task, mask, threads):
    assert_gradients(problem(kind, task, mask), threads)


SWITCHES = {
    "gelu": {"ffn": "gelu"},
    "no head norm": {"head_norm": False},
    "lambda_init": {"lambda_init": 0.3},
    "gate per head": {"gate": "head"},
    "gate on inhibition": {"gate_on": "inhibition"},
    "gate per head on inhibition": {"gate": "head", "gate_on": "inhibition"},
    "gate_bias": {"gate_bias": -2.0},
    "rotary": {"rotary": True, "width": 24},
    "eps": {"eps": 0.1},
    "one block": {"depth": 1},
    "four blocks": {"depth": 4},
    "one head": {"n_heads": 1},
    "one of a batch": {"B": 1},
    "plain": {"impl": "plain"},
    "tiled": {"impl": "tiled"},
    "tiled, many of them": {"impl": "tiled", "rotary": True, "gate": "head", "ffn": "gelu", "head_norm": False},
    "many of them": {"rotary": True, "gate_on": "inhibition", "ffn": "gelu", "lambda_init": 0.1, "eps": 0.01},
}
OF_IMAGES = {
    "three colours": {"channels": 3},
    "patches of a pixel": {"patch_size": 1, "image_size": 5},
    "one patch": {"patch_size": 3, "image_size": 3},
    "tiled, several tiles": {"patch_size": 1, "image_size": 9, "impl": "tiled"},
}
OF_TOKENS = {
    "one token": {"T": 1},
    "two blocks of queries": {"T": 64},
    "two unequal ones": {"T": 67},
    "three": {"T": 97},
    "four, rotary": {"T": 131, "rotary": True},
    "tiled, several tiles": {"T": 150, "impl": "tiled"},
    "two outputs": {"vocab_size": 4, "n_out": 2, "T": 3},
}
VARIANTS = [(t, name, s) for t in TASKS for name, s in (SWITCHES | (OF_IMAGES if t == "vision" else OF_TOKENS)).items()]


def variants():
    """Every switch with every kind and task, under two masks; in the fast tier one of each."""
    names = [*SWITCHES, *OF_IMAGES, *OF_TOKENS]
    for (task, name, switches), (k, kind), m in product(VARIANTS, enumerate(KINDS), (0, 1)):
        i = names.index(name)
        mask, turn = MASKS[(i + k + m) % 5], TASKS[i % 3] if name in SWITCHES else task
        has_it = kind == "dgsa" if "gate" in name else kind == "diff_v1" if "lambda" in name else k == i % 4
        marks = () if has_it and m == 0 and task == turn and (name in SWITCHES or i % 2 or task != "text") else pytest.mark.slow
        yield pytest.param(kind, task, mask, switches, THREADS[i % 4], marks=marks, id=f"{kind}-{task}-{mask}-{name}")


@pytest.mark.parametrize(("kind", "task", "mask", "switches", "threads"), [*variants()])
def test_and_with_every_switch(kind, task, mask, switches, threads):
    assert_gradients(problem(kind, task, mask, **switches), threads)


def test_sequences_may_be_shorter_than_the_longest():
    """What stands in the positions behind them gets no gradient."""
    for task, mask in (("text", "none"), ("lm", "none"), ("lm", "left")):
        given = problem("dgsa", task, mask, T=4, max_len=9, rotary=True)
        step = step_for(given, threads=2)
        assert_gradients(given, step=step)
        assert not step.grads()["embed"]["positions"][4:].any()


# ------------------------------------------------------------------------------------ large scores


def scores(given):
    """The largest score of a query and a key, in the first block."""
    cache = model_forward(given.inputs, given.params, given.cfg, given.keep)[1].blocks[0].attention
    queries, keys = ([a for name, a in cache.heads.items() if name[0] == letter] for letter in "qk")
    found = [q @ keys[i % len(keys)].mT for i, q in enumerate(queries)]
    return max(abs(s).max() for s in found) / given.cfg.sizes["d"] ** 0.5


LOUD = [(*place, impl) for place in PLACES for impl in ("plain", "tiled")]


@pytest.mark.parametrize(("kind", "task", "mask", "impl"), most_later(LOUD, LOUD[12::33]))
def test_scores_of_hundreds_are_shifted_before_the_exponential(kind, task, mask, impl):
    """In float64 exp(710) is too large, in float32 exp(89)."""
    given = louder(problem(kind, task, mask, T=67, depth=1, B=3, impl=impl), 1000)
    assert scores(given) > 900
    assert_gradients(given, threads=2, bar=1e-11)  # rounding of the scores alone makes 1e-13 of 1000
    given = louder(given, 0.2).in_dtype("float32")
    assert scores(given) > 180
    _, (ours, plain) = errors([given])
    assert np.median(ours / plain) <= 2 * BAR and max(ours / plain) <= 20 * BAR


def all_about(size):
    """Scores all about size: every token is nearly the same, and its key is its query."""
    given = problem("softmax", "text", "right", depth=1, n_heads=1, width=4)
    embed = given.params["embed"]
    embed = {"tokens": 1 + 1e-3 * embed["tokens"], "positions": 1e-3 * embed["positions"]}
    same = {"W_q": np.eye(4) * size / 2, "W_k": np.eye(4)}
    given = changed_in(given, "attention", lambda name, a: same.get(name, a))
    given = changed_in(given, "norm1", lambda _, w: np.ones_like(w))
    return given._replace(params=given.params | {"embed": embed})


@pytest.mark.parametrize("size", [-800.0, -200.0, 200.0, 800.0])
def test_a_map_whose_scores_are_all_low_or_all_high_has_its_sums(size):
    given = all_about(size)
    assert 0.9 * abs(size) < scores(given) < 1.1 * abs(size)
    assert_gradients(given)
    assert all(np.isfinite(a).all() for a in fast_gradients(given.in_dtype("float32")).values())


# --------------------------------------------------------------------------------- single precision

FLOOR = 2.0**-24 / 4  # as in spec/test_single_precision.py
BAR, FEW, MANY = 2, 10, 100


def errors(several):
    """The names of tensors; our errors and those of the plain step.

    They are medians over problems in float32; what float64 makes of the same numbers is the truth.
    """
    found = []
    for given in several:
        truth = plain_gradients(given.in_dtype("float64"))
        ours, plain = fast_gradients(given), plain_gradients(given)
        assert {a.dtype.name for a in ours.values()} == {"float32"}
        found.append([[abs(a[name] - b).max() / abs(b).max() for name, b in truth.items()] for a in (ours, plain)])
    return list(truth), np.maximum(np.median(found, axis=0), FLOOR)


def misses(several, bar=BAR, floor=0.0):
    """The tensors that are further off than bar times what they are in the plain step.

    floor : a quantile of its errors, which smaller ones count as
    """
    names, (ours, plain) = errors(several)
    plain = np.maximum(plain, np.quantile(plain, floor))
    return {name: ratio for name, ratio in zip(names, ours / plain, strict=True) if not ratio <= bar}


OTHERS = {}, {"ffn": "gelu", "rotary": True, "gate_on": "inhibition"}, {"head_norm": False, "gate": "head"}
SINGLE = [*product(KINDS, TASKS, OTHERS)]


@pytest.mark.parametrize(("kind", "task", "switches"), most_later(SINGLE, SINGLE[3:4]))
def test_float32_is_at_most_twice_as_far_off_as_in_the_plain_step(kind, task, switches):
    """Tensors that miss the bar over a few seeds, which swing, are judged by many."""

    def drawn(n):
        return [problem(kind, task, MASKS[seed % 4], seed, **switches).in_dtype("float32") for seed in range(n)]

    assert not misses(drawn(FEW)) or not misses(drawn(MANY))


LONG = {"lm": {"B": 40, "T": 60}, "text": {"B": 40, "T": 60}, "vision": {"B": 300}}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "task"), [*product(KINDS, TASKS)])
def test_sums_over_thousands_of_rows_are_no_further_off_than_products_of_them(kind, task):
    """The plain step adds up biases and gains with more digits than its matrices have."""
    several = [problem(kind, task, seed=seed, depth=1, **LONG[task]).in_dtype("float32") for seed in range(6)]
    assert misses(several, 4 * BAR, floor=0.5) == {}


def assert_a_bias_keeps_its_digits():
    """16,384 rows, added one after the other, make an error of 1e-6 to 3e-6."""
    small = {"depth": 1, "width": 4, "n_heads": 1, "ffn_width": 3, "vocab_size": 5}
    names, (ours, _) = errors([problem("softmax", "lm", B=512, T=32, **small).in_dtype("float32")])
    assert ours[names.index("head.b")] <= 5e-7


def test_the_gradient_of_a_bias_keeps_its_digits_over_many_rows():
    assert_a_bias_keeps_its_digits()


@pytest.mark.parametrize("switches", [{}, {"gate_on": "inhibition"}], ids=str)
@pytest.mark.parametrize("logit", [20, -20])
def test_a_gate_that_is_all_but_open_or_shut_keeps_its_gradient_in_float32(logit, switches):
    """1 - sigmoid(20) has no digits left; sigmoid(-20) has all of them."""
    given = problem("dgsa", "text", gate="head", depth=1, **switches).in_dtype("float32")
    given = changed_in(given, "attention", lambda name, a: a * 0 + logit if name == "b_gate" else a)
    got, want = fast_gradients(given), plain_gradients(given.in_dtype("float64"))
    for name in ("b_gate", "W_q_inh", "W_k_inh"):
        name = f"blocks.0.attention.{name}"
        assert abs(got[name] - want[name]).max() <= 1e-4 * abs(want[name]).max() > 0, name


# ------------------------------------------------------------------------------------- whole steps


@pytest.fixture
def small_parts(monkeypatch):
    """AdamW takes its vectors in many parts, as it does those of large models."""
    monkeypatch.setattr(weights, "CHUNK", 100)


@pytest.mark.parametrize(("kind", "task", "mask", "threads"), most_later(NOW, NOW[::13]))
def test_after_every_step_all_that_is_held_is_as_after_a_plain_one(kind, task, mask, threads, small_parts):
    assert_steps(problem(kind, task, mask), threads)


OPTIONS = [{"clip": 0.1}, {"clip": 1e6}, {"weight_decay": 0.0}, {"weight_decay": 3.0}, {"lr": 0.0}, {"lr": 1e-5}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_and_with_every_setting_of_the_update(options):
    assert_steps(problem("dgsa", "vision", depth=1), n=2, **options)


def test_a_large_model_is_updated_in_parts():
    given = problem("dgsa", "vision", width=48, ffn_width=100)
    assert sum(a.size for a in flatten(given.params).values()) > weights.CHUNK
    assert_steps(given, threads=2, n=2)


def test_moments_of_a_long_training_go_on():
    """When the bias correction has all but gone."""
    given = problem("diff_v1", "lm", "right", depth=1)
    *_, ((_, m, v), _, _) = plain_steps(given, batches_of(given, 3), 1e-3)
    assert_steps(given, start={"m": m, "v": v, "step": 1000})


def assert_the_norm_is_exact():
    """It is added in float64."""
    given = problem("dgsa", "vision", width=48, ffn_width=100).in_dtype("float32")
    step = step_for(given)
    _, norm = step.train(*given.batch)
    assert norm.dtype == "float64" and abs(norm / global_norm(step.grads()) - 1) < 1e-14


def test_the_norm_of_a_gradient_in_float32_has_all_digits():
    assert_the_norm_is_exact()


# ---------------------------------------------------------------------------- what goes in and out


def run_of(given, threads=1, step=None):
    """Losses and norms of some steps, and all that is held afterwards, as bytes."""
    step = step or step_for(given, threads)
    step.set(given.params)
    said = [np.array(step.train(*batch)).tobytes() for batch in batches_of(given, 2)]
    return said, bits_of(step)


def assert_nothing_is_left_over(given, other, threads=1):
    """A step that was used for something else gives the bits of a new one."""
    used = step_for(other, threads)
    for batch in batches_of(louder(other, 1e3), 2):
        used.train(*batch)
    assert run_of(given, threads) == run_of(given, threads) == run_of(given, step=used)


BITS = [(*place, ("float32", "float64")[i % 2], threads) for i, place in enumerate(PLACES) for threads in (1, 3)]


@pytest.mark.parametrize(("kind", "task", "mask", "dtype", "threads"), most_later(BITS, BITS[4::33]))
def test_equal_threads_give_equal_bits_whatever_was_in_the_memory(kind, task, mask, dtype, threads):
    given, other = (problem(kind, task, mask, seed).in_dtype(dtype) for seed in (3, 4))
    assert_nothing_is_left_over(given, other, threads)


@pytest.mark.parametrize("task", TASKS)
def test_arguments_are_left_as_they_are_and_may_be_read_only(task):
    given = problem("dgsa", task, "holes")
    optimizer = adamw_init(given.params)
    arguments = [*held(given.params, optimizer), *given.batch]
    before = bits(arguments)
    for a in flatten(arguments).values():
        a.flags.writeable = False
    step = step_for(given, threads=2)
    step.set(given.params, optimizer)
    for _ in range(2):
        step.train(*given.batch, lr=0.1)
    step.gradients(*given.batch)
    assert bits(arguments) == before and optimizer["step"] == 0


def assert_all_is_copied():
    given = problem("dgsa", "lm", "right")
    step = step_for(given)
    said, grads, (params, optimizer) = step.train(*given.batch), step.grads(), step.state()
    out = [*said, grads, *held(params, optimizer)]
    before = bits(out)
    for batch in batches_of(given, 2):
        step.train(*batch, lr=0.3)
    assert bits(out) == before and optimizer["step"] == 1  # later steps do not change it
    put_in = tree_map(np.copy, params)
    step.set(put_in, {"m": put_in, "v": put_in, "step": 7})
    inside = bits_of(step)
    for a in flatten([put_in, *held(*step.state()), step.grads()]).values():
        a.fill(0)
    assert bits_of(step) == inside and step.state()[1]["step"] == 7


def test_what_comes_out_is_a_copy_and_what_goes_in_is_copied():
    assert_all_is_copied()


def assert_it_starts_anew():
    given = problem("softmax", "text")
    used, fresh = step_for(given), step_for(given)
    for batch in batches_of(given, 2):
        used.train(*batch)
    used.set(given.params)
    assert [float(a) for a in used.train(*given.batch)] == [float(a) for a in fresh.train(*given.batch)]
    assert bits_of(used) == bits_of(fresh) and used.state()[1]["step"] == 1


def test_without_a_state_of_the_optimizer_a_step_starts_anew():
    assert_it_starts_anew()


@pytest.mark.parametrize(("kind", "task"), [*product(KINDS, TASKS)])
def test_all_that_comes_out_has_the_names_and_shapes_of_the_parameters_in_their_order(kind, task):
    given = problem(kind, task)
    step = step_for(given)
    wanted = [(name, a.shape, a.dtype) for name, a in flatten(given.params).items()]
    for tree in (*held(*step.state()), step.grads()):
        assert [(name, a.shape, a.dtype) for name, a in flatten(tree).items()] == wanted


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "backwards": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "of another dtype": lambda a: a.astype({"f": "float32", "i": "int16", "b": "bool"}[a.dtype.kind]),
    "unsigned": lambda a: a.astype("uint64") if a.dtype.kind == "i" else a,
}


LYING = [*product(TASKS, LAYOUTS)]


@pytest.mark.parametrize(("task", "layout"), most_later(LYING, LYING[::6]))
def test_however_a_batch_lies_in_memory(task, layout):
    given = problem("dgsa", task, "right").in_dtype("float32").in_dtype("float64")
    inputs, targets, keep = (LAYOUTS[layout](a) if a.ndim > 1 else a for a in given.batch)
    want = fast_gradients(given)
    assert bits(fast_gradients(given._replace(inputs=inputs, targets=targets, keep=keep))) == bits(want)


def test_images_of_one_colour_may_have_an_axis_for_it():
    given = problem("diff_v2", "vision")
    assert bits(fast_gradients(given._replace(inputs=given.inputs[..., None]))) == bits(fast_gradients(given))


def assert_dropped_ones_are_ignored(task):
    pixels = {"patch_size": 1, "image_size": 3} if task == "vision" else {}
    given = problem("dgsa", task, "one empty", **pixels)
    inputs, targets, dropped = given.inputs.copy(), given.targets.copy(), ~given.keep
    inputs.reshape(dropped.shape)[dropped] = np.nan if task == "vision" else 9
    if task == "lm":
        targets[dropped] = 0
    assert bits(fast_gradients(given._replace(inputs=inputs, targets=targets))) == bits(fast_gradients(given))


@pytest.mark.parametrize("task", TASKS)
def test_what_is_dropped_may_hold_anything(task):
    assert_dropped_ones_are_ignored(task)


@pytest.mark.parametrize(("kind", "task"), [*zip(KINDS, (*TASKS, "lm"), strict=True)])
def test_a_step_that_was_made_for_a_keep_takes_batches_without(kind, task):
    """It keeps all, also after a batch with holes, whose limits must be gone."""
    given = problem(kind, task, "holes")
    step = step_for(given)
    step.gradients(*given.batch)
    assert_gradients(given._replace(keep=None), step=step)


def test_several_steps_at_once_do_not_disturb_each_other():
    several = [problem(*place) for place in PLACES[::11]]
    alone = [run_of(given, threads=2) for given in several]
    steps, said = [step_for(given, threads=2) for given in several], [[] for _ in several]
    for batches in zip(*(batches_of(given, 2) for given in several), strict=True):
        for i, batch in enumerate(batches):
            said[i].append(np.array(steps[i].train(*batch)).tobytes())
    assert [(s, bits_of(step)) for s, step in zip(said, steps, strict=True)] == alone


# ------------------------------------------------------------------------------- what is not finite

BREAKS = {  # {what breaks: is the loss finite, is the norm}
    "nan in a parameter": (False, False),
    "inf in a gain": (False, False),
    "a parameter that overflows": (False, False),
    "a loss that overflows": (False, True),
    "a norm that overflows": (True, False),
}


def not_finite(task, how):
    given = problem("dgsa", task, "holes")
    params = tree_map(np.copy, given.params)
    if how == "nan in a parameter":
        params["blocks"][1]["mlp"]["W_down"][2, 3] = np.nan
    elif how == "inf in a gain":
        params["norm"]["w"][1] = np.inf
    elif how == "a parameter that overflows":
        params["head"]["W"] *= 1e308
    elif how == "a loss that overflows":  # the difference of two finite logits is not finite
        params["head"]["b"][:2] = 1.5e308, -1.5e308
    else:  # a gradient of 1e170 has no square
        params["norm"]["w"] *= 1e-170
        params["head"]["W"] *= 1e170
    return given._replace(params=params)


def assert_nothing_changes(task, how):
    good, bad = problem("dgsa", task, "holes"), not_finite(task, how)
    step = step_for(good, threads=2)
    step.train(*good.batch)
    step.set(bad.params, step.state()[1])
    before = bits(held(*step.state()))
    assert tuple(map(bool, np.isfinite(step.train(*bad.batch, lr=0.1)))) == BREAKS[how]
    assert bits(held(*step.state())) == before
    step.set(good.params)  # and nothing of it stays in the memory
    assert_gradients(good, step=step)


BROKEN = [*product(TASKS, BREAKS)]


@pytest.mark.parametrize(("task", "how"), most_later(BROKEN, BROKEN[5:10]))
def test_what_is_not_finite_leaves_parameters_and_moments_to_the_bit(task, how):
    assert_nothing_changes(task, how)


# ------------------------------------------------------------------------ memory that stands still


def peak(function):
    """The most bytes that Python and NumPy hold while it runs, above what they hold before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        function()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


MEDIUM = {"B": 16, "T": 64, "width": 64, "n_heads": 4, "ffn_width": 128}
STILL = [(*place, impl, threads) for place in PLACES[::2] for impl in ("auto", "tiled") for threads in (1, 2)]


@pytest.mark.parametrize(("kind", "task", "mask", "impl", "threads"), most_later(STILL, STILL[35::60]))
def test_a_warm_step_takes_no_memory(kind, task, mask, impl, threads):
    """One map alone has 128 KiB."""
    pixels = {"image_size": 8, "patch_size": 1} if task == "vision" else {}
    given = problem(kind, task, mask, impl=impl, **MEDIUM, **pixels).in_dtype("float32")
    step = step_for(given, threads)
    step.train(*given.batch)
    assert peak(partial(step.train, *given.batch)) < 64 * 2**10


def test_what_takes_memory_is_seen():
    assert peak(lambda: np.zeros(2**16, "uint8")) >= 2**16


def test_on_tiles_memory_grows_with_the_length_not_with_its_square():
    short, long = (problem("dgsa", "lm", "left", B=1, T=T, impl="tiled", depth=1) for T in (128, 512))
    assert peak(partial(step_for, long)) < 5 * peak(partial(step_for, short))


# ------------------------------------------------------------------------------------ planted bugs

OF_STEPS = problem("dgsa", "vision", "right")
CHECKS = {
    "gradients, dgsa": lambda: assert_gradients(problem("dgsa", "lm", "right")),
    "gradients, three shards": lambda: assert_gradients(problem("dgsa", "text", "holes"), threads=3),
    "gradients, images": lambda: assert_gradients(problem("dgsa", "vision", "left")),
    "gradients, gelu": lambda: assert_gradients(problem("softmax", "vision", ffn="gelu")),
    "gradients, rotary": lambda: assert_gradients(problem("dgsa", "text", "holes", rotary=True)),
    "gradients, eps": lambda: assert_gradients(problem("dgsa", "text", eps=0.1)),
    "gradients, diff_v1": lambda: assert_gradients(problem("diff_v1", "lm", "left")),
    "gradients, diff_v2": lambda: assert_gradients(problem("diff_v2", "lm", "left")),
    "gradients, gate per head": lambda: assert_gradients(problem("dgsa", "text", gate="head")),
    "gradients, inhibition": lambda: assert_gradients(problem("dgsa", "text", gate_on="inhibition")),
    "gradients, blocks of queries": lambda: assert_gradients(problem("dgsa", "lm", "none", T=67, depth=1)),
    "gradients, tiles": lambda: assert_gradients(problem("dgsa", "lm", "none", T=67, depth=1, impl="tiled")),
    "gradients, one sequence empty": lambda: assert_gradients(problem("dgsa", "lm", "one empty")),
    "gradients, equal tokens": lambda: assert_gradients(with_equal_tokens()),
    "large scores": lambda: assert_gradients(louder(problem("dgsa", "lm", "left", depth=1), 1e3), bar=1e-11),
    "low scores": lambda: assert_gradients(all_about(-800.0)),
    "whole steps": lambda: assert_steps(OF_STEPS, n=2),
    "whole steps, small gradients": lambda: assert_steps(OF_STEPS, n=2, clip=1e6),
    "whole steps, large gradients": lambda: assert_steps(OF_STEPS, n=2, clip=0.1),
    "the norm": assert_the_norm_is_exact,
    "a bias of many rows": assert_a_bias_keeps_its_digits,
    "left over": lambda: assert_nothing_is_left_over(*(problem("dgsa", "text", "holes", seed) for seed in (3, 4))),
    "left over, fewer pairs": lambda: assert_nothing_is_left_over(problem("dgsa", "text"), with_equal_tokens()),
    "copies": assert_all_is_copied,
    "starts anew": assert_it_starts_anew,
    "dropped": lambda: assert_dropped_ones_are_ignored("vision"),
    **{f"not finite: {how}": partial(assert_nothing_changes, "lm", how) for how in BREAKS},
}


def with_equal_tokens():
    """As many pairs as there can be: of three, four or more alike."""
    given = problem("dgsa", "text")
    return given._replace(inputs=np.zeros_like(given.inputs))


BUGS = {  # what is wrong: (the check that sees it, the function, its text, the wrong one)
    "no bias of the patches": ("gradients, images", Shard.embed_patches, '.add(self.x, p["b"])', ""),
    "their bias by the gradient of a norm": ("gradients, images", Shard.embed_patches, 'self.column_sums(self.dx, g["b"])', 'self.column_sums(self.dy, g["b"])'),
    "positions of the last tokens": ("gradients, blocks of queries", Shard.add_positions, 'g["positions"][:T]', 'g["positions"][-T:]'),
    "positions that count dropped tokens": ("gradients, three shards", Shard.add_places, 'Batch.places, "int64"', 'lambda batch: 0 * batch.places() + np.arange(batch.keep.shape[1]), "int64"'),
    "columns added row by row": ("a bias of many rows", Shard.column_sums, 'self.sizes["B"], -1', "1, -1"),
    "norm without eps": ("gradients, eps", Shard.normalise, ".add(r, self.cfg.eps)", ""),
    "norm backward without its mean": ("gradients, dgsa", Shard.through_norm, "subtract(dn, room)", "subtract(dn, 0)"),
    "norm backward without its size": ("gradients, dgsa", Shard.through_norm, ".multiply(dn, r)", ""),
    "residual stream cut": ("gradients, dgsa", Shard.norm, ".add(self.dx, self.dy)", ".copy(self.dy)"),
    "dx not emptied": ("left over", Shard.write, "self.into(self.dx).copy(0)", "None"),
    "turned on in the backward": ("gradients, rotary", Shard.turn, 'write(dx, "subtract", "add")', 'write(dx, "add", "subtract")'),
    "sine and cosine confused": ("gradients, rotary", Shard.turn, "multiply(odd, self.sin)", "multiply(odd, self.cos)"),
    "rotary that counts dropped tokens": ("gradients, rotary", Shard.__init__, "np.cos(batch.places()[..., None] * angles)", "np.cos((0 * batch.places() + np.arange(length))[..., None] * angles)"),
    "lam with a plus": ("gradients, diff_v1", Shard.weigh, 'multiply(W["lam"], -1)', 'multiply(W["lam"], 1)'),
    "dlam with a plus": ("gradients, diff_v1", Shard.weigh, 'into(g["lam"]).negative(g["lam"])', "None"),
    "no bias of the gate": ("gradients, gate per head", Shard.weigh, 'W["b_gate"][:, None, None]', "0"),
    "no gradient of it": ("gradients, gate per head", Shard.weigh, 'self.column_sums(dz, g["b_gate"])', "None"),
    "inhibition with a plus": ("gradients, dgsa", Shard.weigh, "into(w[1]).negative(", "into(w[1]).copy("),
    "dgate by the difference": ("gradients, dgsa", Shard.weigh, "add(r[0], r[1])", "subtract(r[0], r[1])"),
    "dgate with the other sign": ("gradients, inhibition", Shard.weigh, "negative(r[1])", "copy(r[1])"),
    "dz without the slope": ("gradients, diff_v2", Shard.weigh, "multiply(gate, shut)", "copy(gate)"),
    "added to what was there": ("gradients, dgsa", Shard.attend, "b is blocks[-1]", "False"),
    "softmax without its row sum": ("gradients, dgsa", Shard.attend, "subtract(b.dF, r_t)", "subtract(b.dF, 0)"),
    "row sums not divided": ("gradients, dgsa", Shard.attend, "multiply(b.rows, b.inverse)", "multiply(b.rows, 1)"),
    "dq without the weight": ("gradients, dgsa", Shard.attend, "into(dq).multiply(dq, each)", "None"),
    "dk without the weight": ("gradients, dgsa", Shard.attend, "into(cq).multiply(q, each)", "into(cq).copy(q)"),
    "dv by one map": ("gradients, dgsa", Shard.attend, "b.F.mT[None]", "b.E[:1].mT"),
    "maps of a tile not made again": ("gradients, tiles", Shard.attend, "if self.tiled:", "if False:"),
    "first block sees what comes": ("gradients, blocks of queries", Shard.block_of_queries, "if self.causal else []", "if self.causal and start else []"),
    "padding forgotten where it is causal": ("gradients, dgsa", Shard.block_of_queries, "if self.keep else []", "if self.keep and not self.causal else []"),
    "a sum of nothing divided by": ("gradients, one sequence empty", Shard.make_maps, "into(b.rows).equal(b.inverse, 0)", "into(b.rows).copy(0)"),
    "a product in place of a sum": ("gradients, blocks of queries", Shard.add_product, ".add(out_i, part_i)", ".copy(part_i)"),
    "keys of one map": ("gradients, diff_v2", Shard.add_product, "range(0, part.shape[2], width)", "range(0, out.shape[2], width)"),
    "scores not shifted": ("large scores", shard.exponentials, "E -= top", "pass"),
    "low scores called mild": ("low scores", shard.exponentials, "E.min() > -MILD and ", ""),
    "minus infinity minus itself": ("large scores", shard.exponentials, "xp.maximum(top, np.finfo(E.dtype).min, out=top)", "pass"),
    "W_o by the gradient of a norm": ("gradients, dgsa", Shard.merge, "matmul(h.T, self.dx)", "matmul(h.T, self.dy)"),
    "silu without its 1": ("gradients, dgsa", Shard.swiglu, ".add(a, 1)", ""),
    "du by a": ("gradients, dgsa", Shard.swiglu, "multiply(df, s)", "multiply(df, a)"),
    "gelu's density with a plus": ("gradients, gelu", Shard.gelu, "multiply(s, -0.5)", "multiply(s, 0.5)"),
    "one half of W_up": ("gradients, dgsa", Shard.add_maps, "add(maps[0], maps[1])", "copy(maps[0])"),
    "all targets weigh the same": ("gradients, dgsa", Shard.classify, "into(sums).divide(weight, sums)", "into(sums).divide(1 / len(z), sums)"),
    "one-hot targets without weight": ("gradients, dgsa", Shard.classify, "subtract(picked, weight)", "subtract(picked, 1)"),
    "mean over dropped tokens too": ("gradients, three shards", Shard.mean_pool, "batch.keep.sum(axis=1, keepdims=True)", "batch.keep.shape[1]"),
    "tokens that never came have a gradient": ("gradients, dgsa", tables.TableSum.load, "places.fill(N)", "places.fill(0)"),
    "pairs of the batch before": ("left over, fewer pairs", tables.TableSum.load, "zip_longest(rounds, found, fillvalue=())", "zip(rounds, found, strict=False)"),
    "one of a pair lost": ("gradients, dgsa", tables.TableSum.write, "add(a[:n], b[:n])", "copy(b[:n])"),
    "too few pairs": ("gradients, equal tokens", tables.TableSum.__init__, "N // (2**j + 1)", "N // (2**j + 2)"),
    "gain by the wrong product": ("gradients, dgsa", weights.fold_rows, "multiply(dfolded[where], W)", "multiply(folded[where], W)"),
    "dW without the gain": ("gradients, dgsa", weights.fold_rows, "multiply(dfolded[where], gain[:, None])", "copy(dfolded[where])"),
    "dW_q without 1/sqrt(d)": ("gradients, dgsa", weights.fold_block, 'after.into(dW["W_in"][queries]).multiply(dW["W_in"][queries], scale)', "None"),
    "scores over d": ("gradients, dgsa", weights.fold_block, "** -0.5", "** -1.0"),
    "lambda_init of the first block": ("gradients, diff_v1", weights.fold_block, "at_depth(cfg, layer)", "at_depth(cfg, 0)"),
    "w_norm of the first head": ("gradients, dgsa", weights.fold_head_norm, "after.do(dgain.sum, axis=0, out=g[\"w_norm\"])", "after.into(g[\"w_norm\"]).copy(dgain[0])"),
    "w_norm without 1 - lambda_init": ("gradients, diff_v1", weights.fold_head_norm, 'after.into(g["w_norm"]).multiply(g["w_norm"], factor)', "None"),
    "lambda's vectors exchanged": ("gradients, diff_v1", weights.fold_lambda, "multiply(k, de[i, 0])", "multiply(q, de[i, 0])"),
    "both exponentials with a plus": ("gradients, diff_v1", weights.fold_lambda, '("inh", -1)', '("inh", 1)'),
    "no lambda_init": ("gradients, diff_v1", weights.fold_lambda, ".add(lam, lambda_init)", ""),
    "small gradients made larger": ("whole steps, small gradients", weights.AdamW.find_norm, ".minimum(share, 1)", ""),
    "gradients not clipped": ("whole steps, large gradients", weights.AdamW.update, "multiply(g, self.factor[0])", "multiply(g, 1)"),
    "squares added in float32": ("the norm", weights.AdamW.add_squares, "self.xp.zeros((1, self.size))", "self.xp.zeros((1, self.size), self.dtype)"),
    "bias correction of the first step": ("whole steps", weights.AdamW.knobs_at, "1 - b2**t", "1 - b2"),
    "bias corrections exchanged": ("whole steps", weights.AdamW.knobs_at, "1 - b1**t, 1 - b2**t", "1 - b2**t, 1 - b1**t"),
    "eps under the root": ("whole steps", weights.AdamW.update, ".sqrt(s).add(s, self.eps)", ".add(s, self.eps).sqrt(s)"),
    "v by the gradient alone": ("whole steps", weights.AdamW.update, "into(s).multiply(s, s)", "into(s).multiply(s, 1)"),
    "a bad loss not seen": ("not finite: a loss that overflows", weights.AdamW.find_norm, "add(self.norm, loss)", "add(self.norm, 0)"),
    "a bad norm not seen": ("not finite: a norm that overflows", weights.AdamW.find_norm, "into(share).add(self.norm, loss)", "into(share).copy(loss)"),
    "nan in the moments": ("not finite: nan in a parameter", weights.AdamW.update, ".copy(0, where=self.bad[0])", ""),
    "a step without a gradient taken": ("not finite: nan in a parameter", weights.AdamW.find_norm, "program.into(self.knobs).copy(self.idle, where=self.bad[0])", "None"),
    "the last part not updated": ("whole steps", weights.AdamW.__init__, "range(0, len(p), self.size)", "range(0, len(p) - self.size + 1, self.size)"),
    "gains decay": ("whole steps", Step.__init__, "weight_decay if a.ndim > 1 else 0", "weight_decay"),
    "a loss of the first shard": ("gradients, three shards", Step.write, '("embed", "head", "loss")', '("embed", "head")'),
    "shards added too late": ("gradients, three shards", Step.write, "then.calls[:0] = first.calls", "then.calls += first.calls"),
    "one of several shards lost": ("gradients, three shards", step.add_up, "for other in others:", "for other in others[1:]:"),
    "weights of the shard, not of the batch": ("gradients, dgsa", Step.load, "counted.sum(), dtype", "counted.size, dtype"),
    "dropped patches are seen": ("dropped", Step.load, "kept_patches(inputs, cfg, keep)", "kept_patches(inputs, cfg)"),
    "moments of before": ("starts anew", Step.set, "self.held[1:].fill(0)", "None"),
    "steps of before": ("starts anew", Step.set, '{"params": params}, 0', '{"params": params}, self.t'),
    "views for copies": ("copies", Step.state, "self.held.copy()", "self.held"),
    "gradients that change": ("copies", Step.grads, "self.g.copy()", "self.g"),
    "steps not counted": ("whole steps", Step.train, "self.t += 1", "self.t = 1"),
}  # fmt: skip


@cache
def passes(check):
    CHECKS[check]()


@contextmanager
def forgetful():
    """What is remembered of a model was made by the right functions; none stays of a wrong one."""
    weights.places.cache_clear()
    yield
    weights.places.cache_clear()


@pytest.mark.parametrize("bug", most_later(BUGS, [*BUGS][::9]))
def test_a_bug_that_is_planted_is_caught(bug, small_parts):
    check, *change = BUGS[bug]
    passes(check)
    with forgetful(), planted(change), pytest.raises(FAILURES):
        CHECKS[check]()
