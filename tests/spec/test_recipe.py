"""Training is the recipe that is written out here as formulas: to the bit, after every step."""

from dataclasses import FrozenInstanceError, asdict, replace
from functools import lru_cache, partial
from math import cos, pi

import numpy as np
import pytest
from support.planting import assert_caught
from support.tiers import most_later
from support.training import three_splits
from threadpoolctl import ThreadpoolController, threadpool_limits

from dgsa_np import optim
from dgsa_np import train as train_module
from dgsa_np.data import Split
from dgsa_np.fast import choose_step
from dgsa_np.fast import step as fast_step
from dgsa_np.gradcheck import same_bits
from dgsa_np.model import ModelConfig, init_model, loss_and_grads, model_forward
from dgsa_np.params import flatten, tree_map, zeros_like
from dgsa_np.shapes import ShapeError
from dgsa_np.train import NonFiniteError, TrainConfig, evaluate, first_state, plain_step, predict, train, train_steps

TINY = {"width": 8, "n_heads": 2, "depth": 1}
VISION = ModelConfig(**TINY, image_size=4, patch_size=2, n_out=3)
TEXT = ModelConfig(**TINY, task="text", kind="diff_v2", vocab_size=7, max_len=6, n_out=3)
LANGUAGE = ModelConfig(**TINY, task="lm", kind="softmax", vocab_size=7, max_len=6)
# 47 rows make 4 batches of 10 and leave 7; the learning rate climbs over 1.6 of 4 epochs.
BITING = TrainConfig(
    epochs=4, batch_size=10, lr=0.03, warmup=0.4, weight_decay=3.0, clip=0.1, seed=5, device="cpu", threads=1
)


# ------------------------------------------------------------------------------------------ by hand


def recipe(model, cfg, data, dtype="float32"):
    """After each step: the parameters, its record, and that of the epoch or None."""
    params = init_model(model, np.random.default_rng(cfg.seed), dtype)
    order = np.random.default_rng([cfg.seed, 1])
    m, v = zeros_like(params), zeros_like(params)
    n = len(data.train.targets)
    batches = n // cfg.batch_size
    total = cfg.epochs * batches
    warmup = round(cfg.warmup * total)
    t = 0
    for epoch in range(cfg.epochs):
        shuffled, losses = order.permutation(n), []
        for i in range(batches):
            rows = shuffled[i * cfg.batch_size : (i + 1) * cfg.batch_size]
            inputs, targets, keep = data.train.take(rows)
            loss, g = loss_and_grads(params, inputs, targets, model, keep)
            norm = sum((a.astype(float) ** 2).sum() for a in flatten(g).values()) ** 0.5
            g = clipped(g, norm, cfg.clip)
            lr = learning_rate(t, total, warmup, cfg.lr)
            record = {"step": t, "loss": float(loss), "norm": float(norm), "lr": lr}
            t += 1
            params, m, v = adamw(params, m, v, g, t, lr, cfg.weight_decay)
            losses.append(float(loss))
            if i < batches - 1:
                yield params, record, None
        mean = sum(losses) / batches
        yield params, record, {"epoch": epoch, "train_loss": mean, **validation(model, params, data.valid)}


def clipped(g, norm, most):
    """All of the gradient by one factor, where it is longer than most."""
    return tree_map(lambda a: a * a.dtype.type(min(1, most / (norm + 1e-12))), g)


def learning_rate(t, total, warmup, peak):
    """A line up to the peak, then half a cosine down."""
    if t < warmup:
        return peak * (t + 1) / warmup
    return peak * (1 + cos(pi * ((t - warmup) / (total - warmup)))) / 2


def adamw(params, m, v, g, t, lr, decay, b1=0.9, b2=0.999, eps=1e-8):
    m = tree_map(lambda m, g: b1 * m + (1 - b1) * g, m, g)
    v = tree_map(lambda v, g: b2 * v + (1 - b2) * (g * g), v, g)

    def step(p, m, v):
        direction = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        return p - lr * (direction + decay * p if p.ndim >= 2 else direction)

    return tree_map(step, params, m, v), m, v


def validation(model, params, valid):
    """The mean over the targets that count: of a language, those of real tokens."""
    logits = model_forward(valid.inputs, params, model, valid.keep)[0].astype(float)
    counts = valid.keep if model.task == "lm" else np.ones(valid.targets.shape, bool)
    logits, targets = logits[counts], valid.targets[counts]
    nats = np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(targets)), targets]
    return {"valid_loss": nats.mean(), "valid_accuracy": (logits.argmax(axis=-1) == targets).mean()}


