"""Every forward of the package against oracles.py, its formula in loops over numbers, to 1e-13 of
the largest entry.

A gradient check cannot see a forward and a backward that are wrong together. This can, and it names
the formula.
"""

import ast
import inspect
import re
from dataclasses import asdict
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import oracles
from support.problems import powers_of_two

import dgsa_np
from dgsa_np import attention, layers, losses, model, ops
from dgsa_np.attention import (
    AttentionConfig,
    attention_map,
    differential,
    differential_v2,
    gated,
    multihead,
    output_gate,
    softmax,
)
from dgsa_np.attention.mechanisms import MECHANISMS, ON_INHIBITION
from dgsa_np.lab.cases import all_cases, random_params
from dgsa_np.model import ModelConfig, init_model, loss_and_grads

TOLERANCE = 1e-13
VACUOUS = 1e-6  # a reference below this would agree with almost anything
ROOT = Path(__file__).parents[2]
FORMULAS = (ROOT / "docs/equations.md").read_text(encoding="utf-8")

kinds = pytest.mark.parametrize("kind", attention.KINDS)


# ----------------------------------------------------------------------------------- the comparison


def compare(got, want, zero=False, what="it"):
    """Equal shapes, numbers equal to 1e-13 of the largest, exact zeros where the reference has
    them.

    zero : the whole reference is 0, which otherwise would prove nothing
    """
    got, want = np.asarray(got), np.asarray(want, "float64")
    assert got.shape == want.shape, f"{what} has the shape {got.shape}, expected {want.shape}"
    assert got.dtype == "float64", f"{what} is {got.dtype}"
    size = abs(want).max()
    if zero:
        assert size == 0, f"the reference of {what} should vanish, but holds {size}"
    else:
        assert VACUOUS < size < np.inf, f"the reference of {what} has the size {size}: nothing is tested"
    assert not got[want == 0].any(), f"{what} is not 0 where the reference is"
    error = abs(got - want).max() / (size or 1)
    if not (error <= TOLERANCE):  # written so that nan fails, too
        pytest.fail(f"{what} is off by {error:.1e} of the largest entry")


