"""Other people's layouts both ways, and conform on layers of NumPy: what it says."""

import numpy as np
import pytest
from support.tiers import most_later

from dgsa_np.attention import KINDS, AttentionConfig, attention_backward, attention_forward, init_attention
from dgsa_np.peers import (
    LAYOUTS,
    LayoutError,
    Report,
    conform,
    from_peer,
    gradients_from_peer,
    gradients_to_peer,
    to_peer,
)
from dgsa_np.peers.conform import _cases
from dgsa_np.peers.slips import SLIPS, slipped

C, H = 32, 4
SWITCHES = {
    "dgsa": [{}, {"gate": "head"}, {"gate_on": "inhibition"}, {"head_norm": False}, {"rotary": True}],
    "diff_v1": [{}, {"head_norm": False}, {"rotary": True}, {"lambda_init": 0.3, "eps": 1e-3}],
}
SETTINGS = [(kind, switches) for kind in KINDS for switches in SWITCHES.get(kind, [{}, {"rotary": True}])]
LINEAR = [("linear", kind, switches, H) for kind, switches in SETTINGS]
GROUPED = [(like, None, {}, G) for like in ("unilm_v1", "unilm_v2", "hf_diffllama") for G in (1, 2, H)]
ALL = [*LINEAR, *GROUPED, ("timm", None, {}, H)]
layouts = pytest.mark.parametrize("like, kind, switches, G", ALL, ids=[f"{a[0]} {a[1]} {a[2]} {a[3]}" for a in ALL])


def config(like, kind, switches, n_heads=H, width=C):
    layout = LAYOUTS[like]
    kind = kind or next(iter(layout.rows))
    return AttentionConfig(kind=kind, width=width, n_heads=n_heads, **layout.settings | switches)


def peers_weights(like, kind, switches, G, numbers):
    """Weights in a layout, with numbers(n) in them."""
    cfg = config(like, kind, switches)
    p = {name: np.ones_like(a) for name, a in init_attention(cfg, np.random.default_rng(0), "float64").items()}
    return {name: numbers(a.size).reshape(a.shape) for name, a in to_peer(p, cfg, like, G).items()}, cfg


def normal(seed=0):
    return np.random.default_rng(seed).standard_normal


# ---------------------------------------------------------------------------------- there and back


@layouts
def test_there_and_back_is_exact(like, kind, switches, G):
    weights, cfg = peers_weights(like, kind, switches, G, normal())
    p, found = from_peer(weights, like, kind, n_heads=H, **switches)
    assert found == cfg
    again = to_peer(p, cfg, like, G)
    assert again.keys() == weights.keys()
    assert all(np.array_equal(again[name], a) for name, a in weights.items())


@layouts
def test_each_number_of_theirs_is_used(like, kind, switches, G):
    n = iter(range(10**6))
    weights, _ = peers_weights(like, kind, switches, G, lambda size: np.array([next(n) for _ in range(size)], float))
    p, _ = from_peer(weights, like, kind, n_heads=H, **switches)
    taken = np.concatenate([a.ravel() for name, a in p.items() if LAYOUTS[like].rows[_.kind][name].theirs])
    assert set(taken) == set(map(float, range(next(n))))


@layouts
def test_gradients_go_over_by_the_adjoint_of_the_way_of_the_weights(like, kind, switches, G):
    weights, cfg = peers_weights(like, kind, switches, G, normal(1))
    p, _ = from_peer(weights, like, kind, n_heads=H, **switches)
    draw = normal(2)
    grads = {name: draw(a.shape) for name, a in p.items()}
    theirs = gradients_to_peer(grads, cfg, like, G)
    assert {n: a.shape for n, a in theirs.items()} == {n: a.shape for n, a in weights.items()}
    rows = LAYOUTS[like].rows[cfg.kind]
    ours = sum((grads[name] * a).sum() for name, a in p.items() if rows[name].theirs)
    assert ours == pytest.approx(sum((theirs[name] * a).sum() for name, a in weights.items()), rel=1e-12)
    if G == H:
        back = gradients_from_peer(theirs, cfg, like)
        assert all(np.array_equal(a, grads[name]) for name, a in back.items())
        assert set(grads) - set(back) == {name for name in grads if not rows[name].theirs}


# ------------------------------------------------- by hand, from the sentences on the public code

d = C // H // 2