# ----------------------------------------------------------------------------------------- the same


def assert_equal_bits(one, two):
    one, two = flatten(one), flatten(two)
    assert one.keys() == two.keys() and [name for name in one if not same_bits(one[name], two[name])] == []


def assert_trained_by_the_recipe(model, cfg, data, expected):
    """All to the bit, but the loss of a validation to rounding: here it is computed in float64."""
    found = train_steps(model, cfg, data, first_state(model, cfg))
    for (params, step, epoch), (state, step_found, epoch_found) in zip(expected, found, strict=True):
        assert step_found == step
        assert_equal_bits(state.params, params)
        assert (epoch_found is None) == (epoch is None)
        if epoch:
            assert epoch_found == epoch | {"valid_loss": pytest.approx(epoch["valid_loss"], rel=1e-6)}


TASKS = {"vision": VISION, "text": TEXT, "lm": LANGUAGE}


@pytest.mark.parametrize("task", TASKS)
def test_training_is_the_recipe_where_every_step_is_clipped(task):
    model, data = TASKS[task], three_splits(TASKS[task])
    expected = list(recipe(model, BITING, data))
    assert_trained_by_the_recipe(model, BITING, data, expected)
    steps = [step for _, step, _ in expected]
    assert len(steps) == 16 and all(step["norm"] > BITING.clip for step in steps)
    assert [step["lr"] < BITING.lr for step in steps] == [True] * 5 + [False] * 2 + [True] * 9


def test_training_is_the_recipe_where_no_step_is_clipped():
    data, cfg = three_splits(VISION), replace(BITING, clip=100.0, warmup=0.0, weight_decay=0.0, batch_size=47, seed=11)
    expected = list(recipe(VISION, cfg, data))
    assert_trained_by_the_recipe(VISION, cfg, data, expected)
    assert len(expected) == 4 and all(step["norm"] < 100 for _, step, _ in expected)


def test_what_train_returns_is_where_its_steps_lead():
    data, cfg = three_splits(LANGUAGE), replace(BITING, epochs=2)
    made = list(train_steps(LANGUAGE, cfg, data, first_state(LANGUAGE, cfg)))
    result = train(LANGUAGE, cfg, data)
    assert_equal_bits(result.params, made[-1][0].params)
    assert result.steps == [step for _, step, _ in made] and result.epochs == [epoch for *_, epoch in made if epoch]
    last = evaluate(result.params, data.valid, LANGUAGE)
    assert [result.epochs[-1][f"valid_{name}"] for name in last] == [*last.values()]


def test_a_batch_has_no_more_rows_than_there_are():
    all_rows, more = (replace(BITING, batch_size=n, epochs=2) for n in (47, 1000))
    one, two = (train(VISION, cfg, three_splits(VISION)) for cfg in (all_rows, more))
    assert one.steps == two.steps and len(one.steps) == 2


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("task", TASKS)
def test_the_fast_step_follows_the_recipe_up_to_rounding(task, threads):
    """Each target counts by the real tokens of the whole batch: the shards differ in them."""
    model, data = TASKS[task], three_splits(TASKS[task])
    cfg, wide = replace(BITING, threads=threads), init_model(model, np.random.default_rng(BITING.seed), "float64")
    found = train_steps(model, cfg, data, first_state(model, cfg, wide), choose_step(model, cfg))
    for (state, step, epoch), (params, expected, of_epoch) in zip(
        found, recipe(model, cfg, data, "float64"), strict=True
    ):
        assert step == pytest.approx(expected, rel=1e-9)
        assert flatten(state.params).keys() == flatten(params).keys()
        for name, a in flatten(params).items():
            np.testing.assert_allclose(flatten(state.params)[name], a, atol=1e-9, err_msg=name)
        assert (epoch is None) == (of_epoch is None)
        assert epoch is None or epoch["train_loss"] == pytest.approx(of_epoch["train_loss"], rel=1e-9)


def of_blas(threads=ThreadpoolController()):  # noqa: B008 - what is loaded is looked for once
    return {pool["num_threads"] for pool in threads.info() if pool["user_api"] == "blas"}