def plain(value):
    """Arrays as nested lists, a configuration as its switches alone,
    with nothing derived from them.
    """
    if isinstance(value, AttentionConfig):
        return SimpleNamespace(**asdict(value))
    if isinstance(value, dict):
        return {name: plain(a) for name, a in value.items()}
    if isinstance(value, list | tuple):
        return [plain(a) for a in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def oracle(forward):
    """The function of oracles.py with the name of the pair."""
    name = forward.__name__.removeprefix("tiled_").removesuffix("_forward")
    assert hasattr(oracles, name), f"write {name}, in loops over numbers, into tests/support/oracles.py"
    return getattr(oracles, name)


def expected(forward, *args, **options):
    given = inspect.signature(forward).bind(*args, **options).arguments
    if "lam" in given:  # of any shape that broadcasts
        given["lam"] = np.broadcast_to(given["lam"], given["q_exc"].shape[:3])
    return oracle(forward)(**{name: plain(a) for name, a in given.items()})


def check(forward, *args, zero=False, seed=0, **options):
    got, want = forward(*args, **options)[0], expected(forward, *args, **options)
    compare(got, want, zero, f"{forward.__name__}, seed {seed},")


@pytest.mark.parametrize("got, want", [
    (np.ones(3) + 1e-12, np.ones(3)),  # a difference
    (np.array([1.0, np.nan]), np.ones(2)),
    (np.ones(2), np.array([1.0, np.nan])),
    (np.array([np.inf, 1.0]), np.array([np.inf, 1.0])),
    (np.ones((1, 3)), np.ones(3)),  # would broadcast
    (np.ones(()), np.ones(1)),
    (np.ones(3, "float32"), np.ones(3)),
    (np.array([1.0, 1e-300]), np.array([1.0, 0.0])),  # not exactly 0
    (np.full(3, 1e-9), np.full(3, 1e-9)),  # vacuous
    (np.zeros(3), np.zeros(3)),  # vacuous, and not announced
])  # fmt: skip
def test_the_comparison_fails(got, want):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        compare(got, want)


@pytest.mark.parametrize("got, want", [(1e-300, 0.0), (np.nan, 0.0), (0.0, 1e-300)])
def test_the_comparison_fails_where_zero_is_announced(got, want):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        compare(np.full(3, got), np.full(3, want), zero=True)


# ------------------------------------------------------------------------------------ the catalogue

NAMES = [str(case) for case in all_cases()]
drawn = cache(lambda seed: {str(case): case for case in all_cases(seed)})
CONTROLS = [row.control for row in (*MECHANISMS.values(), *ON_INHIBITION.values()) if row.control]
OUTSIDE = {control.forward.__name__ for control in CONTROLS}  # checked below, and through attention


@pytest.mark.parametrize("name", NAMES)
def test_a_case_of_the_catalogue_is_what_its_formula_says(name):
    for seed in range(3):
        case = drawn(seed)[name]
        check(case.forward, *case.args, seed=seed)


def forwards():
    """The names of all forwards that the package defines."""
    for path in Path(dgsa_np.__file__).parent.rglob("*.py"):
        yield from re.findall(r"^def ([a-z]\w*_forward)\(", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_forward_and_every_case_has_an_oracle():
    catalogue = {case.forward.__name__: case.forward for case in all_cases()}
    assert set(forwards()) == catalogue.keys() | OUTSIDE and not catalogue.keys() & OUTSIDE
    assert {name for name, forward in catalogue.items() if not callable(oracle(forward))} == set()


def test_every_formula_of_a_forward_has_an_oracle_that_names_it():
    rows = re.findall(r"^\| `(eq:[\w-]+)` \|.*\| `[\w.]+\.(\w+)` \|", FORMULAS, re.MULTILINE)
    wanted = {label for label, function in rows if function.endswith("_forward") or function == "depth_schedule"}
    named = set(re.findall(r"\[(eq:[\w-]+)\]", Path(oracles.__file__).read_text(encoding="utf-8")))
    lacking = sorted(wanted - named)
    assert not lacking, f"write an oracle that names {', '.join(lacking)} into tests/support/oracles.py"
    assert len(wanted) > 25 and named == wanted


def test_the_oracles_are_short_and_know_neither_numpy_nor_the_package():
    tree = ast.parse(Path(oracles.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {getattr(node, "module", None) for node in imports} == {"functools", "math"}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            lines = [line for part in node.body[1:] for line in ast.unparse(part).splitlines()]
            assert ast.get_docstring(node) and len(lines) <= 15, node.name


# --------------------------------------------------------------------------------------- operations


def op_arguments(rng):
    """(forward, *arguments): all axes of different sizes, one token, large and small numbers."""
    normal = rng.standard_normal
    xs = normal((2, 3, 4, 5)), normal((1, 5)), normal(5), 30 * normal((3, 5))
    for x in xs:
        yield ops.linear_forward, x, normal((5, 7)), normal(7)
        yield ops.linear_forward, x, normal((5, 1))
        yield ops.silu_forward, x
        yield ops.gelu_forward, x
        yield ops.swiglu_forward, x, normal((5, 7)), normal((5, 7)), normal((7, 5))
        yield model.gelu_mlp_forward, x, normal((5, 7)), normal((7, 5))
        for eps in (0.0, 1e-5, 0.3):
            yield ops.rmsnorm_forward, 0.1 * x, normal(5), eps
            yield ops.layernorm_forward, 0.1 * x, normal(5), normal(5), eps
    yield ops.silu_forward, np.array([-1e4, -800.0, -40.0, 0.0, 40.0, 800.0, 1e4])
    yield ops.gelu_forward, np.array([-1e4, -50.0, -5.0, 0.0, 5.0, 50.0, 1e4])
    yield ops.embedding_forward, rng.integers(0, 7, (2, 5)), normal((7, 3))
    yield ops.embedding_forward, rng.integers(0, 7, (3, 1)), normal((7, 4))
    yield ops.rotary_forward, normal((2, 3, 4, 6)), [0, 1, 7, 300]
    yield ops.rotary_forward, normal((3, 2, 1, 4)), [5]
    for o in (normal((2, 3, 4, 7)), normal((2, 3, 1, 5))):
        for lambda_init, eps in product((0.0, 0.2, 0.8), (0.0, 1e-5, 0.3)):
            yield multihead.head_norm_forward, o, normal(o.shape[-1]), lambda_init, eps


def test_operations_are_what_loops_over_numbers_say():
    for seed in range(20):
        for forward, *args in op_arguments(np.random.default_rng(seed)):
            check(forward, *args, seed=seed)


@pytest.mark.parametrize("shape", [(6,), (5, 1), (4, 6), (2, 3, 4, 6)], ids=str)
@pytest.mark.parametrize("size", [1, 30, 1e4])
def test_softmax_is_what_loops_over_numbers_say(shape, size):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores, mask = size * rng.standard_normal(shape), rng.random(shape) < 0.7
        mask[..., 0] = True
        masks = [None, mask]
        if len(shape) > 1:
            rows_masked = mask.copy()
            rows_masked[-1] = False
            masks += [rows_masked, mask[:1]]  # the last is one for all
        for allowed in masks:
            check(ops.softmax_forward, scores, allowed, seed=seed)
        check(ops.softmax_forward, scores, np.zeros_like(mask), zero=True, seed=seed)


@pytest.mark.parametrize("size", [1, 1e4])
def test_cross_entropy_is_what_loops_over_numbers_say(size):
    for seed, shape in product(range(20), [(), (6,), (1, 4), (2, 3, 4)]):
        rng = np.random.default_rng(seed)
        logits, targets = size * rng.standard_normal((*shape, 5)), rng.integers(0, 5, shape)
        targets.flat[0] = logits.reshape(-1, 5)[0].argmin()  # else the loss of extreme logits may be 0
        check(losses.cross_entropy_forward, logits, targets, seed=seed)
        if shape:
            keep = rng.random(shape) < 0.6
            keep.flat[:2] = True, False
            check(losses.cross_entropy_forward, logits, targets, keep, seed=seed)
            check(losses.cross_entropy_forward, logits, targets, np.ones(shape, bool), seed=seed)


# -------------------------------------------------------------------------------------------- heads

AXES = {"q": "BHTD", "k": "BHSD", "v": "BHSE", "w": "BHT"}  # w weighs: lam, gate or z_gate
HEADS = {softmax.softmax_map_forward: "qk"} | {
    row.head.forward: "".join(name[0] for name in row.projections) + "w" * (row.control is not None)
    for row in MECHANISMS.values()
}
SQUARE = [row.head.forward for row in MECHANISMS.values() if not row.decodes]  # as many keys as queries
MASKS = ("none", "causal", "padding", "causal and padding", "per head", "rows masked", "all masked")
over_heads = pytest.mark.parametrize("head", HEADS, ids=lambda head: head.__name__)
over_masks = pytest.mark.parametrize("mask", MASKS)


def make_mask(name, B, H, T, S, rng):
    """By the loops of oracles.py.
    In "rows masked" the last query of the first batch entry sees nothing.
    """
    keep = rng.random((B, S)) < 0.7
    keep[:, 0], keep[0, 1:2] = True, False
    causal, padding = np.array(oracles.causal_mask(T, S)), np.array(oracles.padding_mask(keep.tolist()))
    per_head, rows = rng.random((1, H, 1, S)) < 0.7, rng.random((B, H, T, S)) < 0.7
    per_head[..., 0] = rows[..., 0] = True
    rows[0, :, -1] = False
    masks = {"none": None, "causal": causal, "padding": padding, "causal and padding": causal & padding}
    return (masks | {"per head": per_head, "rows masked": rows, "all masked": np.zeros((1, 1, 1, S), bool)})[name]


def head_arguments(head, rng, T, S, B=2, H=3, D=5, E=7):
    S = T if head in SQUARE else S
    sizes = {"B": B, "H": H, "T": T, "S": S, "D": D, "E": E}
    return [rng.standard_normal([sizes[letter] for letter in AXES[name]]) for name in HEADS[head]]


def mask_of(arrays, head, name, rng):
    return make_mask(name, *arrays[0].shape[:3], arrays[HEADS[head].index("k")].shape[2], rng)


@over_masks
@over_heads
@pytest.mark.parametrize("T, S, n_seeds", [(4, 6, 20), (6, 4, 3), (1, 6, 3), (4, 1, 3), (1, 1, 3)])
def test_a_head_is_what_loops_over_numbers_say(head, mask, T, S, n_seeds):
    """More and fewer keys than queries, one of them, and one alone."""
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        arrays = head_arguments(head, rng, T, S)
        check(head, *arrays, mask_of(arrays, head, mask, rng), zero=mask == "all masked", seed=seed)


def extreme(arrays, head, rng):
    """Scores near 1e4 and -1e4, a few apart.
    They are halves of whole numbers, so that no sum is rounded.
    """
    for name, a in zip(HEADS[head], arrays, strict=True):
        if name in "qk":
            a[:] = rng.integers(-2, 3, a.shape)
            a[..., 0] = rng.choice([-1, 1], a.shape[:-1]) * (2e4 if name == "q" else 1)
        if name == "w":
            a[:] = powers_of_two(a)
    return arrays


@over_masks
@over_heads
def test_a_head_with_extreme_scores(head, mask):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        arrays = extreme(head_arguments(head, rng, T=5, S=6, D=4), head, rng)
        scores = arrays[0] @ arrays[HEADS[head].index("k")].swapaxes(-1, -2) / 2
        assert scores.max() > 9990 and scores.min() < -9990
        check(head, *arrays, mask_of(arrays, head, mask, rng), zero=mask == "all masked", seed=seed)


def test_lambda_may_be_a_number_or_have_fewer_axes():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        *arrays, v, _ = head_arguments(attention.differential_head_forward, rng, T=4, S=6)
        for lam in (0.3, *(rng.standard_normal(shape) for shape in ((), (4,), (3, 1), (2, 1, 4)))):
            check(attention.differential_head_forward, *arrays, v, lam, seed=seed)


@over_masks
@over_heads
def test_what_a_cache_shows_is_what_its_names_say(head, mask):
    """The fused map is what the head gives for values that are unit vectors."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        arrays, zero = head_arguments(head, rng, T=4, S=6), mask == "all masked"
        allowed = mask_of(arrays, head, mask, rng)
        given = dict(zip(inspect.signature(head).parameters, arrays, strict=False))
        _, cache = head(*arrays, mask=allowed)
        if "v" in given:
            n = given["v"].shape[2]
            units = np.broadcast_to(np.eye(n), (2, 3, n, n))
            compare(attention_map(cache), expected(head, **(given | {"v": units, "mask": allowed})), zero)
        for branch in ("exc", "inh"):
            if f"q_{branch}" in given:
                q, k = given[f"q_{branch}"], given.get(f"k_{branch}", given.get("k"))
                compare(getattr(cache, f"A_{branch}"), expected(softmax.softmax_map_forward, q, k, allowed), zero)
        if "z_gate" in given:
            z_gate = given["z_gate"].tolist()
            compare(cache.gate, oracles.each(oracles.sigmoid, z_gate))
            compare(cache.one_minus_gate, oracles.each(lambda z: oracles.sigmoid(-z), z_gate))


# ----------------------------------------------------------------- masks, lambda, gates, one by one


@pytest.mark.parametrize("T, S", [(4, 6), (6, 4), (5, 5), (1, 3), (3, 1)])
def test_masks_are_what_loops_say(T, S):
    keep = np.random.default_rng(T).random((2, S)) < 0.5
    for got, want in (
        (attention.causal_mask(T, S), oracles.causal_mask(T, S)),
        (attention.causal_mask(T), oracles.causal_mask(T, T)),
        (attention.padding_mask(keep), oracles.padding_mask(keep.tolist())),
    ):
        assert got.dtype == bool and got.shape == np.shape(want) and np.array_equal(got, want)


def test_what_weighs_the_maps_is_what_loops_over_numbers_say():
    for seed in range(20):
        normal = np.random.default_rng(seed).standard_normal
        x, W, b, scale = normal((2, 4, 6)), normal((6, 3)), normal(3), 10.0 ** (seed % 4)
        head, token = (AttentionConfig(width=6, n_heads=3, gate=gate) for gate in ("head", "token"))
        for control in (gated.gate_logits_forward, gated.gate_lambda_forward):
            compare(control(x, {"W_gate": W, "b_gate": b}, token)[0], oracle(control)(*plain([x, b, W])))
            compare(control(x, {"b_gate": b}, head)[0], oracle(control)(*plain([x, b])))
        whole = np.round(x * scale)  # products that are exact, so that large logits are, too
        for control, name in (
            (output_gate.token_gate_forward, "W_gate"),
            (differential_v2.token_lambda_forward, "W_lambda"),
        ):
            compare(control(x, {name: W}, token)[0], oracles.token_gate(x.tolist(), W.tolist()))
            want = oracles.token_gate(whole.tolist(), np.round(W).tolist())
            compare(control(whole, {name: np.round(W)}, token)[0], want)
        vectors = {f"lambda_{part}_{branch}": normal(5) for branch in ("exc", "inh") for part in "qk"}
        lam, _ = differential.lambda_forward(x, vectors, SimpleNamespace(lambda_init=0.2))
        compare(lam, oracles.learned_lambda(*plain(list(vectors.values())), 0.2))
        compare(np.array(differential.depth_schedule(seed)), oracles.depth_schedule(seed))


# ----------------------------------------------------------------------------- multi-head attention


def switches(kind):
    """Every combination of the switches that a kind has, with one eps or another."""
    options = {"rotary": (False, True)}
    if MECHANISMS[kind].lambda_init:
        options |= {"head_norm": (True, False), "lambda_init": (None, 0.5)}
    if kind == "dgsa":
        options |= {"gate": ("token", "head"), "gate_on": ("both", "inhibition")}
    combinations = [dict(zip(options, values, strict=True)) for values in product(*options.values())]
    return [chosen | {"eps": 0.3 if i % 3 else 1e-5} for i, chosen in enumerate(combinations)]


def layer(kind, rng, C=16, H=2, **chosen):
    """B = 3, H = 2, T = 5, C = 16, so that d is 4 or 8 and e is 8; no parameter left at 0 or 1."""
    cfg = AttentionConfig(kind=kind, width=C, n_heads=H, **chosen)
    return rng.standard_normal((3, 5, C)), random_params(multihead.init_attention(cfg, rng, "float64"), rng), cfg


@kinds
@over_masks
def test_attention_with_every_switch_is_what_loops_over_numbers_say(kind, mask):
    for seed, chosen in enumerate(switches(kind)):
        rng = np.random.default_rng(seed)
        x, p, cfg = layer(kind, rng, **chosen)
        allowed = make_mask(mask, 3, 2, 5, 5, rng)
        check(multihead.attention_forward, x, p, cfg, allowed, layer=seed % 4, zero=mask == "all masked", seed=seed)


@kinds
def test_the_heads_that_a_cache_shows_are_what_loops_over_numbers_say(kind):
    """Their positions count from 0, which no output shows: it depends on distances alone."""
    for rotary in (False, True):
        x, p, cfg = layer(kind, np.random.default_rng(0), rotary=rotary)
        _, cache = multihead.attention_forward(x, p, cfg)
        assert [f"W_{name}" for name in cache.heads] == [name for name in p if name[:3] in ("W_q", "W_k", "W_v")]
        for name, got in cache.heads.items():
            want = oracles.project(*plain([x, p[f"W_{name}"]]), 2)
            compare(got, oracles.rotary(want, range(5)) if rotary and name != "v" else want, what=name)


@kinds
def test_attention_of_one_token_and_of_one_head(kind):
    for seed in range(5):
        x, p, cfg = layer(kind, np.random.default_rng(seed), rotary=seed % 2 == 0)
        check(multihead.attention_forward, x[:, :1], p, cfg)
        check(multihead.attention_forward, *layer(kind, np.random.default_rng(seed), C=8, H=1))


@kinds
@over_masks
def test_attention_with_extreme_scores(kind, mask):
    """Whole numbers and d = 4: scores up to 1e4 and beyond are exact."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, p, cfg = layer(kind, rng, C=16, H=4 // MECHANISMS[kind].split)
        x = np.round(2 * x)
        p = p | {name: np.round(45 * p[name]) for name in p if name[:3] in ("W_q", "W_k")}
        q, k = (x @ next(a for name, a in p.items() if name.startswith(start)) for start in ("W_q", "W_k"))
        assert cfg.sizes["d"] == 4 and abs(q[..., :4] @ k[..., :4].swapaxes(-1, -2)).max() / 2 > 1e4
        allowed = make_mask(mask, 3, cfg.n_heads, 5, 5, rng)
        check(multihead.attention_forward, x, p, cfg, allowed, zero=mask == "all masked", seed=seed)


# ---------------------------------------------------------------------------------------- the model


def whole_model(seed, kind, task, ffn="swiglu", **chosen):
    """inputs, params, cfg, keep: three inputs of nine patches or six tokens."""
    rng = np.random.default_rng(seed)
    sizes = {"width": 16, "n_heads": 2, "depth": 2, "ffn": ffn, "ffn_width": 5, "n_out": 7, "vocab_size": 11}
    cfg = ModelConfig(kind=kind, task=task, image_size=6, patch_size=2, max_len=8, **sizes, **chosen)
    shape, T = ((3, 6, 6, cfg.channels), 9) if task == "vision" else ((3, 6), 6)
    inputs = rng.random(shape) if task == "vision" else rng.integers(0, 11, shape)
    keep = rng.random((3, T)) < 0.6
    keep[0, 0], keep[0, 1] = True, False
    return inputs, random_params(init_model(cfg, rng, "float64"), rng), cfg, keep


def test_the_front_ends_and_the_mean_are_what_loops_over_numbers_say():
    for seed in range(3):
        for channels in (1, 4):
            images, params, cfg, _ = whole_model(seed, "softmax", "vision", channels=channels)
            check(model.patch_embed_forward, images, params["embed"], cfg)
            compare(layers.patches(images, cfg), oracles.patches(images.tolist(), 2))
            if channels == 1:
                check(model.patch_embed_forward, images[..., 0], params["embed"], cfg)
        tokens, params, cfg, keep = whole_model(seed, "softmax", "text")
        for start in (0, 2):
            check(model.token_embed_forward, tokens, params["embed"], cfg, start)
        x = np.random.default_rng(seed).standard_normal((3, 6, 4))
        keep[1], keep[2] = False, True
        for kept in (None, keep, keep[:, ::-1]):
            check(model.mean_pool_forward, x, kept)
        check(model.mean_pool_forward, x, np.zeros_like(keep), zero=True)
        check(model.mean_pool_forward, x[:, :1], keep[:, :1])


@kinds
def test_a_block_is_what_loops_over_numbers_say(kind):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        for ffn, mask in product(("swiglu", "gelu"), ("none", "rows masked")):
            _, params, cfg, _ = whole_model(seed, kind, "text", ffn, eps=1e-2)
            x = rng.standard_normal((3, 5, 16))
            check(model.block_forward, x, params["blocks"][1], cfg, make_mask(mask, 3, 2, 5, 5, rng), layer=1)


@kinds
@pytest.mark.parametrize("task", ["vision", "text", "lm"])
@pytest.mark.parametrize("ffn", ["swiglu", "gelu"])
def test_a_model_is_what_loops_over_numbers_say(kind, task, ffn):
    rotary = ffn == "gelu"
    inputs, params, cfg, keep = whole_model(0, kind, task, ffn, rotary=rotary, eps=1e-2)
    check(model.model_forward, inputs, params, cfg, keep)
    inputs, params, cfg, keep = whole_model(1, kind, task, ffn, rotary=not rotary)
    keep[1] = False  # an input without a token
    check(model.model_forward, inputs, params, cfg, keep)


@kinds
@pytest.mark.parametrize("task", ["vision", "text", "lm"])
def test_the_loss_of_a_model_is_what_loops_over_numbers_say(kind, task):
    inputs, params, cfg, keep = whole_model(2, kind, task)
    targets = np.random.default_rng(0).integers(0, 7, keep.shape if task == "lm" else 3)
    loss, _ = loss_and_grads(params, inputs, targets, cfg, keep)
    logits = oracles.model(*(plain(a) for a in (inputs, params, cfg, keep)))
    compare(loss, oracles.cross_entropy(logits, targets.tolist(), keep.tolist() if task == "lm" else None))