def unilm_v1(w, i, j):
    return {
        "W_q_exc": [w["q_proj.weight"][2 * i * d + n] for n in range(d)],
        "W_q_inh": [w["q_proj.weight"][(2 * i + 1) * d + n] for n in range(d)],
        "W_k_exc": [w["k_proj.weight"][2 * j * d + n] for n in range(d)],
        "W_k_inh": [w["k_proj.weight"][(2 * j + 1) * d + n] for n in range(d)],
        "W_v": [w["v_proj.weight"][j * 2 * d + n] for n in range(2 * d)],
    }


def hf_diffllama(w, i, j):
    order = [0, d // 2, 1, d // 2 + 1]  # for d = 4
    G = len(w["k_proj.weight"]) // d // 2
    return {
        "W_q_exc": [w["q_proj.weight"][i * d + n] for n in order],
        "W_q_inh": [w["q_proj.weight"][(i + H) * d + n] for n in order],
        "W_k_exc": [w["k_proj.weight"][j * d + n] for n in order],
        "W_k_inh": [w["k_proj.weight"][(j + G) * d + n] for n in order],
        "W_v": [w["v_proj.weight"][head * d + n] for head in (j, j + G) for n in range(d)],
    }


def unilm_v2(w, i, j):
    return {
        "W_q_exc": [w["q_proj.weight"][2 * i * 2 * d + n] for n in range(2 * d)],
        "W_q_inh": [w["q_proj.weight"][(2 * i + 1) * 2 * d + n] for n in range(2 * d)],
        "W_k": [w["k_proj.weight"][j * 2 * d + n] for n in range(2 * d)],
        "W_v": [w["v_proj.weight"][j * 2 * d + n] for n in range(2 * d)],
    }


def timm(w, i, j):
    parts = {f"{letter}_proj.weight": w["qkv.weight"][n * C : (n + 1) * C] for n, letter in enumerate("qkv")}
    return unilm_v1(parts, i, j)


BY_HAND = {"unilm_v1": unilm_v1, "hf_diffllama": hf_diffllama, "unilm_v2": unilm_v2, "timm": timm}
OUTPUT = {"unilm_v1": "out_proj.weight", "timm": "proj.weight"}
LAMBDAS = {"lambda_q_exc": "lambda_q1", "lambda_k_exc": "lambda_k1"} | {
    "lambda_q_inh": "lambda_q2",
    "lambda_k_inh": "lambda_k2",
}
SIMPLE = {
    "unilm_v1": LAMBDAS | {"w_norm": "subln.weight"},
    "timm": LAMBDAS | {"w_norm": "sub_norm.weight"},
    "hf_diffllama": LAMBDAS,
    "unilm_v2": {},
}


@pytest.mark.parametrize("like, G", [(a[0], a[3]) for a in [*GROUPED, ALL[-1]]])
def test_columns_of_each_head_by_hand(like, G):
    assert d == 4
    weights, _ = peers_weights(like, None, {}, G, normal(3))
    p, _ = from_peer(weights, like)
    for i in range(H):
        for name, rows in BY_HAND[like](weights, i, i // (H // G)).items():
            n = len(rows)
            assert np.array_equal(p[name][:, i * n : (i + 1) * n].T, rows), (name, i)
    assert np.array_equal(p["W_o"], weights[OUTPUT.get(like, "o_proj.weight")].T)
    for ours, theirs in SIMPLE[like].items():
        assert np.array_equal(p[ours], weights[theirs])
    if like == "unilm_v2":
        assert np.array_equal(p["W_lambda"], weights["lambda_proj.weight"].T)
    if like == "hf_diffllama":
        assert np.array_equal(p["w_norm"], np.ones(2 * d))


def test_linear_layers_by_hand():
    weights, _ = peers_weights("linear", "dgsa", {}, H, normal(4))
    p, _ = from_peer(weights, "linear", "dgsa")
    for name in ("q_exc", "k_exc", "q_inh", "k_inh", "v", "o", "gate"):
        assert np.array_equal(p[f"W_{name}"], weights[f"{name}_proj.weight"].T)
    assert np.array_equal(p["b_gate"], weights["gate_proj.bias"])
    assert np.array_equal(p["w_norm"], weights["head_norm.weight"])


# ------------------------------------------------------------------------------- what is refused


V1 = peers_weights("unilm_v1", None, {}, 2, normal(5))[0]
V2 = peers_weights("linear", "diff_v2", {}, H, normal(6))[0]
SOFTMAX = peers_weights("linear", "softmax", {}, H, normal(6))[0]


def but(weights, **changes):
    return weights | {name.replace("__", "."): a for name, a in changes.items()}


def without(weights, name):
    return {n: a for n, a in weights.items() if n != name}


MODEL = {f"layers.3.attn.{name}": a for name, a in V1.items()} | {"layers.3.steps": np.arange(3)}
EARLIER = {name.replace("3", "2"): a for name, a in MODEL.items()}
TURNED = {name: a.T for name, a in peers_weights("linear", "dgsa", {}, H, normal())[0].items()}
REFUSED = [
    (lambda: from_peer(V1, "unilm"), ValueError, "like is 'unilm'", "did you mean 'unilm_v"),
    (lambda: from_peer(V1, None), ValueError, "like is None", "expected one of"),
    (lambda: from_peer(V2, "linear"), LayoutError, "kind is None", "expected one of softmax"),
    (lambda: from_peer(V2, "linear", "diff_v3"), ValueError, "kind is 'diff_v3'", "diff_v2"),
    (lambda: from_peer(V1, "unilm_v1", "dgsa"), ValueError, "kind is 'dgsa'", "diff_v1"),
    (lambda: from_peer(without(V1, "q_proj.weight"), "unilm_v1"), LayoutError, "lack q_proj.weight", "they have"),
    (lambda: from_peer({}, "unilm_v1"), LayoutError, "lack q_proj.weight", "they have none"),
    (lambda: from_peer(list(V1.values()), "unilm_v1"), TypeError, "weights is list", "a dict"),
    (lambda: from_peer(None, "unilm_v1"), TypeError, "weights is NoneType", "a dict"),
    (lambda: from_peer(MODEL, "unilm_v1"), LayoutError, "lack q_proj.weight", "prefix='layers.3.attn.'"),
    (lambda: from_peer(MODEL, "unilm_v1", prefix="layers.4.attn."), LayoutError, "layers.4.attn.q_proj.weight", "3"),
    (lambda: from_peer(MODEL | EARLIER, "unilm_v1", prefix="layers.3."), LayoutError, "lack", "='layers.3.attn.'?"),
    (lambda: from_peer(TURNED, "linear", "dgsa"), LayoutError, "are (out, in)", "expected a multiple"),
    (lambda: from_peer(but(V1, q_proj__weight="text"), "unilm_v1"), TypeError, "q_proj.weight is str", "array of real"),
    (lambda: from_peer(but(V1, q_proj__weight=None), "unilm_v1"), TypeError, "q_proj.weight is None", "array of real"),
    (lambda: from_peer(but(V1, lambda_q1=np.arange(4)), "unilm_v1"), TypeError, "lambda_q1", "int"),
    (lambda: from_peer(but(V1, lambda_q1=1j * np.ones(4)), "unilm_v1"), TypeError, "lambda_q1", "complex"),
    (lambda: from_peer(but(V1, lambda_q1=np.ones(5)), "unilm_v1"), ValueError, "width is 32", "expected a multiple"),
    (lambda: from_peer(but(V1, lambda_q2=np.ones(5)), "unilm_v1"), LayoutError, "lambda_q2 is (5,)", "expected (4,)"),
    (
        lambda: from_peer(but(V1, k_proj__weight=np.ones((17, C))), "unilm_v1"),
        LayoutError,
        "k_proj.weight is (17,",
        "(",
    ),
    (
        lambda: from_peer(but(V1, v_proj__weight=np.ones((1, 16, C))), "unilm_v1"),
        LayoutError,
        "v_proj.weight",
        "2 axes",
    ),
    (
        lambda: from_peer(but(V1, q_proj__weight=np.ones(C)), "unilm_v1"),
        LayoutError,
        "q_proj.weight is (32,)",
        "2 axes",
    ),
    (lambda: from_peer({n: a[:0] for n, a in V1.items()}, "unilm_v1"), ValueError, "is 0", "at least 1"),
    (lambda: from_peer(V1, "unilm_v1", n_heads=3), ValueError, "width is 32", "multiple of"),
    (lambda: from_peer(V1, "unilm_v1", n_heads=8), LayoutError, "n_heads 8", "expected (2,)"),
    (lambda: from_peer(V1, "unilm_v1", n_heads=0), ValueError, "n_heads is 0", "at least 1"),
    (lambda: from_peer(V1, "unilm_v1", n_heads="4"), ValueError, "n_heads is '4'", "whole number"),
    (lambda: from_peer(SOFTMAX, "linear", "softmax"), LayoutError, "n_heads is None", "pass n_heads="),
    (lambda: from_peer(V2, "linear", "diff_v2", rotary="yes"), ValueError, "rotary is 'yes'", "expected"),
    (lambda: from_peer(V2, "linear", "diff_v2", rotery=True), TypeError, "rotery", "argument"),
    (lambda: to_peer(from_peer(V1, "unilm_v1")[0], config("timm", None, {}), "times"), ValueError, "'times'", "timm"),
    (lambda: to_peer(*from_peer(V1, "unilm_v1"), "unilm_v1", 3), LayoutError, "groups is 3", "a divisor of n_heads"),
    (lambda: to_peer(*from_peer(V1, "unilm_v1"), "unilm_v1", 0), ValueError, "groups is 0", "at least 1"),
    (lambda: to_peer(*from_peer(V1, "unilm_v1"), "unilm_v1", 1), LayoutError, "W_k_exc has no place", "groups=1"),
    (lambda: to_peer(*from_peer(V1, "unilm_v1"), "hf_diffllama"), LayoutError, "w_norm", "expected 1 everywhere"),
    (lambda: to_peer(*from_peer(V2, "linear", "diff_v2"), "timm"), ValueError, "kind is 'diff_v2'", "diff_v1"),
    (lambda: to_peer({}, config("timm", None, {}), "timm"), ValueError, "to_peer: the parameters", "lack W_q_exc"),
    (lambda: to_peer(from_peer(V1, "unilm_v1")[0], "cfg", "timm"), TypeError, "cfg is str", "AttentionConfig"),
    (lambda: gradients_to_peer({}, config("timm", None, {}), "timm"), ValueError, "grads lack", "W_q_exc"),
    (
        lambda: gradients_from_peer({}, config("timm", None, {}), "timm"),
        LayoutError,
        "lack qkv.weight",
        "they have none",
    ),
    (
        lambda: gradients_from_peer(V1, config("unilm_v1", None, {}), "unilm_v1"),
        LayoutError,
        "k_proj.weight",
        "grouped",
    ),
]


@pytest.mark.parametrize("call, error, what, expected", REFUSED, ids=[row[2] for row in REFUSED])
def test_weights_that_do_not_fit_are_refused_by_name(call, error, what, expected):
    with pytest.raises(error) as raised:
        call()
    assert what in str(raised.value) and expected in str(raised.value)


class Detached:
    """What a tensor does that is on another device, and takes part in a graph."""

    def __init__(self, a, steps=()):
        self.a, self.steps = a, steps

    def detach(self):
        return Detached(self.a, (*self.steps, "detach"))

    def cpu(self):
        assert "detach" in self.steps
        return Detached(self.a, (*self.steps, "cpu"))

    def __array__(self, *args, **keywords):
        assert self.steps == ("detach", "cpu")
        return self.a


class OnlyDlpack:
    def __init__(self, a):
        self.a = a

    def __dlpack__(self, **how):
        return self.a.__dlpack__(**how)

    def __dlpack_device__(self):
        return self.a.__dlpack_device__()


class OnDevice:
    """As an array of CuPy."""

    def __init__(self, a):
        self.dtype, self.get = a.dtype, lambda: a


@pytest.mark.parametrize("wrap", [Detached, OnlyDlpack, OnDevice, np.ndarray.tolist])
def test_arrays_of_others_are_read(wrap):
    p, cfg = from_peer({name: wrap(a) for name, a in V1.items()}, "unilm_v1")
    right, _ = from_peer(V1, "unilm_v1")
    assert cfg.n_heads == H and all(np.array_equal(p[name], a) for name, a in right.items())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes_stay(dtype):
    hf, _ = peers_weights("hf_diffllama", None, {}, 2, normal())
    p, _ = from_peer({name: a.astype(dtype) for name, a in hf.items()}, "hf_diffllama")
    assert {a.dtype.name for a in p.values()} == {dtype}


def test_a_whole_model_has_a_prefix():
    p, _ = from_peer(MODEL, "unilm_v1", prefix="layers.3.attn.")
    assert np.array_equal(p["W_o"], V1["out_proj.weight"].T)


# ---------------------------------------------------------------------- conform, on layers of NumPy

WIDTH, HEADS = 24, 3  # d = 4 or 8; B = 2, T = 5, 6 or 7


def layer(kind, seed=0, **switches):
    """A pair (forward, backward) in the linear layout, and what conform needs to know of it."""
    cfg = AttentionConfig(kind=kind, width=WIDTH, n_heads=HEADS, **switches)

    def forward(x, weights, mask):
        p, _ = from_peer(weights, "linear", kind, HEADS, **switches)
        return attention_forward(x, p, cfg, mask=mask)

    def backward(dy, cache):
        dx, grads = attention_backward(dy, cache)
        return dx, gradients_to_peer(grads, cfg, "linear")

    p = init_attention(cfg, np.random.default_rng(seed), "float64")
    how = {"kind": kind, "n_heads": HEADS, "weights": to_peer(p, cfg, "linear"), **switches}
    return (forward, backward), how, cfg


def spoilt(kind, *slips, depth=0, **switches):
    """A forward with mistakes in it, and what conform needs to know of it."""
    _, how, cfg = layer(kind, **switches)

    def forward(x, weights, mask):
        p, _ = from_peer(weights, "linear", kind, HEADS, **switches)
        return slipped(x, p, cfg, mask, depth, *slips)

    return forward, how | {"layer": depth}


@pytest.mark.parametrize("kind, switches", SETTINGS)
def test_ours_conforms(kind, switches):
    yours, how, _ = layer(kind, **switches)
    report = conform(yours, **how)
    assert report.ok and str(report).endswith("It conforms."), report
    assert set(report.errors) == {"y", "dx", *how["weights"]}
    assert all(set(errors) == {"none", "causal", "padding"} for errors in report.errors.values())
    assert not report.mistakes


@pytest.mark.parametrize("seed", most_later(range(10), now=[0]))
@pytest.mark.parametrize("kind", ["dgsa", "diff_v1"])
def test_no_seed_gives_a_false_alarm_or_a_false_pass(kind, seed):
    yours, how, _ = layer(kind, seed)
    assert conform(yours, **how, seed=seed).ok
    report = conform(in_single(yours), **how, seed=seed)
    assert report.ok and "y is float32, though x is float64" in report.notes, report
    strict = conform(in_single(yours), **how, seed=seed, precision="float64")
    assert not strict.ok and "single precision" in strict.mistakes[0]
    forward, how = spoilt(kind, named("the inhibitory map is added"))
    for precision in (None, "float32"):
        assert not conform(forward, **how, seed=seed, precision=precision).ok


def in_single(pair):
    forward, backward = pair
    low = lambda tree: {n: a.astype("float32") for n, a in tree.items()}  # noqa: E731
    return (
        lambda x, w, mask: forward(x.astype("float32"), low(w), mask),
        lambda dy, cache: backward(dy.astype("float32"), cache),
    )


def named(text):
    """The first mistake whose sentence has this text."""
    return next(slip for slip in SLIPS if text in slip.message)


@pytest.mark.parametrize("n", most_later(range(len(SLIPS)), now=range(0, len(SLIPS), 12)))
@pytest.mark.parametrize("kind, switches", [("dgsa", {}), ("dgsa", {"rotary": True}), *SETTINGS[:1]])
def test_a_mistake_that_changes_the_output_is_named_and_no_other_is_reported(kind, switches, n):
    name_one(kind, switches, SLIPS[n], depth=0)


@pytest.mark.parametrize("depth", most_later([2, 0], now=[], torture=[0]))
@pytest.mark.parametrize("slip", SLIPS, ids=[slip.message for slip in SLIPS])
def test_every_mistake_is_named_in_every_kind(slip, depth):
    changed = [name_one(kind, switches, slip, depth) for kind, switches in SETTINGS]
    assert any(changed), "no kind can make this mistake: nothing is tested"


def name_one(kind, switches, slip, depth):
    """Does this mistake change the output? Then it must be named; if not, all must be right."""
    forward, how = spoilt(kind, slip, depth=depth, **switches)
    right, _ = spoilt(kind, depth=depth, **switches)
    rng = np.random.default_rng(1)
    weights = {name: rng.standard_normal(a.shape) for name, a in how["weights"].items()}
    judged = list(_cases(WIDTH, rng))[:3]
    with np.errstate(all="ignore"):
        pairs = [(forward(c.x, weights, c.mask), right(c.x, weights, c.mask)) for c in judged]
        report = conform(forward, **how)
    changed = not all(np.allclose(a, b, rtol=0, atol=1e-10) for a, b in pairs)
    assert report.ok == (not changed)
    assert not changed or slip.message in report.mistakes, report
    return changed


PAIRS = [
    ("dgsa", {"rotary": True}, "half-split, not", "the inhibitory map is added"),
    ("dgsa", {"gate": "head"}, "as True = hidden", "the bias of the gate"),
    ("diff_v1", {}, "not divided by sqrt(d)", "the next layer"),
    ("diff_v1", {}, "read as pairs", "the factor 1 - lambda_init behind the norm"),
    ("diff_v2", {}, "moved behind the tokens", "W_v is transposed"),
    ("twicing", {}, "each query sees the next key", "W_o is transposed"),
]


@pytest.mark.parametrize("kind, switches, one, other", most_later(PAIRS, now=[]))
def test_two_mistakes_at_once_are_named(kind, switches, one, other):
    slips = named(one), named(other)
    forward, how = spoilt(kind, *slips, depth=3, **switches)
    report = conform(forward, **how)
    assert not report.ok and len(report.mistakes) == 1
    assert all(slip.message in report.mistakes[0] for slip in slips), report


def with_backward(change, kind="dgsa", **switches):
    """conform of ours, whose gradients are changed: change(dx, grads) -> dx, grads."""
    (forward, backward), how, _ = layer(kind, **switches)
    return conform((forward, lambda dy, cache: change(*backward(dy, cache))), **how)


def one(name, change):
    return lambda dx, grads: (dx, grads | {name: change(grads[name])})


WRONG_GRADIENTS = [
    (one("v_proj.weight", lambda g: 2 * g), "v_proj.weight", "it is counted twice"),
    (one("q_exc_proj.weight", lambda g: 2 * g), "q_exc_proj.weight", "1/sqrt(d) is missing"),
    (one("k_inh_proj.weight", lambda g: -g), "k_inh_proj.weight", "the sign is wrong"),
    (one("o_proj.weight", lambda g: g.T), "o_proj.weight", "transposed"),
    (one("gate_proj.bias", lambda g: 0 * g), "gate_proj.bias", "this path is cut"),
    (one("gate_proj.bias", lambda g: g[:-1]), "gate_proj.bias", "the gradient is (2,), expected (3,)"),
    (one("gate_proj.bias", lambda g: g + np.nan), "gate_proj.bias", "nan or inf"),
    (one("head_norm.weight", lambda g: g + 1e-9), "head_norm.weight", "right to 1e-06"),
    (lambda dx, grads: (dx, without(grads, "k_exc_proj.weight")), "k_exc_proj.weight", "no gradient of it is given"),
    (lambda dx, grads: (dx, {"k_exc": 0 * dx}), "k_exc_proj.weight", "no gradient of it is given"),
    (lambda dx, grads: (0.5 * dx, grads), "dx", "half of it is missing"),
    (lambda dx, grads: (dx.astype("float32"), grads), "dx", "its precision is at fault"),
    (
        lambda dx, grads: (dx, grads | {"q_exc_proj.weight": grads["q_inh_proj.weight"]}),
        "q_exc_proj.weight",
        "this is the gradient of q_inh_proj.weight",
    ),
]


@pytest.mark.parametrize("change, name, says", WRONG_GRADIENTS, ids=[row[2] for row in WRONG_GRADIENTS])
def test_a_wrong_gradient_beside_right_outputs_is_named(change, name, says):
    report = with_backward(change)
    assert not report.ok and not report.verdicts["y"] and not report.mistakes
    assert says in report.verdicts[name] and f"WRONG: {report.verdicts[name]}" in str(report), report
    others = {n for n, verdict in report.verdicts.items() if verdict and n != name}
    assert not others or says == "no gradient of it is given"


def test_a_gradient_that_is_wrong_in_one_case_is_diagnosed_there():
    (forward, backward), how, _ = layer("dgsa")

    def sometimes(dy, cache):
        dx, grads = backward(dy, cache)
        return (-dx if dy.shape[1] == 5 else dx), grads  # without a mask

    report = conform((forward, sometimes), **how)
    assert "the sign is wrong" in report.verdicts["dx"]
    assert report.errors["dx"]["none"] == pytest.approx(2) and report.errors["dx"]["padding"] < 1e-12


def changed(function):
    """What a forward may do to its arguments."""

    def forward(x, weights, mask):
        function(x, weights, mask)
        return layer("dgsa")[0][0](x, weights, mask)[0]

    return forward


def raises(x, weights, mask):
    if mask is not None:
        raise RuntimeError("no kernel for masks")
    return layer("dgsa")[0][0](x, weights, mask)[0]


ours = layer("dgsa")[0][0]
ODD = [
    (lambda x, w, mask: ours(x, w, mask)[0] * np.nan, "nan or inf", "none of the mistakes that are known"),
    (lambda x, w, mask: ours(x, w, mask)[0][:, :-1], "y is (2, 4, 24), expected (2, 5, 24)", "as x"),
    (lambda x, w, mask: ours(x, w, mask)[0].sum(), "y is ()", "expected (2, 5, 24)"),
    (lambda x, w, mask: ours(x, w, mask)[0].astype("float16"), "y is float16, though x is float64", "y "),
    (lambda x, w, mask: ours(x, w, mask)[0] * 1j, "y is ndarray of complex128", "expected an array of real"),
    (lambda x, w, mask: (100 * ours(x, w, mask)[0]).astype(int), "y is ndarray of int64", "expected an array of real"),
    (lambda x, w, mask: None, "y is NoneType", "expected an array of real numbers"),
    (lambda x, w, mask: "text", "y is str", "expected an array of real numbers"),
    (lambda x, w, mask: w["wo"], "KeyError: 'wo'", "test_peers.py, line"),
    (lambda weights, x: x @ weights["wo"], "it is called as forward(x, weights, mask)", "not arrays of JAX"),
    (raises, "case causal", "RuntimeError: no kernel for masks"),
    (changed(lambda x, w, mask: np.negative(x, out=x)), "case none", "it changes its argument x"),
    (changed(lambda x, w, mask: w["o_proj.weight"].fill(1)), "changes its argument o_proj.weight", "case padding"),
    (changed(lambda x, w, mask: mask is not None and mask.fill(True)), "changes its argument mask", "case causal"),
    ((ours, lambda dy, cache: None), "TypeError", "case none"),
    ((lambda x, w, mask: ours(x, w, mask)[0][:1, :1], lambda dy, cache: dy), "ValueError", "case none"),
]


@pytest.mark.parametrize(
    "yours, what, more", most_later(ODD, now=[row for row in ODD if "nan" not in row[1] and "float16" not in row[1]])
)
def test_what_yours_does_wrong_is_a_verdict_and_no_traceback(yours, what, more):
    report = conform(yours, **layer("dgsa")[1])
    assert not report.ok and str(report).endswith("It does not conform.")
    assert what in str(report) and more in str(report), report


def test_a_pair_may_give_more_than_is_judged():
    """A forward alone may return a tuple, and a backward other names besides."""
    (forward, backward), how, _ = layer("dgsa")
    assert conform(forward, **how).ok  # y, cache

    def more(dy, cache):
        dx, grads = backward(dy, cache)
        return dx, grads | {"temperature": np.ones(3)}

    assert conform((forward, more), **how).ok


def test_names_of_yours_and_parameters_besides():
    (forward, backward), how, _ = layer("dgsa")
    theirs = {name: f"my.{name[::-1]}" for name in how["weights"]}
    mine = {real: name for name, real in theirs.items()}
    seen = {}

    def renamed(x, weights, mask):
        seen.update(weights)
        return forward(x, {mine[real]: a for real, a in weights.items() if real in mine}, mask)

    def back(dy, cache):
        dx, grads = backward(dy, cache)
        return dx, {theirs[name]: a for name, a in grads.items()}

    given = {theirs[name]: a for name, a in how["weights"].items()} | {"o.bias": np.ones(2), "tau": np.full(2, 7.0)}
    report = conform((renamed, back), **how | {"weights": given, "names": theirs})
    assert report.ok, report
    assert not seen["o.bias"].any() and (seen["tau"] == 7).all()
    assert any("o.bias is set to 0" in note for note in report.notes)
    assert any("tau is left as it is" in note for note in report.notes)


@pytest.mark.parametrize(
    "changes, error, says",
    [
        ({"like": "liner"}, ValueError, "did you mean 'linear'"),
        ({"kind": None}, LayoutError, "kind is None"),
        ({"kind": "dsga"}, ValueError, "did you mean 'dgsa'"),
        ({"precision": "half"}, ValueError, "precision is 'half', expected one of None, 'float32', 'float64'"),
        ({"weights": None}, LayoutError, "weights is NoneType"),
        ({"weights": {}}, LayoutError, "weights is empty"),
        ({"weights": [np.ones(3)]}, LayoutError, "weights is list"),
        ({"weights": {"q": np.ones(3)}}, LayoutError, "lack q_exc_proj.weight"),
        ({"weights": {"q": np.ones(3)}}, LayoutError, "they have q; conform takes names= for other names"),
        ({"weights": {"q": "text"}}, TypeError, "q is str"),
        ({"yours": None}, TypeError, "yours is NoneType"),
        ({"yours": (1, 2)}, TypeError, "yours is tuple"),
        ({"yours": (ours, ours, ours)}, TypeError, "yours is tuple"),
        ({"yours": Report}, TypeError, "yours is the class Report"),
        ({"call": ours}, TypeError, "call is given, but yours is a function"),
        ({"n_heads": 5}, ValueError, "n_heads = 10"),
        ({"names": {"o_proj.weight": "wo"}}, LayoutError, "names has 'wo', expected one of yours: q_exc_proj.weight"),
        ({"layer": -1}, ValueError, "layer is -1"),
        ({"rotery": True}, TypeError, "rotery"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(changes, error, says):
    yours, how, _ = layer("dgsa")
    with pytest.raises(error) as raised:
        conform(**{"yours": yours} | how | changes)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    "switches, asked, says",
    [
        ({}, {"head_norm": False}, "head_norm=True"),
        ({}, {"gate": "head"}, "gate='token'"),
        ({}, {"gate_on": "inhibition"}, "gate_on='both'"),
        ({"gate_on": "inhibition"}, {"gate_on": "both"}, "gate_on='inhibition'"),
        ({"gate_on": "inhibition", "rotary": True}, {"gate_on": "both"}, "gate_on='inhibition'"),
    ],
)
def test_a_setting_that_should_be_another_is_said(switches, asked, says):
    (forward, _), how, _ = layer("dgsa", **switches)
    how["weights"] = {name: a + 0.1 * normal()(a.shape) for name, a in how["weights"].items()}  # W_gate starts at 0
    report = conform(forward, **how | asked)
    assert report.mistakes == [f"another setting: with {says} all outputs are right"], report


@pytest.mark.parametrize("times", [-1, *(pytest.param(x, marks=pytest.mark.slow) for x in (0.3, 7))])
def test_an_output_that_is_a_multiple_of_the_right_one_is_said(times):
    (forward, _), how, _ = layer("softmax")
    report = conform(lambda x, w, mask: times * forward(x, w, mask)[0], **how)
    assert report.mistakes == [f"y is about {times} times what it should be, everywhere"], report
    report = conform(lambda x, w, mask: times * forward(x, w, mask)[0] * (mask is None), **how)
    assert "none of the mistakes" in report.mistakes[0], report


def test_another_depth_than_the_module_has_is_said(monkeypatch):
    (forward, _), how, _ = layer("diff_v1")
    how["weights"], _ = peers_weights("timm", None, {}, H, normal())
    monkeypatch.setattr("dgsa_np.peers.callers.Caller.read", lambda *_: {"lambda_init": 0.8 - 0.6 * np.exp(-0.6)})
    says = [conform(forward, "timm", weights=how["weights"], layer=n).notes for n in (3, 2, None)]
    assert "lambda_init is 0.4707 in the module, and 0.5561 in layer 3: layers count from 0" in says[0]
    assert not any("count from 0" in note for notes in says[1:] for note in notes)


@pytest.mark.parametrize("none, wrong, shown", [(1e-6, "", "3e-04  right"), (1e-5, "off", "9e-06  WRONG: off")])
def test_the_allowed_error_that_is_shown_agrees_with_the_verdict(none, wrong, shown):
    """Of the largest error, or of the one furthest above it: each case has its own."""
    report = Report("", {"y": {"none": none, "causal": 2e-5}}, {"y": {"none": 9e-6, "causal": 3e-4}}, {"y": wrong})
    assert f"{none:9.1e}   2.0e-05   {shown}" in str(report)


def test_where_nothing_is_judged_nothing_is_right():
    report = Report("nothing")
    assert not report.ok and str(report).endswith("It does not conform.")


def test_a_query_without_a_key_is_shown_and_not_judged():
    (forward, _), how, _ = layer("dgsa")

    def loud(x, weights, mask):
        if mask is not None and not mask.any(axis=-1).all():
            raise ValueError("no key")
        return forward(x, weights, mask)

    report = conform(loud, **how)
    assert report.ok and any("without any key gives ValueError: no key" in note for note in report.notes)
    seen = lambda mask: mask is None or mask[:, 0].any(axis=-1, keepdims=True)  # noqa: E731
    report = conform(lambda x, w, mask: np.where(seen(mask), forward(x, w, mask)[0], np.nan), **how)
    assert report.ok and any("gives nan, here 0" in note for note in report.notes)
