"""What is measured on maps and gates: on maps whose answers are known, and again by hand."""

import json
from dataclasses import replace
from functools import partial
from math import sqrt
from types import SimpleNamespace

import numpy as np
import pytest
from support.planting import assert_caught
from support.problems import weighs
from support.tiers import most_later
from support.training import TINY, planned, three_splits

from dgsa_np.attention import KINDS
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.data import CORRUPTIONS, corrupt, load
from dgsa_np.lab import experiments
from dgsa_np.lab.cifar_c import CIFAR_C
from dgsa_np.lab.evidence import grid, measures
from dgsa_np.lab.settings import DataConfig
from dgsa_np.model import ModelConfig, init_model, model_forward
from dgsa_np.params import flatten, tree_map
from dgsa_np.train import TrainConfig


@pytest.mark.parametrize("spoil", ["AAAA", "", "no base 64!", measures.packed({"x": np.zeros((2, 4), bool)})["clean"]])
def test_test_items_that_are_damaged_or_add_up_to_something_else_are_refused(spoil):
    right = np.array([[True, True, False], [True, False, False], [False, True, False]])
    record = {"accuracy": {"x": right.mean(axis=1).tolist()}, "items": measures.packed({"x": right})}
    record["clean"] = {"accuracy": record["accuracy"]["x"][0]}
    measures.check_items(record)
    for name in record["items"]:
        with pytest.raises(ValueError):
            measures.check_items(record | {"items": record["items"] | {name: spoil}})


def similarity_by_hand(params, split, model):
    """The cosine of each pair of kept tokens, one pair after the other."""
    _, cache = model_forward(split.inputs, params, model, split.keep)
    found = []
    for norm in (*(block.norm1 for block in cache.blocks), cache.norm):
        each = []
        for i, tokens in enumerate(norm.n):
            tokens = tokens if split.keep is None else tokens[split.keep[i]]
            pairs = [(a, b) for j, a in enumerate(tokens) for k, b in enumerate(tokens) if j != k]
            cosines = [a @ b / sqrt((a @ a) * (b @ b)) for a, b in pairs]
            each.append(sum(cosines) / len(cosines) if cosines else 0.0)
        found.append(sum(each) / len(each))
    return found


@pytest.mark.parametrize("task", ["vision", "text"])
def test_tokens_are_compared_in_pairs_and_dropped_ones_not_at_all(task):
    model = {"vision": VISION, "text": TEXT}[task]
    params = init_model(model, np.random.default_rng(0), "float64")
    some = measures.first_rows(three_splits(model).test, 5)
    told = measures.similarity(params, some, model)
    assert len(told) == model.depth + 1
    assert told == pytest.approx(similarity_by_hand(params, some, model), abs=1e-12)


def test_equal_tokens_have_a_similarity_of_1():
    flat = tree_map(lambda a: a * 0, init_model(VISION, np.random.default_rng(0), "float64"))
    flat["embed"]["b"] += 1.0
    some = measures.first_rows(three_splits(VISION).test, 3)
    assert measures.similarity(flat, some, VISION) == pytest.approx([1.0] * (VISION.depth + 1), abs=1e-12)


def test_a_gate_that_falls_with_noise_is_seen_to_fall():
    rng = np.random.default_rng(0)
    hit, kept = rng.random((20, 10)) < 0.5, np.ones((20, 10), bool)
    clean = rng.uniform(0.6, 0.9, (20, 10, 3))
    mixed = clean.copy()
    mixed[hit, 0] -= 0.5  # head 0: corrupted tokens have the lower gate; head 1: the higher one; head 2 is blind
    mixed[hit, 1] += 0.5
    told = measures._gates(clean, mixed, kept, hit)
    assert told["auc"][0] == 0 and told["auc"][1] == 1 and abs(told["auc"][2] - 0.5) < 0.15
    assert np.allclose(told["mean"], clean.mean(axis=(0, 1))) and (told["saturated"] == 0).all()
    assert all(np.isclose(h.sum(), 1) for h in told["histogram"][:1])


