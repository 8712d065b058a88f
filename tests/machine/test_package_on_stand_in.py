"""The CuPy path without a GPU, on a stand-in that refuses what a GPU would:
tests/support/strict_cupy.py.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from support import strict_cupy
from support.devices import agree, assert_a_pair_agrees_and_repeats, leaves, on_device
from support.tiers import most_later

from dgsa_np.attention import KINDS, causal_mask
from dgsa_np.backend import array_module, resolve_device, to_device
from dgsa_np.checkpoint import load_checkpoint, save_checkpoint
from dgsa_np.data import Dataset, Split
from dgsa_np.fast import choose_step, loss_and_grads_threaded
from dgsa_np.gpu import describe_device
from dgsa_np.gradcheck import check_pair, same_bits
from dgsa_np.lab.cases import all_cases
from dgsa_np.lab.cli import main
from dgsa_np.lab.sample import sample
from dgsa_np.model import ModelConfig, init_model, loss_and_grads, model_forward
from dgsa_np.ops import embedding_forward, gelu_backward, gelu_forward, softmax_forward
from dgsa_np.ops.embedding import pair_equal
from dgsa_np.optim import adamw_init, adamw_step, clip_by_norm, sgd_step
from dgsa_np.params import flatten
from dgsa_np.train import (
    OutOfMemoryError,
    TrainConfig,
    TrainState,
    evaluate,
    first_state,
    predict,
    train,
    train_steps,
)

TASKS = ("vision", "text", "lm")
STAND_IN = f"cuda (CuPy {strict_cupy.MODULE.__version__}, strict stand-in)"


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
    assert_a_pair_agrees_and_repeats(case)


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
    """By the plain step; the fast one is in test_fast_step_on_stand_in.py."""
    model, data = tiny(kind, task)
    there, here = (TrainConfig(epochs=2, batch_size=4, device=d, lr=0.01) for d in ("cuda", "cpu"))
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


def step_of_a_language_model(traffic, kind):
    """What it reads and uploads, but for the one read of training; and its tokens."""
    model, data = tiny(kind, "lm")
    params = to_device(init_model(model, np.random.default_rng(0)), "cuda")
    traffic.clear()
    _, grads = loss_and_grads(params, *data.train[:2], model)
    adamw_step(params, clip_by_norm(grads, 1.0)[0], adamw_init(params), 0.01)
    return traffic.reads, traffic.uploads, data.train.inputs


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_a_language_model_reads_nothing_and_uploads_what_is_on_the_host(kind, traffic):
    """Tokens and targets; the places where equal tokens stand, in pairs, and where sums end up."""
    reads, uploads, tokens = step_of_a_language_model(traffic, kind)
    rounds, _ = pair_equal(tokens.ravel())
    assert reads == [] and len(uploads) == 2 + 2 * len(rounds) + 2


def mask_that_asks(T, S, xp):
    mask = causal_mask(T, S, xp)
    return mask if bool(mask.any()) else None


def mask_of_windows(T, S, xp):
    """As NumPy would have it; CuPy uploads the window and asks whether it is negative."""
    line = xp.arange(1 - T, S) <= S - T
    return xp.lib.stride_tricks.sliding_window_view(line, S)[::-1][None, None]


def mask_from_the_host(T, S, xp):
    return xp.asarray(causal_mask(T, S))


@pytest.mark.parametrize(
    ("mask", "read", "uploaded"),
    [(mask_that_asks, ["bool()"], 0), (mask_of_windows, ["iteration", "bool()"], 1), (mask_from_the_host, [], 1)],
)
def test_a_mask_that_crosses_to_the_host_is_seen_in_a_step(mask, read, uploaded, traffic, monkeypatch):
    least = len(step_of_a_language_model(traffic, "dgsa")[1])
    monkeypatch.setattr("dgsa_np.model.causal_mask", mask)
    reads, uploads, _ = step_of_a_language_model(traffic, "dgsa")
    assert reads == read and len(uploads) - least == uploaded


@pytest.mark.parametrize(("T", "S"), [(4, 4), (3, 5), (5, 3), (1, 4), (4, 1), (1, 1)])
def test_a_causal_mask_is_one_line_on_the_device(T, S, cupy, traffic):
    mask = causal_mask(T, S, cupy)
    assert traffic.launches == ["arange", "less_equal"] and traffic.reads == traffic.uploads == []
    assert agree(mask, causal_mask(T, S), 0)


@pytest.mark.parametrize("step", ["plain", "auto"])
def test_the_state_stays_on_the_device(step, traffic):
    model, data = tiny("dgsa", "text")
    cfg = TrainConfig(epochs=1, batch_size=4, device="cuda", step=step)
    state, _, _ = next(train_steps(model, cfg, data, first_state(model, cfg), choose_step(model, cfg)))
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
    """Batches are eight times those of a CPU: 80 tokens are 16 rows of 5, or 20 of 4 patches."""
    monkeypatch.setattr("dgsa_np.train.EVALUATION", 10)
    model, data = tiny("diff_v1", task)
    host = init_model(model, np.random.default_rng(0))
    params = to_device(host, "cuda")
    rows = Split(*data.train.take(np.arange(41) % 12))
    logits, figures = predict(params, rows, model), evaluate(params, rows, model)
    assert len(traffic.reads) == 2 * 3
    assert agree(logits, predict(host, rows, model), 1e-6)
    assert figures == pytest.approx(evaluate(host, rows, model), rel=1e-6)


@pytest.mark.parametrize("standardise", ["data", "image"])
def test_images_are_standardised_where_they_are(standardise, traffic):
    model, data = tiny("dgsa", "vision")
    model = replace(model, standardise=standardise, pixel_mean=0.3, pixel_deviation=0.2)
    host = init_model(model, np.random.default_rng(0), "float64")
    params, inputs = to_device(host, "cuda"), to_device(data.train.inputs.astype("float64"), "cuda")
    traffic.clear()
    loss, grads = loss_and_grads(params, inputs, data.train.targets, model)
    assert traffic.reads == [] and all(map(on_device, leaves([loss, grads])))
    wanted = loss_and_grads(host, data.train.inputs.astype("float64"), data.train.targets, model)
    assert all(agree(a, b, 1e-12) for a, b in zip(*map(leaves, ([loss, grads], wanted)), strict=True))


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


@pytest.mark.parametrize("step", ["plain", "auto"])
def test_a_checkpoint_of_a_state_on_the_device_goes_on_bit_for_bit(step, traffic, tmp_path):
    model, data = tiny("dgsa", "vision")
    cfg = TrainConfig(epochs=1, batch_size=4, device="cuda", step=step)
    first = first_state(model, cfg)
    states = [state for state, _, _ in train_steps(model, cfg, data, first, choose_step(model, cfg))]
    traffic.clear()
    save_checkpoint(tmp_path / "state.npz", states[0]._asdict())
    assert set(traffic.reads) == {"get"}
    held = load_checkpoint(tmp_path / "state.npz")
    assert all(same_bits(a, b) for a, b in zip(*map(leaves, (held["params"], states[0].params)), strict=True))
    again = train_steps(model, cfg, data, TrainState(**held), choose_step(model, cfg))
    for resumed, state in zip(again, states[1:], strict=True):
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
    assert said.count(STAND_IN) == 3 and said.count("step       fast, 1 thread\n") == 2
    assert json.loads((run / "config.json").read_text())["settings"]["device"] == "cuda"


@pytest.mark.parametrize("step", most_later(["plain", "auto"], now=["auto"]))
@pytest.mark.slow
def test_a_device_that_runs_out_of_memory_says_what_is_large_and_leaves_the_checkpoint(
    step, traffic, tmp_path, capsys, monkeypatch
):
    """Once in the middle of the third step, when some parameters have changed;
    when there is memory again, the run goes on with the same bits.
    """
    settings = ["--epochs", "1", "--width", "8", "--depth", "1", "--n-heads", "1", "--batch-size", "200"]
    settings += ["--device", "cuda", "--save-every", "0", "--step", step]
    assert main(["train", *settings, "--out", str(tmp_path / "whole")]) == 0
    norms, later, real = [], [], strict_cupy.ufunc.run

    class OutOfMemoryError(MemoryError):
        """As that of CuPy is."""

    def third(self, compute, args, **options):
        norms.extend(["a norm"] * (self.name == "isfinite"))  # looked at in each step, before AdamW
        later.extend([self.name] * (len(norms) == 3))
        if self.name == "sqrt" and later.count("sqrt") == 1 + (step == "plain"):
            raise OutOfMemoryError("Out of memory allocating 8,192 bytes (allocated so far: 512 bytes).")
        return real(self, compute, args, **options)

    monkeypatch.setattr(strict_cupy.ufunc, "run", third)
    run = tmp_path / "run"
    assert main(["train", *settings, "--out", str(run)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "step 2: device 'cuda' is out of memory: Out of memory allocating 8,192 bytes" in said
    assert "inputs (200, 8, 8), " in said and "maps (B, H, T, T) = (200, 1, 4, 4) of 12,800 bytes each" in said
    assert "try a smaller batch_size, or impl='tiled'" in said
    assert load_checkpoint(run / "checkpoint.npz")["state"]["optimizer"]["step"] == 2
    monkeypatch.setattr(strict_cupy.ufunc, "run", real)
    assert main(["train", "--resume", str(run)]) == 0
    held = [load_checkpoint(folder / "checkpoint.npz")["state"]["params"] for folder in (run, tmp_path / "whole")]
    assert all(same_bits(a, b) for a, b in zip(*map(leaves, held), strict=True))


class CUBLASError(RuntimeError):
    """As CuPy has it, in cupy_backends/cuda/libs/cublas.pyx."""


class CUDARuntimeError(RuntimeError):
    """As CuPy has it, in cupy_backends/cuda/api/runtime.pyx."""


def train_with_a_product_that_fails(error, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    model, data = tiny("dgsa", "lm")
    params = init_model(model, np.random.default_rng(0))
    monkeypatch.setattr(strict_cupy.MODULE, "matmul", fail)
    train(model, TrainConfig(epochs=1, batch_size=4, device="cuda"), data, params)


@pytest.mark.parametrize(
    "error",
    [CUBLASError("CUBLAS_STATUS_ALLOC_FAILED"), CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")],
    ids=["cuBLAS", "CUDA"],
)
def test_memory_that_cudas_libraries_lack_is_explained_as_well(error, traffic, monkeypatch):
    said = (
        r"step 0: device 'cuda' is out of memory: .*inputs \(4, 5\), .*maps .* = \(4, 2, 5, 5\) .*a smaller batch_size"
    )
    with pytest.raises(OutOfMemoryError, match=said) as caught:
        train_with_a_product_that_fails(error, monkeypatch)
    assert caught.value.__cause__ is error and str(error) in str(caught.value)


def test_what_else_goes_wrong_on_the_device_is_not_called_lack_of_memory(traffic, monkeypatch):
    error = CUBLASError("CUBLAS_STATUS_EXECUTION_FAILED")
    with pytest.raises(CUBLASError) as caught:
        train_with_a_product_that_fails(error, monkeypatch)
    assert caught.value is error


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
