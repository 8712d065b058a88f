"""What is measured in a trained model: accuracy under corruptions, and what its attention does."""

import json
import zlib
from base64 import b64decode, b64encode
from dataclasses import replace

import numpy as np

from ...backend import to_numpy
from ...data import Split, corrupt
from ...model import init_model, model_forward
from ...train import evaluate
from ..experiments import classifier, corruptions_of, right_under_corruption
from ..records import DICT, NAME, NONE, NUMBER, SHARE, TEXT

ROWS = 256  # of the test split, that are looked into
NOISE = {"vision": ("gaussian", 0.3), "text": ("substitution", 0.3)}  # what corrupts half an image, or some words
MOST_ITEMS = 2**24  # that are unpacked
BINS = 20  # of a histogram of gates, from 0 to 1
SATURATED = 0.05  # gates nearer to 0 or 1 than this
FIGURES = {"loss": NUMBER, "accuracy": SHARE}
GATES = {name: [NUMBER] for name in ("mean", "std", "saturated", "auc")} | {"histogram": [[NUMBER], [NUMBER]]}
MEASURED = {  # the form of what measure returns
    **{"valid": FIGURES, "clean": FIGURES, "accuracy?": {NAME: [SHARE]}, "gates?": (NONE, [GATES])},
    **{"similarity?": {"before": [NUMBER], "after": [NUMBER]}},
    **{"items?": {"clean": TEXT, "corrupted": TEXT}},
    **{"layers?": [DICT], "at_start?": [DICT], "brightness?": DICT, "needle?": DICT},  # of older runs
}


def measure(model, cfg, params, data, data_config) -> dict:
    """All that is kept of a trained model. params : on any device"""
    measured: dict = {"valid": evaluate(params, data.valid, model), "clean": evaluate(params, data.test, model)}
    if model.task == "lm":
        return measured
    what = {"task": model.task, "corruptions": data_config.corruptions}
    right = right_under_corruption(classifier(params, model), data.test, corruptions_of(what))
    start = init_model(model, np.random.default_rng(cfg.seed))  # where this training began
    params, some = to_numpy(params), first_rows(data.test, ROWS)
    measured |= {
        "accuracy": {kind: levels.mean(axis=1) for kind, levels in right.items()},
        "items": packed(right),
        "gates": gates_and_noise(params, some, model),
        "similarity": {when: similarity(p, some, model) for when, p in (("before", start), ("after", params))},
    }
    return rounded(measured)


def packed(right) -> dict:
    """For each test item, whether it is right when clean, and in how many damaged states it is."""
    damaged = np.sum([levels[1:].sum(axis=0) for levels in right.values()], axis=0)
    clean = next(iter(right.values()))[0]
    return {
        name: b64encode(zlib.compress(a.astype("uint8").tobytes(), 9)).decode()
        for name, a in (("clean", clean), ("corrupted", damaged))
    }


def unpacked(text) -> np.ndarray:
    """One number for each test item; raises ValueError for what packed has not made."""
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(b64decode(text, validate=True), MOST_ITEMS)
    except zlib.error as error:
        raise ValueError(f"{error}") from error
    if not stream.eof or not content:
        raise ValueError("it is cut off, empty or too long")
    return np.frombuffer(content, "uint8").astype(int)


def check_items(record):
    """Raises ValueError where the test items of a record do not add up to its accuracies."""
    clean, corrupted = (unpacked(record["items"][name]) for name in ("clean", "corrupted"))
    levels = [reached[1:] for reached in record["accuracy"].values()]
    said = record["clean"]["accuracy"], np.mean(levels)
    found = clean.mean(), corrupted.mean() / np.size(levels)
    if clean.size != corrupted.size or not np.allclose(found, said, rtol=0, atol=1e-5):
        raise ValueError(f"they reach {found} clean and corrupted, expected {said}, as the record says")


def first_rows(split, n):
    return Split(*split.take(slice(n)))


def heads(params, split, model) -> list:
    """The cache of each layer's heads, with whole maps: A, gate ..."""
    _, cache = model_forward(split.inputs, params, replace(model, impl="plain"), split.keep)
    return [block.attention.head for block in cache.blocks]


def clean_and_corrupted(params, model, data) -> dict:
    """What a model does with the first test input, clean and corrupted.

    returns {"clean", or the corruption: (a Split of one row, the head's cache of each layer)}
    """
    one, (kind, level) = first_rows(data.test, 1), NOISE[model.task]
    both = {"clean": one, f"{kind} {level}": one.corrupted(kind, level, np.random.default_rng(0))}
    return {how: (split, heads(params, split, model)) for how, split in both.items()}