def test_half_of_the_patches_are_corrupted_and_no_other():
    model, data = ModelConfig(patch_size=2), load("digits")
    inputs, hit = measures.half_corrupted(data.test, model)
    changed = (inputs != data.test.inputs).reshape(-1, 4, 2, 4, 2).any(axis=(2, 4)).reshape(-1, 16)
    assert (changed == hit).all() and (hit.sum(axis=1) == 8).all()


def test_the_gate_of_a_lambda_has_the_same_ratio():
    lam = np.array(0.25)
    gate = measures.gate_of(SimpleNamespace(A=np.zeros((2, 3, 4, 4)), lam=lam))
    assert gate.shape == (2, 3, 4) and np.allclose((1 - gate) / gate, lam)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_measured(kind):
    (settings,) = planned([TINY | {"kind": kind}], reference=TINY)
    record, params = grid.run(settings)
    assert len(record["accuracy"]) == 6 and params is not None
    assert (record["gates"] is not None) == weighs(MECHANISMS[kind])
    assert record["accuracy"]["gaussian"][0] == pytest.approx(record["clean"]["accuracy"])
    assert json.loads(json.dumps(record)) == record



# -------------------------------------------------------------------------- a whole record, by hand

SMALL = {"width": 8, "n_heads": 2, "depth": 2, "n_out": 3}
VISION = ModelConfig(**SMALL, image_size=4, patch_size=2)
TEXT = ModelConfig(**SMALL, task="text", vocab_size=9, max_len=6)
SEEDED = TrainConfig(seed=5, device="cpu")
ROWS = 20  # to be looked into, of the 30 of the test split


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(measures, "ROWS", ROWS)


def somewhere(model):
    """Parameters as training could make them: none is 0, and the classes depend on the inputs."""
    rng = np.random.default_rng(1)
    params = tree_map(lambda a: a + rng.normal(0, 0.5, a.shape).astype(a.dtype), init_model(model, rng))
    params["head"]["b"] /= 50
    return params


def subject(model):
    return somewhere(model), three_splits(model, 90)


def nothing_damaged(classify, split, corruptions):
    return {"none": np.zeros((1, len(split.targets)), bool)}


def record_of(model, damaged=nothing_damaged):
    """Without the accuracies under corruption, which take long."""
    params, data = subject(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "right_under_corruption", damaged)
        return measures.measure(model, SEEDED, params, data, DataConfig(data="digits"))


def attention_of(params, split, model):
    _, cache = model_forward(split.inputs, params, replace(model, impl="plain"), split.keep)
    return [block.attention for block in cache.blocks]


def some(split):
    return split._replace(**{name: a[:ROWS] for name, a in split._asdict().items() if a is not None})


def assert_close(found, expected):
    """Trees of numbers, equal to the digits that are kept, and of texts."""
    found, expected = flatten(found), flatten(expected)
    near = {n: x if isinstance(x, str) else pytest.approx(x, rel=1e-4, abs=1e-6) for n, x in expected.items()}
    assert found == near


def test_maps_are_whole_where_a_model_is_made_to_compute_them_in_tiles():
    assert_close(record_of(replace(VISION, impl="tiled")), record_of(VISION))


def right_by_hand(params, split, model, inputs, keep):
    logits, _ = model_forward(inputs, params, model, keep)
    return logits.argmax(axis=-1) == split.targets


def accuracy_by_hand(*args):
    return float(np.mean(right_by_hand(*args)))