def test_the_step_that_is_handed_is_taken_and_has_no_threads_of_blas():
    seen, data, cfg = [], three_splits(VISION), replace(BITING, epochs=1)

    def look(state, batch, lr, model, cfg):
        seen.append((state.batch, len(batch[0]), lr, model, cfg, of_blas()))
        return plain_step(state, batch, lr, model, cfg)

    with threadpool_limits(limits=2):
        result = train(VISION, cfg, data, step=look)
    assert len(seen) == len(result.steps) == 4
    for i, (*given, threads) in enumerate(seen):
        assert given == [i, 10, result.steps[i]["lr"], VISION, cfg] and threads <= {1}


def test_a_fast_step_has_the_threads_that_were_asked_for_and_none_of_blas():
    made, seen, make, matmul = [], [], fast_step.make_step, np.matmul

    def look(*given, **options):
        made.append(make(*given, **options))
        return made[-1]

    def look_at_blas(*given, **options):
        seen.append(of_blas())
        return matmul(*given, **options)

    with pytest.MonkeyPatch.context() as patch, threadpool_limits(limits=2):
        patch.setattr(fast_step, "make_step", look)
        patch.setattr(np, "matmul", look_at_blas)
        for threads in (3, None):
            cfg = replace(BITING, threads=threads, epochs=1, batch_size=47)
            train(VISION, cfg, three_splits(VISION), step=choose_step(VISION, cfg))
    assert [len(step.shards) for step in made] == [3, 1]
    assert len(seen) > 40 and all(threads <= {1} for threads in seen)


@pytest.mark.parametrize(
    ("kind", "step", "taken"),
    [("dgsa", "auto", fast_step.FastStep), ("twicing", "auto", None), ("dgsa", "plain", None)],
)
def test_a_fast_step_is_chosen_unless_a_plain_one_is_asked_for_or_there_is_no_other(kind, step, taken):
    chosen = choose_step(replace(VISION, kind=kind), replace(BITING, step=step))
    assert type(chosen) is taken if taken else chosen is plain_step


@pytest.mark.parametrize("task", TASKS)
def test_every_target_weighs_the_same_in_an_evaluation_of_many_batches(task):
    model = TASKS[task]
    params, data = init_model(model, np.random.default_rng(1)), three_splits(model)
    params["head"]["W"] *= 50  # losses that differ from row to row
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "EVALUATION", 5 * model.n_tokens)  # 23 rows: the last batch has 3
        found = evaluate(params, data.valid, model)
    expected = validation(model, params, data.valid)
    assert found == pytest.approx({"loss": expected["valid_loss"], "accuracy": expected["valid_accuracy"]}, rel=1e-6)


def test_rows_without_a_real_target_count_for_nothing():
    """Even where they are a batch of their own."""
    params, valid = init_model(LANGUAGE, np.random.default_rng(1)), three_splits(LANGUAGE).valid
    keep = valid.keep.copy()
    keep[5:10] = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "EVALUATION", 5 * LANGUAGE.n_tokens)
        with_them = evaluate(params, valid._replace(keep=keep), LANGUAGE)
    without = evaluate(params, Split(*(np.delete(a, slice(5, 10), axis=0) for a in valid)), LANGUAGE)
    assert with_them == pytest.approx(without, rel=1e-6)


@pytest.mark.parametrize(("tokens", "rows"), [(5 * 6 + 5, [5, 5, 5, 5, 3]), (1, [1] * 23)])
def test_an_evaluation_has_no_more_tokens_at_once_than_it_should_or_one_row(tokens, rows, monkeypatch):
    seen = []
    monkeypatch.setattr(train_module, "EVALUATION", tokens)
    monkeypatch.setattr(
        train_module, "model_forward", lambda *given: seen.append(len(given[0])) or model_forward(*given)
    )
    predict(init_model(TEXT, np.random.default_rng(1)), three_splits(TEXT).valid, TEXT)
    assert seen == rows


def test_an_evaluation_says_which_row_is_not_finite_and_whether_its_inputs_are(monkeypatch):
    monkeypatch.setattr(train_module, "EVALUATION", 5 * VISION.n_tokens)
    params, valid = init_model(VISION, np.random.default_rng(1)), three_splits(VISION).valid
    valid.inputs[[7, 9], 1, 1] = np.nan
    with pytest.raises(NonFiniteError, match="first for row 7 of the split, whose inputs hold nan or inf too"):
        predict(params, valid, VISION)
    params["head"]["b"][2] = np.inf
    with pytest.raises(NonFiniteError, match="first for row 0 of the split, whose inputs are finite: params overflow"):
        predict(params, valid, VISION)


