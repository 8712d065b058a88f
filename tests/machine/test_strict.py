"""The CuPy path without a GPU, on a stand-in that refuses what a GPU would: tests/support/strict_cupy.py."""

import copy
import importlib.util
import json
import operator
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import test_gpu
from support import strict_cupy
from support.tiers import most_later

from dgsa_np.attention import KINDS
from dgsa_np.backend import array_module, describe_device, resolve_device, to_device, to_numpy
from dgsa_np.checkpoint import load_checkpoint, save_checkpoint
from dgsa_np.data import Dataset, Split
from dgsa_np.fast.parallel import loss_and_grads_threaded
from dgsa_np.gradcheck import check_pair, relative_error, same_bits
from dgsa_np.lab.cases import all_cases
from dgsa_np.lab.cli import main
from dgsa_np.lab.sample import sample
from dgsa_np.model import ModelConfig, init_model, loss_and_grads, model_forward
from dgsa_np.ops import embedding_forward, gelu_backward, gelu_forward, softmax_forward
from dgsa_np.optim import adamw_init, adamw_step, clip_by_norm, sgd_step
from dgsa_np.params import flatten
from dgsa_np.train import TrainConfig, TrainState, evaluate, first_state, predict, train, train_steps

TASKS = ("vision", "text", "lm")
STAND_IN = f"cuda (CuPy {strict_cupy.MODULE.__version__}, strict stand-in)"


@pytest.fixture
def traffic():
    """With the stand-in as CuPy: what crosses between it and the host."""
    with strict_cupy.installed() as traffic:
        yield traffic


@pytest.fixture
def cupy(traffic):
    import cupy

    return cupy


def on_device(a):
    return type(a) is strict_cupy.ndarray


def tiny(kind, task):
    """A model and 12 training rows, 6 validation rows."""
    rng = np.random.default_rng(0)
    settings = {"image_size": 4, "patch_size": 2, "n_out": 3} if task == "vision" else {"vocab_size": 7, "max_len": 5}
    model = ModelConfig(kind=kind, task=task, width=8, n_heads=2, depth=2, ffn_width=8, **settings)
    inputs = rng.random((18, 4, 4)).astype("float32") if task == "vision" else rng.integers(0, 7, (18, 5))
    targets = rng.integers(0, 3, (18, 5) if task == "lm" else 18)
    keep = None if task == "vision" else np.arange(5) < rng.integers(1, 6, (18, 1))
    whole = Split(inputs, targets, keep)
    return model, Dataset(*(Split(*whole.take(rows)) for rows in (slice(0, 12), slice(12, 18), slice(12, 18))), {})


# -------------------------------------------------------------------------------------- the package on it


def leaves(tree):
    return flatten(tree).values()


def place(args):
    """Arguments on the device; integers and keep on the host, where the conventions want them."""

    def moves(a):
        return isinstance(a, dict | list) or (isinstance(a, np.ndarray) and (a.dtype.kind == "f" or a.ndim == 4))

    return [to_device(a, "cuda") if moves(a) else a for a in args]


def pair(case, args):
    """Output, cache and gradients."""
    out, cache = case.forward(*args)
    dout = array_module(out).asarray(np.random.default_rng(8).standard_normal(out.shape))
    return out, cache, case.backward(cache) if out.shape == () else case.backward(dout, cache)


def host_arrays(cache, name=""):
    """The names of NumPy arrays in a cache."""
    if isinstance(cache, np.ndarray):
        return {name}
    if hasattr(cache, "_asdict"):
        cache = cache._asdict()
    if isinstance(cache, list):
        cache = dict(enumerate(cache))
    return {found for key in cache for found in host_arrays(cache[key], key)} if isinstance(cache, dict) else set()


def agree(a, b, tolerance):
    """To rounding: a device adds rows in an order of its own."""
    a, b = to_numpy([a, b])
    return a.dtype == b.dtype and (same_bits(a, b) or relative_error(a, b) <= tolerance)