def gate_of(head):
    """The gate of each token and head (B, H, T); None where there is none.

    For a lambda it is g = 1 / (1 + lambda), which weighs the two maps in the same ratio. So a gate
    on inhibition alone, which is a lambda, gives a g above 1/2 that compares with a gate on both.
    """
    if getattr(head, "lam", None) is not None:
        return np.broadcast_to(1 / (1 + head.lam), head.A.shape[:3])
    return getattr(head, "gate", None)


def similarity(params, split, model) -> list:
    """The mean cosine between two tokens of an input, before each block and behind the last.

    Attention averages tokens, so it makes them alike; where all are, depth brings nothing more.
    """
    _, cache = model_forward(split.inputs, params, model, split.keep)
    kept = np.ones((len(split.inputs), model.n_tokens)) if split.keep is None else split.keep.astype(float)
    n, found = kept.sum(axis=1), []
    for norm in (*(block.norm1 for block in cache.blocks), cache.norm):
        lengths = np.sqrt((norm.n**2).sum(axis=-1, keepdims=True))
        u = norm.n * kept[..., None] / np.maximum(lengths, 1e-30)
        pairs = (u.sum(axis=1) ** 2).sum(axis=-1) - (u**2).sum(axis=(1, 2))  # sum over i != j of u_i . u_j
        found.append((pairs / np.maximum(n * (n - 1), 1)).mean())
    return found


# ------------------------------------------------------------------------- does the gate see noise?


def gates_and_noise(params, split, model) -> list | None:
    """Per layer, the gates of clean and of corrupted tokens in the same inputs; None without gates.

    mean, std, saturated : per head, over tokens of clean inputs; a negative lambda has a g above 1
                           or below 0
    histogram            : [clean inputs, corrupted tokens], parts of all, in BINS bins
    auc                  : per head, the chance that of a corrupted and a clean token the corrupted
                           one has the higher gate; 1/2 is blind
    """
    clean_heads = heads(params, split, model)
    if gate_of(clean_heads[0]) is None:
        return None
    mixed, hit = half_corrupted(split, model)
    kept = np.ones(hit.shape, bool) if split.keep is None else split.keep
    pairs = zip(clean_heads, heads(params, split._replace(inputs=mixed), model), strict=True)
    return [_gates(*(gate_of(head).swapaxes(1, 2) for head in pair), kept, hit) for pair in pairs]


def _gates(clean, mixed, kept, hit):
    from sklearn.metrics import roc_auc_score

    clean, mixed = np.nan_to_num(clean), np.nan_to_num(mixed)  # lambda = -1 has no g
    g, bad, good = clean[kept], mixed[kept & hit], mixed[kept & ~hit]  # (tokens, H)
    label = np.repeat([1, 0], [len(bad), len(good)])
    both = np.concatenate([bad, good])
    return {
        "mean": g.mean(axis=0),
        "std": g.std(axis=0),
        "saturated": ((g < SATURATED) | (g > 1 - SATURATED)).mean(axis=0),
        "histogram": [np.histogram(x.clip(0, 1), BINS, (0, 1))[0] / x.size for x in (g, bad)],
        "auc": [roc_auc_score(label, column) for column in both.T],
    }


def half_corrupted(split, model) -> tuple:
    """Inputs of which some tokens are corrupted, and where: half of all patches, or some words."""
    rng, (kind, level) = np.random.default_rng(0), NOISE[model.task]
    damaged = corrupt(split.inputs, kind, level, rng)
    if model.task == "text":
        return damaged, damaged != split.inputs
    n, P = model.image_size // model.patch_size, model.patch_size
    hit = rng.permuted(np.tile(np.arange(n * n) < n * n // 2, (len(damaged), 1)), axis=1)
    patches = (len(hit), n, P, n, P, -1)
    mixed = np.where(hit.reshape(-1, n, 1, n, 1, 1), damaged.reshape(patches), split.inputs.reshape(patches))
    return mixed.reshape(damaged.shape), hit


def rounded(tree):
    """Numbers as JSON has them, to six significant digits."""
    text = json.dumps(tree, default=lambda array: array.tolist())
    return json.loads(text, parse_float=lambda digits: float(f"{float(digits):.6g}"))
