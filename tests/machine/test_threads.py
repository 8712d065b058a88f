"""A step that threads share equals the step in one piece: dgsa_np.fast.loss_and_grads_threaded."""

import os
import signal
import threading
import time
from functools import partial

import numpy as np
import pytest
from support.compare import error
from support.problems import whole_model
from threadpoolctl import threadpool_info, threadpool_limits

from dgsa_np.attention import KINDS
from dgsa_np.fast import is_fast, loss_and_grads_threaded
from dgsa_np.fast.threads import LARGE_STEP, blas_on_one, choose_threads, cores, in_threads
from dgsa_np.gradcheck import relative_error, same_bits
from dgsa_np.model import ModelConfig, init_model, loss_and_grads
from dgsa_np.params import flatten


def batch(task, kind="dgsa", dtype="float64"):
    cfg = ModelConfig(kind=kind, task=task, width=8, n_heads=2, depth=2, vocab_size=11, max_len=6, patch_size=2)
    rng = np.random.default_rng(0)
    params = init_model(cfg, rng, dtype)
    if task == "vision":
        return params, rng.random((7, 8, 8)).astype(dtype), rng.integers(0, 10, 7), cfg, None
    keep = np.arange(6) < rng.integers(1, 7, (7, 1))  # ragged: shards keep different numbers of targets
    targets = rng.integers(0, 10, (7, 6) if task == "lm" else 7)
    return params, rng.integers(0, 11, (7, 6)), targets, cfg, keep


@pytest.mark.parametrize("task", ["vision", "text", "lm"])
@pytest.mark.parametrize("kind", ["dgsa", "diff_v1"])
@pytest.mark.parametrize("threads", [1, 2, 3, 50])
def test_shards_add_up(task, kind, threads):
    whole = loss_and_grads(*(args := batch(task, kind)))
    split = loss_and_grads_threaded(*args, threads=threads)
    assert abs(split[0] - whole[0]) <= 1e-12 * whole[0]
    ours, theirs = flatten(split[1]), flatten(whole[1])
    assert list(ours) == list(theirs)
    # an error is measured against the largest gradient of all, since some tensors are all but zero
    scale = max(abs(g).max() for g in theirs.values())
    assert all(abs(ours[name] - g).max() <= 1e-12 * scale for name, g in theirs.items())


def test_a_shard_without_any_kept_target_counts_for_nothing():
    params, tokens, targets, cfg, keep = batch("lm")
    keep = keep.copy()
    keep[:3] = False
    whole, split = (f(params, tokens, targets, cfg, keep) for f in (loss_and_grads, four_threads))
    for name, g in flatten(whole[1]).items():
        assert relative_error(flatten(split[1])[name], g) <= 1e-12, name


def four_threads(*args):
    return loss_and_grads_threaded(*args, threads=4)


@pytest.mark.parametrize("task", ["vision", "text", "lm"])
def test_equal_threads_give_equal_bits_and_single_precision_stays(task):
    args = batch(task, dtype="float32")
    one, two = (flatten(four_threads(*args)) for _ in range(2))
    assert all(same_bits(one[name], two[name]) for name in one)
    assert {a.dtype.name for a in one.values()} == {"float32"} and one["0"].shape == ()  # the loss


def test_arguments_are_left_alone_and_blas_gets_its_threads_back():
    params, tokens, targets, cfg, keep = args = batch("lm")
    given = {"tokens": tokens, "targets": targets, "keep": keep} | flatten(params)
    before = {name: a.copy() for name, a in given.items()}
    with threadpool_limits(limits=2):
        threads = [pool["num_threads"] for pool in threadpool_info()]
        four_threads(*args)
        assert [pool["num_threads"] for pool in threadpool_info()] == threads
    assert all(same_bits(a, before[name]) for name, a in given.items())


@pytest.mark.parametrize("threads", [1, 3])
def test_what_one_piece_refuses_the_shards_refuse(threads):
    params, tokens, targets, cfg, keep = batch("lm")
    for wrong, refusal, words in (
        ((tokens, targets + 9, keep), IndexError, "targets holds .*expected 0 <= targets < 11"),
        ((tokens - 1, targets, keep), IndexError, "tokens holds -1"),
        ((tokens, targets[:, :5], None), ValueError, r"targets is \(., 5\), expected \(., 6\)"),
        ((tokens, targets, keep & False), ValueError, "keep is all False"),
        ((tokens, targets, keep * 1), TypeError, "keep has dtype int64"),
    ):
        with pytest.raises(refusal, match=words):
            loss_and_grads_threaded(params, *wrong[:2], cfg, wrong[2], threads)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not is_fast(ModelConfig(kind=kind))])