def test_a_pair_is_equal_to_numpy_and_reads_nothing_from_the_device(case, traffic):
    out, cache, grads = pair(case, place(case.args))
    on_tiles = "tiled" in case.forward.__module__ and case.variant != "none"
    assert set(traffic.reads) <= ({"get"} if on_tiles else set())  # tiles ask where the mask is empty
    here = flatten({"out": out, "grads": grads})
    there = flatten(dict(zip(("out", "grads"), pair(case, case.args)[::2], strict=True)))
    assert here.keys() == there.keys()
    for name, a in here.items():
        assert on_device(a) and agree(a, there[name], 1e-13), name
    assert host_arrays(cache) <= {"tokens", "keep"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("task", TASKS)
def test_a_model_keeps_its_dtype(task, dtype, traffic):
    model, data = tiny("dgsa", task)
    params = to_device(init_model(model, np.random.default_rng(0), dtype), "cuda")
    inputs, targets, keep = data.train
    inputs = to_device(inputs.astype(dtype), "cuda") if task == "vision" else inputs
    loss, grads = loss_and_grads(params, inputs, targets, model, keep)
    assert {a.dtype for a in flatten({"loss": loss, "grads": grads}).values()} == {np.dtype(dtype)}


def test_what_the_gpu_tests_ask_of_a_pair(case, traffic):
    """With tokens, targets and keep on the device too."""
    test_gpu.test_a_pair_agrees_with_numpy_and_repeats_bit_for_bit(case)


@pytest.mark.parametrize("name", ["linear", "gated_head", "differential_head", "cross_entropy", "rmsnorm"])
def test_the_complex_step_runs_on_the_device(name, traffic):
    case = next(c for c in all_cases() if c.name == name)
    check_pair(case.forward, case.backward, place(case.args), n_directions=2)


def test_gelu_has_no_complex_step_on_a_gpu_and_is_checked_by_central_differences(cupy):
    with pytest.raises(TypeError, match="CuPy has no complex erf"):
        gelu_forward(cupy.ones((2, 3)) + 0j)
    with pytest.warns(UserWarning, match="gelu_forward is not analytic"):
        (result,) = check_pair(gelu_forward, gelu_backward, (cupy.ones((2, 3)),))
    assert result.method == "central"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", most_later(KINDS, now=["dgsa"]))
def test_training_reads_once_per_step_and_equals_the_cpu(kind, task, traffic):
    model, data = tiny(kind, task)
    there, here = (TrainConfig(epochs=2, batch_size=4, threads=1, device=d, lr=0.01) for d in ("cuda", "cpu"))
    params, reads, run = init_model(model, np.random.default_rng(0), "float64"), [], []
    for done in train_steps(model, there, data, first_state(model, there, params)):
        reads.append(len(traffic.reads))
        traffic.clear()
        run.append(done)
    assert reads == [1, 1, 2] * 2  # the last step of an epoch comes with an evaluation, of one batch
    (states, steps, epochs), expected = zip(*run, strict=True), train(model, here, data, params)
    for found, wanted in zip([*steps, *filter(None, epochs)], [*expected.steps, *expected.epochs], strict=True):
        assert found == pytest.approx(wanted, rel=1e-12)
    assert all(agree(a, b, 1e-12) for a, b in zip(*map(leaves, (states[-1].params, expected.params)), strict=True))


def test_the_state_stays_on_the_device(traffic):
    model, data = tiny("dgsa", "text")
    cfg = TrainConfig(epochs=1, batch_size=4, device="cuda")
    state, _, _ = next(train_steps(model, cfg, data, first_state(model, cfg)))
    assert all(map(on_device, leaves([state.params, state.optimizer["m"], state.optimizer["v"]])))
    assert type(state.optimizer["step"]) is int and type(state.loss_sum) is float


def test_optimisers_compute_where_the_parameters_are(traffic):
    host = init_model(tiny("dgsa", "vision")[0], np.random.default_rng(0))
    there = to_device(host, "cuda")
    params, state = adamw_step(there, clip_by_norm(there, 0.5)[0], adamw_init(there), 0.1)
    params = sgd_step(params, there, 0.1)
    assert all(map(on_device, leaves([params, state["m"], state["v"]]))) and traffic.reads == []
    expected = sgd_step(adamw_step(host, clip_by_norm(host, 0.5)[0], adamw_init(host), 0.1)[0], host, 0.1)
    assert all(agree(a, b, 1e-6) for a, b in zip(*map(leaves, (params, expected)), strict=True))


@pytest.mark.parametrize("task", TASKS)
def test_predict_and_evaluate_read_once_per_batch(task, traffic, monkeypatch):
    monkeypatch.setattr("dgsa_np.train.EVALUATION", 10)  # tokens: 2 rows of 5, or of 4 patches
    model, data = tiny("diff_v1", task)
    host = init_model(model, np.random.default_rng(0))
    params = to_device(host, "cuda")
    logits, figures = predict(params, data.valid, model), evaluate(params, data.valid, model)
    assert len(traffic.reads) == 2 * 3
    assert agree(logits, predict(host, data.valid, model), 1e-6)
    assert figures == pytest.approx(evaluate(host, data.valid, model), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_reads_once_per_token(kind, traffic):
    model, _ = tiny(kind, "lm")
    host = init_model(model, np.random.default_rng(0))
    there = list(sample(to_device(host, "cuda"), model, [1, 2], 9, np.random.default_rng(1), top_k=3))
    assert len(traffic.reads) == 9
    assert there == list(sample(host, model, [1, 2], 9, np.random.default_rng(1), top_k=3))


def test_a_step_that_is_shared_by_threads_works_on_the_device(traffic):
    model, data = tiny("dgsa", "lm")
    params = to_device(init_model(model, np.random.default_rng(0)), "cuda")
    losses = [loss_and_grads_threaded(params, *data.train[:2], model, data.train.keep, n)[0] for n in (1, 3, None)]
    assert all(map(on_device, losses)) and traffic.reads == []
    assert float(losses[1]) == pytest.approx(float(losses[0]), rel=1e-6)


def test_a_checkpoint_of_a_state_on_the_device_goes_on_bit_for_bit(traffic, tmp_path):
    model, data = tiny("dgsa", "vision")
    cfg = TrainConfig(epochs=1, batch_size=4, device="cuda")
    states = [state for state, _, _ in train_steps(model, cfg, data, first_state(model, cfg))]
    traffic.clear()
    save_checkpoint(tmp_path / "state.npz", states[0]._asdict())
    assert set(traffic.reads) == {"get"}
    held = load_checkpoint(tmp_path / "state.npz")
    assert all(same_bits(a, b) for a, b in zip(*map(leaves, (held["params"], states[0].params)), strict=True))
    for resumed, state in zip(train_steps(model, cfg, data, TrainState(**held)), states[1:], strict=True):
        assert all(same_bits(a, b) for a, b in zip(*map(leaves, (resumed[0].params, state.params)), strict=True))


def test_non_finite_losses_are_explained_from_the_device(traffic):
    model, data = tiny("softmax", "vision")
    params = init_model(model, np.random.default_rng(0))
    params["head"]["b"][0] = np.nan
    with pytest.raises(FloatingPointError, match=r"the parameter head\.b, 1 of its 3 numbers"):
        train(model, TrainConfig(epochs=1, batch_size=4, device="cuda"), data, params)


def test_the_command_line_trains_goes_on_and_evaluates_on_the_device(traffic, tmp_path, capsys):
    run, quick = tmp_path / "run", ["--epochs", "1", "--width", "8", "--depth", "1", "--n-heads", "1"]
    assert main(["train", *quick, "--device", "cuda", "--batch-size", "400", "--out", str(run)]) == 0
    assert main(["train", "--resume", str(run)]) == 0
    assert main(["evaluate", str(run), "--device", "cuda", "--corruption", "none"]) == 0
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    assert said.count(STAND_IN) == 3 and "1 thread per step" in said
    assert json.loads((run / "config.json").read_text())["settings"]["device"] == "cuda"


def test_a_device_that_runs_out_of_memory_says_what_is_large_and_leaves_the_checkpoint(
    traffic, tmp_path, capsys, monkeypatch
):
    """Once in the middle of the third step; when there is memory again, the run goes on with the same bits."""
    settings = ["--epochs", "1", "--width", "8", "--depth", "1", "--n-heads", "1", "--batch-size", "200"]
    settings += ["--device", "cuda", "--save-every", "0"]
    assert main(["train", *settings, "--out", str(tmp_path / "whole")]) == 0
    calls, real = [0], strict_cupy.ElementwiseKernel.__call__

    class OutOfMemoryError(MemoryError):
        """As that of CuPy is."""

    def third(self, *args):
        calls[0] += self.name == "sigmoid"  # three in a step
        if self.name == "sigmoid" and calls[0] == 7:
            raise OutOfMemoryError("Out of memory allocating 8,192 bytes (allocated so far: 512 bytes).")
        return real(self, *args)

    monkeypatch.setattr(strict_cupy.ElementwiseKernel, "__call__", third)
    run = tmp_path / "run"
    assert main(["train", *settings, "--out", str(run)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "step 2: device 'cuda' is out of memory: Out of memory allocating 8,192 bytes" in said
    assert "inputs (200, 8, 8), " in said and "maps (B, H, T, T) = (200, 1, 4, 4) of 12,800 bytes each" in said
    assert "try a smaller batch_size, or impl='tiled'" in said
    assert load_checkpoint(run / "checkpoint.npz")["state"]["optimizer"]["step"] == 2
    assert main(["train", "--resume", str(run)]) == 0
    held = [load_checkpoint(folder / "checkpoint.npz")["state"]["params"] for folder in (run, tmp_path / "whole")]
    assert all(same_bits(a, b) for a, b in zip(*map(leaves, held), strict=True))


def test_the_command_line_samples_on_the_device(traffic, tmp_path, capsys):
    text, run = tmp_path / "text.txt", tmp_path / "run"
    text.write_text("one two three four five six seven eight nine ten " * 40)
    small = ["--width", "8", "--depth", "1", "--n-heads", "1", "--epochs", "1", "--length", "16"]
    assert main(["train", "--data", "text", "--root", str(text), *small, "--device", "cuda", "--out", str(run)]) == 0
    assert main(["sample", str(run), "--prompt", "one ", "--length", "5", "--device", "cuda"]) == 0
    assert len(capsys.readouterr().out.splitlines()[-1]) == len("one ") + 5


def test_two_devices_in_one_call_are_refused_with_both_names(cupy):
    scores, mask = cupy.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2), bool)
    with pytest.raises(TypeError, match=r"cupy array \(1, 1, 2, 2\) and numpy array \(1, 1, 2, 2\) live on different"):
        softmax_forward(scores, mask)
    model, data = tiny("dgsa", "vision")
    params = init_model(model, np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"cupy array \(12, 4, 4\) and numpy array .* live on different devices"):
        model_forward(to_device(data.train.inputs, "cuda"), params, model)
    with pytest.raises(TypeError, match=r"numpy array \(12, 4, 4\) and cupy array .* live on different devices"):
        model_forward(data.train.inputs, to_device(params, "cuda"), model)


def test_tokens_on_the_device_cost_reads_and_are_checked_all_the_same(cupy, traffic):
    table = cupy.ones((4, 2))
    embedding_forward(np.array([[0, 3]]), table)
    assert traffic.reads == []
    for tokens in (np.array([[0, 4]]), cupy.asarray([[0, 4]])):
        with pytest.raises(IndexError, match="tokens holds 4, expected 0 <= tokens < 4"):
            embedding_forward(tokens, table)
    assert traffic.reads == ["get"]


def test_devices_resolve_to_the_stand_in_and_back(cupy):
    assert resolve_device("auto") == resolve_device("cuda") == "cuda"
    assert describe_device("cuda") == STAND_IN
    tree = {"a": np.arange(3.0), "b": [np.float32(2), 5, None]}
    there = to_device(tree, "cuda")
    assert on_device(there["a"]) and on_device(there["b"][0]) and there["b"][1:] == [5, None]
    back = to_device(there, "cpu")
    assert same_bits(back["a"], tree["a"]) and back["b"][0].dtype == "float32"
    assert array_module(there["a"], None, 2.0) is cupy


# --------------------------------------------------------------------------------------- the stand-in itself

HOST, INTEGERS = np.ones((2, 3)), np.array([0, 1])
HABITS = {  # what fails on a GPU, and with what
    "np.asarray of an array": (TypeError, lambda xp, x: np.asarray(x)),
    "np.array of a list of arrays": (TypeError, lambda xp, x: np.array([x, x])),
    "an operator with a host array": (TypeError, lambda xp, x: x + HOST),
    "a host array on the left": (TypeError, lambda xp, x: HOST * x),
    "a host array without axes": (TypeError, lambda xp, x: x * np.array(2.0)),
    "a comparison with a host array": (TypeError, lambda xp, x: x == HOST),
    "a product with a host array": (TypeError, lambda xp, x: x @ HOST.T),
    "a host array on the left of a product": (TypeError, lambda xp, x: HOST.T @ x),
    "a host array in a function": (TypeError, lambda xp, x: xp.exp(HOST)),
    "a host array in a reduction": (TypeError, lambda xp, x: xp.sum(HOST)),
    "a host array in a list": (TypeError, lambda xp, x: xp.concatenate([x, HOST])),
    "a host mask": (TypeError, lambda xp, x: xp.where(HOST > 0, x, 0.0)),
    "host indices in take_along_axis": (TypeError, lambda xp, x: xp.take_along_axis(x, np.zeros((2, 1), int), 1)),
    "host rows in an assignment": (ValueError, lambda xp, x: operator.setitem(x, slice(0, 1), HOST[:1])),
    "a list in an assignment": (TypeError, lambda xp, x: operator.setitem(x, 0, [1, 2, 3])),
    "in place, from the host": (TypeError, lambda xp, x: operator.iadd(x, HOST)),
    "in place, into the host": (TypeError, lambda xp, x: operator.iadd(HOST, x)),
    "in place, to a lesser kind": (TypeError, lambda xp, x: operator.iadd(xp.arange(3), 0.5)),
    "an index of the device into a host array": (TypeError, lambda xp, x: HOST[xp.arange(2)]),
    "an operator with a list": (TypeError, lambda xp, x: operator.add(x, [1, 2, 3])),
    "an operator with None": (TypeError, lambda xp, x: x == None),  # noqa: E711
    "where in a reduction": (TypeError, lambda xp, x: x.sum(where=x > 0)),
    "initial in a reduction": (TypeError, lambda xp, x: x.max(initial=0.0)),
    "where in a ufunc": (TypeError, lambda xp, x: xp.exp(x, where=x > 0)),
    "where in a function of NumPy": (TypeError, lambda xp, x: np.sum(x, where=x > 0)),
    "errstate": (AttributeError, lambda xp, x: xp.errstate(all="ignore")),
    "add.at": (strict_cupy.NotReproducible, lambda xp, x: xp.add.at(x, xp.arange(2), 1.0)),
    "scatter_add": (strict_cupy.NotReproducible, lambda xp, x: x.scatter_add(xp.arange(2), 1.0)),
    "two values for one place": (
        strict_cupy.NotReproducible,
        lambda xp, x: operator.setitem(x, xp.asarray([1, 1]), xp.ones((2, 3))),
    ),
    "ufunc methods of NumPy": (TypeError, lambda xp, x: np.add.reduce(x)),
    "a normal law of the generator": (AttributeError, lambda xp, x: xp.random.default_rng(0).normal()),
    "a permutation of the generator": (AttributeError, lambda xp, x: xp.random.default_rng(0).permutation(3)),
    "a name that NumPy has alone": (AttributeError, lambda xp, x: xp.setbufsize(8)),
    "a method that NumPy has alone": (AttributeError, lambda xp, x: x.setflags(write=False)),
    "an argument that NumPy has alone": (TypeError, lambda xp, x: x.item(0)),
    "an object": (ValueError, lambda xp, x: xp.asarray(["text"])),
    "an array as a whole number": (TypeError, lambda xp, x: range(xp.arange(2)[1])),
    "an array as an axis": (TypeError, lambda xp, x: xp.sum(x, axis=xp.asarray(0))),
    "an array as a key": (TypeError, lambda xp, x: {x: 1}),
    "the truth of several numbers": (ValueError, lambda xp, x: bool(x)),
    "booleans subtracted": (TypeError, lambda xp, x: (x > 0) - (x > 1)),
    "complex numbers in a loop that has none": (TypeError, lambda xp, x: xp.floor(x * 1j)),
    "a casting in astype": (TypeError, lambda xp, x: x.astype("float32", casting="safe")),
}


@pytest.mark.parametrize("habit", HABITS)
def test_the_stand_in_refuses(habit, cupy):
    error, try_it = HABITS[habit]
    with pytest.raises(error):
        try_it(cupy, cupy.ones((2, 3)))


READS = {
    "get": lambda xp, x: x.get(),
    "asnumpy": lambda xp, x: xp.asnumpy(x),
    "float": lambda xp, x: float(x[0]),
    "int": lambda xp, x: int(x[0]),
    "complex": lambda xp, x: complex(x[0]),
    "bool": lambda xp, x: bool(x[0]),
    "if": lambda xp, x: 1 if x[0] else 2,
    "comparison in a branch": lambda xp, x: max(x[0], x[1]),
    "item": lambda xp, x: x[0].item(),
    "tolist": lambda xp, x: x.tolist(),
    "tobytes": lambda xp, x: x.tobytes(),
    "iteration": lambda xp, x: list(x),
    "print": lambda xp, x: f"{x}",
    "repr": repr,
    "copy.copy of a pickle": lambda xp, x: x.__reduce__(),
    "a mask as an index": lambda xp, x: x[x > 0],
    "a mask in an assignment": lambda xp, x: operator.setitem(x, x > 0, 0.0),
    "nonzero": lambda xp, x: x.nonzero(),
    "where with one argument": lambda xp, x: xp.where(x > 0),
    "unique": lambda xp, x: xp.unique(x),
}


@pytest.mark.parametrize("what", READS)
def test_the_stand_in_counts_a_read(what, cupy, traffic):
    x = cupy.ones(3)
    assert traffic.reads == []
    READS[what](*([cupy, x] if what != "repr" else [x]))
    assert len(traffic.reads) == 1


def test_the_stand_in_counts_uploads(cupy, traffic):
    x = cupy.asarray([1.0, 2.0])
    cupy.asarray(range(3), "float64")
    cupy.asarray(HOST)
    x[np.array([1])], x[[0]]
    x[cupy.arange(2)] = INTEGERS
    assert traffic.uploads == ["asarray"] * 3 + ["index"] * 2 + ["setitem"]
    cupy.asarray(x), cupy.asarray(2.0), x + np.float64(1), cupy.full(3, 2.0)
    assert len(traffic.uploads) == 6 and traffic.reads == []


def test_memory_is_the_devices_own(cupy):
    host = np.ones(3)
    x = cupy.asarray(host)
    host[0] = 5
    x.get()[1] = 5
    assert x.tolist() == [1, 1, 1]
    assert cupy.asarray(x) is x and copy.deepcopy(x) is not x
    row = x[0]  # a view, where NumPy has a number
    row += 1
    x[1:] *= 3
    assert x.tolist() == [2, 3, 3]
    assert np.isnan(cupy.empty(2).get()).all()


def test_numbers_come_back_as_arrays_without_axes(cupy):
    x = cupy.ones((2, 3), "float32")
    made = [x.sum(), x[0, 0], x.max(), cupy.sum(x), np.sum(x), x.sum() ** 0.5, -x.sum(), cupy.exp(0.0), x.any()]
    made += [cupy.array_equal(x, x), cupy.allclose(x, x)]
    assert all(on_device(a) and a.shape == () for a in made)
    assert x.size == 6 and type(x.size) is int and type(len(x)) is int and x.shape == (2, 3)


def test_indices_out_of_range_wrap_round(cupy):
    x = cupy.arange(6).reshape(2, 3)
    assert x[cupy.asarray([2, -1])].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert x[..., cupy.asarray([3, 4])].tolist() == [[0, 1], [3, 4]]
    assert x[cupy.asarray([2, 3]), cupy.asarray([5, -4])].tolist() == [2, 5]
    assert cupy.take_along_axis(x, cupy.asarray([[3], [4]]), 1).tolist() == [[0], [4]]
    assert x.take(cupy.asarray([6, 7])).tolist() == cupy.take(x, cupy.asarray([0, 1])).tolist() == [0, 1]
    x[cupy.asarray([2])] = -1
    assert x.tolist() == [[-1, -1, -1], [3, 4, 5]]
    with pytest.raises(IndexError):
        x[2]  # a single number is checked


def test_dtypes_promote_as_in_numpy_2(cupy):
    x, n = cupy.ones(2, "float32"), cupy.arange(2)
    for made, dtype in (
        (x * 2.0, "float32"),
        (x * np.float64(2), "float64"),
        (np.float64(2) * x, "float64"),
        (x * cupy.asarray(2.0), "float64"),
        (x + n, "float64"),
        (n / 2, "float64"),
        (n * 2.0, "float64"),
        (x * 1j, "complex64"),
        (x + (x == 0), "float32"),
        (cupy.where(x > 0, x, 0.0), "float32"),
        (cupy.where(x > 0, x, np.float64(0)), "float64"),
        (cupy.minimum(1, x), "float32"),
        ((x > 0).sum(), "int64"),
        (cupy.exp(n), "float64"),
    ):
        assert made.dtype == dtype


def test_functions_of_numpy_on_an_array_are_those_of_cupy(cupy):
    x = cupy.ones(3)
    assert all(map(on_device, (np.exp(x), np.concatenate([x, x]), np.multiply(x, 2.0), np.sum(x))))
    with pytest.raises(NotImplementedError, match=r"CuPy has cupy.linalg.norm, but the stand-in"):
        np.linalg.norm(x)


def test_the_stand_in_has_the_names_of_cupy_and_no_other(cupy):
    facts = strict_cupy.FROZEN
    names = {name for kind in ("type", "constant", "ufunc", "function", "other") for name in facts[kind]}
    assert set(strict_cupy.public(cupy)) == names
    assert set(strict_cupy.public(cupy.ndarray)) == facts["method"].keys() | facts["attribute"].keys()
    own = {name for name in vars(cupy.ndarray) if name.startswith("__")}
    assert own <= facts["special"].keys()
    assert {"errstate", "setbufsize"}.isdisjoint(names) and not {"__index__", "__contains__"} & facts["special"].keys()


def test_the_frozen_names_are_those_of_the_real_cupy():
    """Of its own version all; a later one may have more. In a process of its own, which this one's warnings spare."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed; pip install 'dgsa-np[kernels]' brings it; no GPU is needed")
    code = "import cupy; from support import strict_cupy; print('\\n'.join(strict_cupy.collect(cupy)))"
    paths = os.pathsep.join([str(Path(strict_cupy.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True)
    real, frozen = strict_cupy.parse(done.stdout), strict_cupy.FROZEN
    if real["version"] == frozen["version"]:
        assert real == frozen
    missing = [
        (kind, name)
        for kind in frozen.keys() - {"version"}
        for name, said in frozen[kind].items()
        if not set(said.split()) <= set(real[kind].get(name, "?").split())
    ]
    assert missing == []


def test_all_is_as_it_was_when_the_stand_in_leaves():
    before = sys.modules.get("cupy"), resolve_device("auto")
    with strict_cupy.installed():
        assert sys.modules["cupy"] is strict_cupy.MODULE and resolve_device("auto") == "cuda"
        x = to_device(np.ones(2), "cuda")
    assert (sys.modules.get("cupy"), resolve_device("auto")) == before
    with pytest.raises(TypeError, match="expected a NumPy or CuPy array"):
        to_numpy({"x": x})