@pytest.mark.parametrize("model", [VISION, TEXT], ids=["vision", "text"])
def test_accuracies_are_those_of_validation_and_test_inputs(model):
    model = replace(model, depth=1)
    (params, data), record = subject(model), record_of(model, experiments.right_under_corruption)
    for name, split in (("valid", data.valid), ("clean", data.test)):
        expected = accuracy_by_hand(params, split, model, split.inputs, split.keep)
        assert record[name]["accuracy"] == pytest.approx(expected, rel=1e-5)
    often = np.zeros(len(data.test.targets), int)  # in how many damaged states a test item is right
    for number, (kind, corruption) in enumerate(CORRUPTIONS[model.task].items()):
        for i, level in enumerate(corruption.levels):
            inputs = corrupt(data.test.inputs, kind, level, np.random.default_rng([number, i]))
            keep = None if data.test.keep is None else inputs > 0
            right = right_by_hand(params, data.test, model, inputs, keep)
            assert record["accuracy"][kind][i] == pytest.approx(right.mean(), rel=1e-5), (kind, level)
            often += right if level else 0
    clean = right_by_hand(params, data.test, model, data.test.inputs, data.test.keep)
    assert measures.unpacked(record["items"]["clean"]).tolist() == clean.tolist()
    assert measures.unpacked(record["items"]["corrupted"]).tolist() == often.tolist() and len(set(often)) > 2


def test_what_is_packed_is_unpacked():
    """A number for each test item: 0 or 1 when clean; up to 255 damaged states; no item is lost."""
    rng = np.random.default_rng(0)
    right = {kind: rng.random((levels, 500)) < 0.6 for kind, levels in (("a", 6), ("b", 251))}
    packed = json.loads(json.dumps(measures.packed(right)))
    assert measures.unpacked(packed["clean"]).tolist() == right["a"][0].tolist()
    often = [sum(bool(right[kind][i, n]) for kind in right for i in range(1, len(right[kind]))) for n in range(500)]
    assert measures.unpacked(packed["corrupted"]).tolist() == often
    everything = measures.packed({"a": np.ones((256, 3), bool)})
    assert {name: measures.unpacked(text).tolist() for name, text in everything.items()} == {
        "clean": [1] * 3, "corrupted": [255] * 3}  # fmt: skip


@pytest.mark.parametrize("chosen", [None, "cifar-c"])
def test_images_are_damaged_as_the_settings_of_the_data_say(chosen):
    seen = []

    def nothing(classify, split, corruptions):
        seen.append(corruptions)
        return nothing_damaged(classify, split, corruptions)

    params, data = subject(VISION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "right_under_corruption", nothing)
        measures.measure(VISION, SEEDED, params, data, DataConfig(data="digits", corruptions=chosen))
    assert seen == [CIFAR_C if chosen else CORRUPTIONS["vision"]]


def test_sentences_are_damaged_as_always_whatever_images_are():
    for task in ("text", "lm"):
        assert experiments.corruptions_of({"task": task, "corruptions": "cifar-c"}) is CORRUPTIONS[task]


def test_a_language_model_has_its_loss_and_its_accuracy_alone():
    model = ModelConfig(width=8, n_heads=2, depth=1, task="lm", vocab_size=7, max_len=6)
    record = measures.measure(model, SEEDED, init_model(model, np.random.default_rng(1)), three_splits(model), None)
    assert list(record) == ["valid", "clean"] and list(record["clean"]) == ["loss", "accuracy"]


# ----------------------------------------------------------------------------------- gates, by hand


def chance_above(ours, theirs):
    """That of one of ours and one of theirs, ours is the larger; equal ones count by half."""
    return float(np.mean([(x > theirs).mean() + (x == theirs).mean() / 2 for x in ours]))