def test_kinds_without_a_fast_step_take_the_plain_one(kind):
    args = batch("lm", kind, "float32")
    plain, ours = (flatten(f(*args)) for f in (loss_and_grads, four_threads))
    assert plain.keys() == ours.keys() and all(same_bits(ours[name], a) for name, a in plain.items())


def test_complex_numbers_take_the_plain_step():
    """So that a complex step can differentiate through the door too."""
    params, images, labels, cfg, _ = batch("vision")
    params["head"]["b"] = params["head"]["b"] + 1e-30j
    loss, grads = four_threads(params, images, labels, cfg)
    assert loss.imag != 0 and same_bits(loss, loss_and_grads(params, images, labels, cfg)[0])


def test_small_steps_and_other_devices_get_one_thread(monkeypatch):
    monkeypatch.setattr("dgsa_np.fast.threads.cores", lambda: 8)
    small, large = ModelConfig(), ModelConfig(task="lm", width=128)
    assert choose_threads("cpu", 16, small) == 1
    assert choose_threads("cpu", 16, large) == 8 and choose_threads("cpu", 5, large) == 5
    assert choose_threads("cuda", 16, large) == 1


def test_a_step_is_large_from_a_number_of_features_on(monkeypatch):
    monkeypatch.setattr("dgsa_np.fast.threads.cores", lambda: 2)
    just, less = (ModelConfig(task="lm", width=8, n_heads=2, max_len=LARGE_STEP // 32 - n) for n in (0, 1))
    assert choose_threads("cpu", 4, just) == 2 and choose_threads("cpu", 4, less) == 1


def test_the_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(3), raising=False)
    assert cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    for counted, n in ((5, 5), (None, 1)):
        monkeypatch.setattr("os.cpu_count", lambda counted=counted: counted)
        assert cores() == n


def test_functions_run_at_the_same_time_and_a_single_one_where_it_is_called():
    """Two that wait for each other; errstate is that of a thread, and so is set in each."""
    both, seen = threading.Barrier(2, timeout=10), []

    def meet():
        both.wait()
        seen.append((threading.get_ident(), 1 / np.zeros(1)))

    in_threads([meet] * 2)
    both = threading.Barrier(1)
    in_threads([meet])
    ours = [thread == threading.get_ident() for thread, _ in seen]
    assert ours == [False, False, True] and len({thread for thread, _ in seen}) == 3


@pytest.mark.parametrize("n", [1, 3])
def test_what_fails_in_a_thread_is_told(n):
    def fail():
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        in_threads([*[int] * (n - 1), fail])


def test_blas_stays_on_the_thread_that_asks_as_long_as_it_is_told_to():
    """That of NumPy, which is there from the beginning. Others may be loaded later."""

    def of_blas():
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        return {pool["num_threads"] for pool in pools if "numpy" in pool["filepath"]}

    with threadpool_limits(limits=2):
        before = of_blas()
        with blas_on_one():
            assert of_blas() <= {1}
        assert of_blas() == before


@pytest.mark.parametrize("threads", [0, -1, 1.5, "two"])
def test_wrong_numbers_of_threads_are_refused(threads):
    with pytest.raises(ValueError, match="loss_and_grads_threaded: threads is"):
        loss_and_grads_threaded(*batch("vision"), threads=threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    """The pool of the parent is copied without its threads:
    a child that asked it would wait for ever.
    """
    loss_and_grads_threaded(*(args := batch("vision")), threads=2)
    child = os.fork()
    if not child:
        loss_and_grads_threaded(*args, threads=2)
        os._exit(0)
    for _ in range(100):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


def test_shards_with_different_numbers_of_kept_targets_are_the_step_at_once():
    cfg, params, tokens, targets = whole_model("dgsa", "lm", T=8)
    tokens, targets = tokens.repeat(3, axis=0)[:5], targets.repeat(3, axis=0)[:5]
    keep = np.arange(8) < np.array([8, 1, 5, 0, 2])[:, None]
    whole, split = (f(params, tokens, targets, cfg, keep) for f in (loss_and_grads, partial(in_shards, 3)))
    assert error(split[0], whole[0]) < 1e-12
    for name, g in flatten(whole[1]).items():
        assert error(flatten(split[1])[name], g) < 1e-11, name


def in_shards(n, *args):
    return loss_and_grads_threaded(*args, threads=n)