def test_nothing_is_evaluated_where_all_is_padding():
    valid = three_splits(LANGUAGE).valid
    with pytest.raises(ValueError, match="keep of the split is all False"):
        evaluate(init_model(LANGUAGE, np.random.default_rng(1)), valid._replace(keep=valid.keep & False), LANGUAGE)


def test_validation_data_that_do_not_fit_are_refused_before_the_first_step():
    data = three_splits(VISION)
    data = data._replace(valid=data.valid._replace(targets=data.valid.targets[1:]))
    with pytest.raises(ShapeError, match="as many rows of each"):
        next(train_steps(VISION, BITING, data, first_state(VISION, BITING)))


FASTER = {"step": "auto", "threads": None, "capture": False}  # which do not change what is computed


def test_the_settings_that_nobody_gives_are_the_recipe_of_the_digits():
    """The keys of runs that are kept, and what they found, hang on them."""
    recipe_of_digits = {"epochs": 80, "batch_size": 64, "lr": 0.02, "warmup": 0.1, "weight_decay": 0.5, "clip": 1.0}
    cfg = TrainConfig()
    assert asdict(cfg) == recipe_of_digits | {"seed": 0, "device": "auto"} | FASTER
    with pytest.raises(FrozenInstanceError):
        cfg.lr = 0.5