def gates_by_hand(clean, mixed, keep, hit):
    """From gates (B, H, T), head by head."""
    told = {name: [] for name in ("mean", "std", "saturated", "auc")}
    for h in range(clean.shape[1]):
        g, corrupted, whole = clean[:, h][keep], mixed[:, h][keep & hit], mixed[:, h][keep & ~hit]
        told["mean"].append(float(g.mean()))
        told["std"].append(sqrt(((g - g.mean()) ** 2).mean()))
        told["saturated"].append(float(((g < 0.05) | (g > 0.95)).mean()))
        told["auc"].append(chance_above(corrupted, whole))
    parts = (clean.swapaxes(1, 2)[keep], mixed.swapaxes(1, 2)[keep & hit])
    bins = [np.minimum(19, np.floor(20 * g.clip(0, 1))).astype(int).ravel() for g in parts]
    return told | {"histogram": [(np.bincount(b, minlength=20) / b.size).tolist() for b in bins]}


@pytest.mark.parametrize("kind", ["dgsa", "diff_v2"])
@pytest.mark.parametrize("model", [VISION, TEXT], ids=["vision", "text"])
def test_gates_are_asked_whether_they_see_that_their_own_token_is_corrupted(model, kind):
    model = replace(model, kind=kind)
    params, data = subject(model)
    split = some(data.test)
    mixed, hit = measures.half_corrupted(split, model)
    keep = np.ones(hit.shape, bool) if split.keep is None else split.keep
    gates = [
        [a.head.gate if kind == "dgsa" else 1 / (1 + a.head.lam) for a in attention_of(params, s, model)]
        for s in (split, split._replace(inputs=mixed))
    ]
    expected = [gates_by_hand(clean, noisy, keep, hit) for clean, noisy in zip(*gates, strict=True)]
    assert_close(record_of(model)["gates"], expected)


def test_a_gate_that_follows_the_noise_has_an_auc_of_1(monkeypatch):
    """It is the spread of its patch, which is 0 in the clean images."""
    inputs = np.repeat(np.repeat(np.random.default_rng(0).random((30, 2, 2), "float32"), 2, axis=1), 2, axis=2)

    def spread_of_patches(params, split, model):
        patches = split.inputs.reshape(-1, 2, 2, 2, 2).swapaxes(2, 3).reshape(-1, 1, 4, 4)
        return [SimpleNamespace(gate=patches.std(axis=-1))]

    monkeypatch.setattr(measures, "heads", spread_of_patches)
    (told,) = measures.gates_and_noise({}, three_splits(VISION).test._replace(inputs=inputs), VISION)
    assert told["auc"] == [1] and told["mean"] == [0] and told["saturated"] == [1]


def test_the_figures_of_five_gates():
    """0.01 and 0.97 are saturated; 0.25 and 1.5, of corrupted tokens, stand against three."""
    clean, mixed = np.array([[0.01, 0.05, 0.97, 0.95, 0.5, 1.0], [0.25, 1.5, 0.1, 0.3, 0.4, 9.0]])[:, None, :, None]
    kept, hit = np.array([[True] * 5 + [False]]), np.array([[True] * 2 + [False] * 4])
    told = measures._gates(clean, mixed, kept, hit)
    assert told["mean"] == pytest.approx([0.496]) and told["saturated"].tolist() == [0.4]
    assert told["auc"] == pytest.approx([4 / 6])
    assert told["std"] == pytest.approx([sqrt((0.486**2 + 0.446**2 + 0.474**2 + 0.454**2 + 0.004**2) / 5)])
    of_clean, of_corrupted = told["histogram"]
    assert np.flatnonzero(of_corrupted).tolist() == [5, 19] and of_corrupted[[5, 19]].tolist() == [0.5, 0.5]
    assert len(of_clean) == 20 and of_clean.sum() == 1 and of_clean[[0, 10, 19]].tolist() == [0.2] * 3


def test_half_of_the_patches_get_noise_of_0_3_and_a_part_of_the_words_are_exchanged():
    images, sentences = three_splits(VISION, 300).train, three_splits(TEXT, 300).train
    mixed, hit = measures.half_corrupted(images, VISION)
    noisy = corrupt(images.inputs, "gaussian", 0.3, np.random.default_rng(0))
    for b, (row, column) in enumerate([(r, c) for _ in range(75) for r in (0, 1) for c in (0, 1)]):
        patch = b, slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)
        assert np.array_equal(mixed[patch], (noisy if hit[b, 2 * row + column] else images.inputs)[patch])
    assert len({tuple(places) for places in hit}) == 6 and (hit.sum(axis=1) == 2).all()
    mixed, hit = measures.half_corrupted(sentences, TEXT)
    assert np.array_equal(mixed, corrupt(sentences.inputs, "substitution", 0.3, np.random.default_rng(0)))
    assert np.array_equal(hit, mixed != sentences.inputs) and not hit[~sentences.keep].any()


def test_all_colours_of_a_patch_are_corrupted_together():
    images = three_splits(VISION, 30).train
    coloured = images._replace(inputs=np.repeat(images.inputs[..., None], 3, axis=-1))
    mixed, hit = measures.half_corrupted(coloured, replace(VISION, channels=3))
    changed = (mixed != coloured.inputs).reshape(30, 2, 2, 2, 2, 3).swapaxes(2, 3).reshape(30, 4, 12)
    assert mixed.shape == (30, 4, 4, 3) and (changed.all(axis=-1) == hit).all() and (changed.any(axis=-1) == hit).all()


@pytest.mark.parametrize("model", [VISION, TEXT], ids=["vision", "text"])
def test_the_first_test_input_is_shown_clean_and_corrupted(model):
    params, data = subject(model)
    kind = {"vision": "gaussian", "text": "substitution"}[model.task]
    shown = measures.clean_and_corrupted(params, model, data)
    assert list(shown) == ["clean", f"{kind} 0.3"]
    damaged = corrupt(data.test.inputs[:1], kind, 0.3, np.random.default_rng(0))
    for (split, heads), inputs in zip(shown.values(), (data.test.inputs[:1], damaged), strict=True):
        assert np.array_equal(split.inputs, inputs) and split.targets.tolist() == data.test.targets[:1].tolist()
        expected = attention_of(params, split, model)
        assert all(np.array_equal(head.A, a.head.A) for head, a in zip(heads, expected, strict=True))


def test_what_has_neither_gate_nor_lambda_has_no_gates():
    assert record_of(replace(VISION, kind="softmax"))["gates"] is None
    assert measures.gate_of(SimpleNamespace(A=1)) is None
    assert measures.gate_of(SimpleNamespace(A=1, lam=None, gate="g")) == "g"


def test_six_digits_are_kept():
    tree = {8: np.float32(1 / 3), "b": [1234567.8, np.array([0.00012345678])], "n": (3, None, True)}
    assert measures.rounded(tree) == {"8": 0.333333, "b": [1234570.0, [0.000123457]], "n": [3, None, True]}


# ------------------------------------------------------------------------------------- planted bugs

of_images, of_sentences = (
    partial(test_accuracies_are_those_of_validation_and_test_inputs, model) for model in (VISION, TEXT)
)
of_gates, of_padded_gates = (
    partial(test_gates_are_asked_whether_they_see_that_their_own_token_is_corrupted, model, "dgsa")
    for model in (VISION, TEXT)
)
of_lambdas = partial(test_gates_are_asked_whether_they_see_that_their_own_token_is_corrupted, VISION, "diff_v2")
of_five, of_halves = (
    test_the_figures_of_five_gates,
    test_half_of_the_patches_get_noise_of_0_3_and_a_part_of_the_words_are_exchanged,
)
of_packing, packed = test_what_is_packed_is_unpacked, measures.packed
measure, damage = measures.measure, experiments.right_under_corruption