@pytest.mark.parametrize(
    "wrong", [{"weight_decay": -0.1}, {"warmup": -0.1}, {"seed": -1}, {"step": "fast"}, {"capture": 2}, {"threads": 0}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"TrainConfig: {next(iter(wrong))} is"):
        TrainConfig(**wrong)


def test_what_the_recipe_never_says():
    """The decay of AdamW by itself, a gradient of zeros, and a schedule that is all warm-up."""
    W = {"W": np.ones((2, 2))}
    still, _ = optim.adamw_step(W, zeros_like(W), optim.adamw_init(W), lr=1.0)
    assert still["W"].tolist() == [[0.99] * 2] * 2
    with np.errstate(all="raise"):
        same, norm = optim.clip_by_norm(zeros_like(W), 1.0)
    assert norm == 0 and same_bits(same["W"], np.zeros((2, 2)))
    assert [optim.warmup_cosine(step, 5, 2.0, 5) for step in (3, 4, 5, 6)] == [1.6, 2, 2, 0]


# ------------------------------------------------------------------------------------- planted bugs

SHORT = replace(BITING, epochs=3, warmup=0.5)  # 2 batches an epoch; the learning rate climbs over 3 steps


@lru_cache
def short_recipe(task, clip):
    """Made once: no bug is planted in what it calls."""
    model, cfg, data = TASKS[task], replace(SHORT, clip=clip), three_splits(TASKS[task], 27)
    return model, cfg, data, list(recipe(model, cfg, data))


def follows_the_recipe(task, clip=SHORT.clip):
    assert_trained_by_the_recipe(*short_recipe(task, clip))


vision, language, text = (partial(follows_the_recipe, task) for task in ("vision", "lm", "text"))
not_clipped = partial(follows_the_recipe, "vision", clip=100.0)
handed = test_the_step_that_is_handed_is_taken_and_has_no_threads_of_blas
threads_asked = test_a_fast_step_has_the_threads_that_were_asked_for_and_none_of_blas
many_batches = partial(test_every_target_weighs_the_same_in_an_evaluation_of_many_batches, "lm")
of_sentences = partial(test_every_target_weighs_the_same_in_an_evaluation_of_many_batches, "text")
_take, _sizes, _adamw, loop = train_module._take, train_module._sizes, optim._adamw, train_steps

BUGS = {  # what is wrong: (what catches it, function, old, new)
    # the step
    "clipping is off": (vision, plain_step, "state.params, clipped,", "state.params, grads,"),
    "clipping to 1, whatever was asked for": (vision, plain_step, "cfg.clip", "1.0"),
    "the norm recorded is that after clipping": (
        vision, plain_step, "cfg.clip)", "cfg.clip); norm = clip_by_norm(clipped, 9)[1]"),
    "weight decay is ignored": (vision, plain_step, ", weight_decay=cfg.weight_decay", ""),
    "AdamW starts anew at every step": (
        vision, plain_step, "clipped, state.optimizer", "clipped, adamw_init(state.params)"),
    "training forgets what is padding": (text, train_module._loss_and_grads, "model, keep)", "model, None)"),
    "the loss recorded is a sum over steps": (vision, _take, '{"loss": loss', '{"loss": done.loss_sum'),
    "the parameters stay": (vision, _take, "params=params", "params=state.params"),
    "the means of AdamW stay": (vision, _take, "optimizer=optimizer", "optimizer=state.optimizer"),
    "a step of the loop's own": (handed, loop, "_take(step,", "_take(plain_step,"),
    "the step is not handed on": (handed, train, "data, state, step)", "data, state)"),
    "one thread, whatever was asked for": (threads_asked, fast_step.FastStep.__call__, "cfg.threads", "1"),
    "matrix products on many threads": (handed, loop, "limits=1", "limits=None"),
    "losses are not added up": (vision, _take, "state.loss_sum + loss", "loss"),
    # clipping
    "clipping by value": (
        vision, optim.clip_by_norm, "lambda g: g * factors[g.dtype]", "lambda g: g.clip(-max_norm, max_norm)"),
    "clipping of each tensor alone": (
        vision, optim.clip_by_norm, "g * factors[g.dtype]",
        "g * np.minimum(1, max_norm / square_sum(g) ** 0.5).astype(g.dtype)"),
    "short gradients are made longer": (
        not_clipped, optim.clip_by_norm, "xp.minimum(1, max_norm / (norm + 1e-12))", "max_norm / norm"),
    "the norm is that of squares": (vision, optim.global_norm, " ** 0.5", ""),
    # AdamW
    "no bias correction": (vision, optim.adamw_step, "1 - b1**t, 1 - b2**t", "1, 1"),
    "the first mean alone is corrected": (vision, optim.adamw_step, "1 - b2**t", "1"),
    "bias correction by another count of steps": (
        vision, optim.adamw_step, "1 - b1**t, 1 - b2**t", "1 - b1**(t - 0.5), 1 - b2**(t - 0.5)"),
    "the means change places": (vision, optim.adamw_step, '"m": m, "v": v', '"m": v, "v": m'),
    "the betas change places": (vision, optim.adamw_step, "b1, b2 = map", "b2, b1 = map"),
    "steps are not counted": (vision, optim.adamw_step, '"step": t', '"step": t - 1'),
    "decay on biases and gains": (vision, optim.adamw_step, "weight_decay if p.ndim >= 2 else 0.0", "weight_decay"),
    "decay on no matrix": (vision, optim.adamw_step, "p.ndim >= 2", "p.ndim >= 3"),
    "decay without the learning rate": (
        vision, _adamw, "lr * (m / m_share / (np.sqrt(v / v_share) + eps) + weight_decay * p)",
        "lr * (m / m_share / (np.sqrt(v / v_share) + eps)) - weight_decay * p"),
    "decay by the gradient, as in Adam": (
        vision, _adamw, "m = b1 * m", "g = g + weight_decay * p\n    weight_decay = 0\n    m = b1 * m"),
    "growth instead of decay": (vision, _adamw, "+ weight_decay * p", "- weight_decay * p"),
    "a mean that forgets": (vision, _adamw, "b1 * m + (1 - b1) * g", "g"),
    "the second mean is of gradients": (vision, _adamw, "(g * g)", "g"),
    "the second mean by the first beta": (vision, _adamw, "(1 - b2)", "(1 - b1)"),
    "eps under the root": (vision, _adamw, "np.sqrt(v / v_share) + eps", "np.sqrt(v / v_share + eps)"),
    "no root": (vision, _adamw, "np.sqrt(v / v_share)", "(v / v_share)"),
    # the schedule
    "warm-up over one epoch": (
        vision, loop, "round(cfg.warmup * cfg.epochs * per_epoch)", "round(cfg.warmup * per_epoch)"),
    "warm-up ignored": (vision, loop, "round(cfg.warmup * cfg.epochs * per_epoch)", "0"),
    "the schedule ends with an epoch": (vision, loop, "(number, cfg.epochs * per_epoch,", "(number, per_epoch,"),
    "the learning rate of the next step": (vision, loop, "warmup_cosine(number,", "warmup_cosine(number + 1,"),
    "the learning rate of an epoch": (vision, loop, "warmup_cosine(number,", "warmup_cosine(state.epoch * per_epoch,"),
    "a constant learning rate": (
        vision, optim.warmup_cosine, "if step < warmup:", "return peak\n    if step < warmup:"),
    "warm-up from 0": (vision, optim.warmup_cosine, "(step + 1) / warmup", "step / warmup"),
    "warm-up a step too long": (vision, optim.warmup_cosine, "step < warmup", "step <= warmup"),
    "the cosine counts from the first step": (
        vision, optim.warmup_cosine, "(step - warmup) / max(1, total - warmup)", "step / total"),
    "the cosine ends after all steps and the warm-up": (vision, optim.warmup_cosine, "max(1, total - warmup)", "total"),
    "a line instead of the cosine": (
        vision, optim.warmup_cosine, "0.5 * (1 + math.cos(math.pi * min(1.0, done)))", "(1 - done)"),
    # where training starts, and the order of the data
    "initial weights always from seed 0": (
        vision, first_state, "init_model(model, np.random.default_rng(cfg.seed))",
        "init_model(model, np.random.default_rng(0))"),
    "the order always from seed 0": (vision, first_state, "[cfg.seed, 1]", "[0, 1]"),
    "the order by the generator of the weights": (vision, first_state, "[cfg.seed, 1]", "cfg.seed"),
    "rows are not shuffled": (
        vision, loop, "rng.permutation(len(data.train.targets))", "np.arange(len(data.train.targets))"),
    "one order for all epochs": (vision, loop, "rng.bit_generator.state, state.epoch", "state.rng, state.epoch"),
    "some rows never get their turn": (
        vision, loop, "rng.permutation(len(data.train.targets))", "rng.permutation(per_epoch * batch)"),
    "batches of rows that are far apart": (vision, loop, ".reshape(per_epoch, batch)", ".reshape(batch, per_epoch).T"),
    "a smaller batch than was asked for": (vision, _sizes, "min(cfg.batch_size, n)", "min(cfg.batch_size, n) - 1"),
    "the rest of an epoch as a batch too": (vision, _sizes, "n // batch", "-(-n // batch)"),
    "one batch of an epoch is left out": (vision, _sizes, "n // batch", "n // batch - 1"),
    "an epoch too few": (vision, loop, "state.epoch < cfg.epochs", "state.epoch < cfg.epochs - 1"),
    # the record of an epoch
    "the loss of an epoch goes on in the next": (
        vision, loop, "state.epoch + 1)", "state.epoch + 1, 0, state.loss_sum)"),
    "the training loss is that of the last step": (vision, loop, "state.loss_sum / per_epoch", 'record["loss"]'),
    "the training loss is a sum": (vision, loop, "state.loss_sum / per_epoch", "state.loss_sum"),
    "validated on the training split": (vision, loop, "data.valid", "data.train"),
    "validated on the test split": (vision, loop, "data.valid", "data.test"),
    "epochs are counted from 1": (vision, loop, '{"epoch": state.epoch,', '{"epoch": state.epoch + 1,'),
    "steps are counted from 1": (vision, loop, '{"step": number,', '{"step": number + 1,'),
    "dropped tokens counted in evaluation": (
        language, evaluate, 'keep if keep is not None and model.task == "lm" else ', ""),
    "sentences without their padding in evaluation": (text, train_module._predictions, "rows[2]", "None"),
    "accuracy over all tokens": (
        language, evaluate, "(logits.argmax(axis=-1) == targets)[kept].sum()",
        "(logits.argmax(axis=-1) == targets).sum()"),
    "accuracy by the first class": (vision, evaluate, "argmax", "argmin"),
    "the loss of an evaluation is the mean of its batches": (
        many_batches, evaluate, "float(loss / n)",
        "float(np.mean([cross_entropy_forward(z, t, k)[0] for z, (_, t, k) in _predictions(params, split, model)]))"),
    "the loss of the last batch": (many_batches, evaluate, "loss += float", "loss = float"),
    "hits of the last batch": (of_sentences, evaluate, "hits += ", "hits = "),
    "a batch of an evaluation is left out": (of_sentences, train_module._predictions, "range(0,", "range(size,"),
}  # fmt: skip


SEEN = (
    "clipping is off",
    "weight decay is ignored",
    "warm-up over one epoch",
    "initial weights always from seed 0",
    "dropped tokens counted in evaluation",
)


@pytest.mark.parametrize("name", most_later(BUGS, now=[*SEEN, *list(BUGS)[::6]]))
def test_planted_bugs_are_caught(name):
    test, *change = BUGS[name]
    assert_caught(test, change)