BUGS = {  # what is wrong: (what catches it, function, old, new)
    "tested on validation data": (of_images, measure, "evaluate(params, data.test,", "evaluate(params, data.valid,"),
    "validated on test data": (of_images, measure, "evaluate(params, data.valid,", "evaluate(params, data.test,"),
    "corrupted accuracy of training data": (
        of_images, measure, "data.test, corruptions_of", "data.train, corruptions_of"),
    # accuracy under corruption
    "equal damage at every level": (of_images, damage, "[number, i]", "number"),
    "equal damage by every corruption": (of_images, damage, "[number, i]", "[0, i]"),
    "level 0 is left out": (of_images, damage, "enumerate(levels)", "enumerate(levels[1:])"),
    "clean inputs for damaged ones": (of_images, damage, "classify(damaged)", "classify(split)"),
    "padding after damage is that before": (
        of_sentences, damage, "classify(damaged)", "classify(damaged._replace(keep=split.keep))"),
    "the class that is least likely": (of_images, experiments.classifier, "argmax", "argmin"),
    # test items
    "clean inputs among the damaged": (of_packing, packed, "levels[1:].sum", "levels.sum"),
    "clean is what one damage leaves": (of_packing, packed, "[0]", "[1]"),
    "the last damage alone": (of_packing, packed, "[1:].sum(axis=0)", "[-1]"),
    "one bit for how many damaged states": (of_packing, packed, '"uint8"', '"bool"'),
    "levels for items": (of_packing, packed, "sum(axis=0) for", "sum(axis=1) for"),
    # gates
    "AUC on clean inputs": (of_gates, measures.gates_and_noise, "split._replace(inputs=mixed)", "split"),
    "gates of corrupted inputs called clean": (
        of_gates, measures.gates_and_noise, "zip(clean_heads, heads(",
        "zip(heads(params, split._replace(inputs=mixed), model), heads("),
    "gates of padding": (of_padded_gates, measures.gates_and_noise, "if split.keep is None else split.keep", ""),
    "AUC of all that are corrupted, padding too": (of_five, measures._gates, "mixed[kept & ~hit]", "mixed[~hit]"),
    "AUC against clean inputs": (of_gates, measures._gates, "mixed[kept & ~hit]", "clean[kept & ~hit]"),
    "AUC of the clean tokens": (of_gates, measures._gates, "np.repeat([1, 0]", "np.repeat([0, 1]"),
    "AUC over all heads": (of_gates, measures._gates, "for column in both.T", "for column in both.mean(axis=1)[None]"),
    "histogram of clean tokens for corrupted ones": (of_gates, measures._gates, "(g, bad)]", "(g, good)]"),
    "histogram as counts": (of_gates, measures._gates, " / x.size", ""),
    "saturated at one end alone": (of_five, measures._gates, "| (g > 1 - SATURATED)", ""),
    "open gates are called saturated": (of_five, measures._gates, "(g < SATURATED)", "(g > SATURATED)"),
    "lambda for its gate": (of_lambdas, measures.gate_of, "1 / (1 + head.lam)", "head.lam"),
    "all patches are corrupted": (of_halves, measures.half_corrupted, "n * n // 2", "n * n"),
    "the same patches in every image": (of_halves, measures.half_corrupted, "rng.permuted(", "(lambda x, axis: x)("),
    "rows and columns of patches change places": (
        of_halves, measures.half_corrupted, "hit.reshape(-1, n, 1, n, 1, 1)",
        "hit.reshape(-1, n, 1, n, 1, 1).swapaxes(1, 3)"),
    "the clean patches are named": (
        of_halves, measures.half_corrupted, "return mixed.reshape(damaged.shape), hit",
        "return mixed.reshape(damaged.shape), ~hit"),
    "another example is shown than the first": (
        partial(test_the_first_test_input_is_shown_clean_and_corrupted, VISION),
        measures.clean_and_corrupted, "data.test", "data.valid"),
}  # fmt: skip


SEEN = ("tested on validation data", "AUC on clean inputs")


@pytest.mark.parametrize("name", most_later(BUGS, now=[*SEEN, *list(BUGS)[::6]]))
def test_planted_bugs_are_caught(name):
    test, *change = BUGS[name]
    assert_caught(test, change)
