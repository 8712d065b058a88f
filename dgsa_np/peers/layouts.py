"""How others lay out the weights of the same mechanisms, and the way there and back.

A layout is a table: for each parameter of ours the name of theirs and how its axes go over. Every
row is a mere rearrangement, so the row is applied to the places 0, 1, 2 .. of their numbers, and
the places say all: ours are theirs taken from there, the gradient of theirs is that of ours put
back there and added up where a number serves more than once.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import NamedTuple

import numpy as np

from .. import check, shapes
from ..attention import KINDS, AttentionConfig
from ..attention.multihead import attention_specs
from ..check import parameters
from ..shapes import takes


class LayoutError(ValueError):
    """Weights do not have the names or shapes of a layout, or cannot be brought into it."""


class Row(NamedTuple):
    """Where one parameter of ours comes from.

    theirs  : the name of theirs; None: they have none, and it is 1 everywhere
    axes    : their axes -> ours. (H d) is one axis, H runs of d; branch=0 takes the first entry; an
              axis that stands on the right alone repeats what is there
    """

    theirs: str | None
    axes: str


class Layout(NamedTuple):
    """The weights of one module of one library.

    rows     : {kind: {parameter of ours: Row}}
    settings : of AttentionConfig, that the library has decided
    read     : {setting or "lambda_init": attribute of the module that holds it}
    single   : does it cast to float32 inside, whatever it is given?
    source   : which code is meant
    """

    rows: dict
    settings: dict
    read: dict
    single: bool
    source: str


# H heads, d columns of a query, e of a value, G heads of keys and values, each repeated r times;
# C the width; pair = d / 2. Their weight of a linear layer is (out, in), ours (in, out).
LAMBDAS = {
    f"lambda_{side}_{branch}": Row(f"lambda_{side}{i}", "d -> d")
    for i, branch in ((1, "exc"), (2, "inh"))
    for side in "qk"
}


def _linear(kind):
    """Layers torch.nn.Linear called as our parameters: q_exc_proj.weight is W_q_exc."""
    rows = {}
    for gate in ("token", "head"):
        for name, spec in attention_specs(AttentionConfig(kind=kind, gate=gate)).items():
            ours = spec.axes.replace("C C", "C E")  # E = C
            theirs = {"b_gate": "gate_proj.bias", "w_norm": "head_norm.weight"}.get(name, name)
            theirs = f"{name[2:]}_proj.weight" if name.startswith("W_") else theirs
            rows[name] = Row(theirs, f"{' '.join(ours.split()[::-1])} -> {ours}")
    return rows


LAYOUTS = {
    "linear": Layout(
        {kind: _linear(kind) for kind in KINDS},
        {},
        {},
        False,
        "a module of your own, of torch.nn.Linear layers without bias that are called as our parameters",
    ),
    "unilm_v1": Layout(
        {
            "diff_v1": {
                "W_q_exc": Row("q_proj.weight", "(H branch=0 d) C -> C (H d)"),
                "W_k_exc": Row("k_proj.weight", "(G branch=0 d) C -> C (G r d)"),
                "W_q_inh": Row("q_proj.weight", "(H branch=1 d) C -> C (H d)"),
                "W_k_inh": Row("k_proj.weight", "(G branch=1 d) C -> C (G r d)"),
                "W_v": Row("v_proj.weight", "(G e) C -> C (G r e)"),
                "W_o": Row("out_proj.weight", "C E -> E C"),
                **LAMBDAS,
                "w_norm": Row("subln.weight", "e -> e"),
            }
        },
        {"rotary": True},
        {"eps": "subln.eps", "lambda_init": "lambda_init"},
        True,
        "microsoft/unilm, Diff-Transformer, MultiheadDiffAttn",
    ),
    "unilm_v2": Layout(
        {
            "diff_v2": {
                "W_q_exc": Row("q_proj.weight", "(H branch=0 d) C -> C (H d)"),
                "W_q_inh": Row("q_proj.weight", "(H branch=1 d) C -> C (H d)"),
                "W_k": Row("k_proj.weight", "(G d) C -> C (G r d)"),
                "W_v": Row("v_proj.weight", "(G d) C -> C (G r d)"),
                "W_o": Row("o_proj.weight", "C E -> E C"),
                "W_lambda": Row("lambda_proj.weight", "H C -> C H"),
            }
        },
        {"rotary": True},
        {},
        False,
        "microsoft/unilm, Diff-Transformer V2",
    ),
    "hf_diffllama": Layout(
        {
            "diff_v1": {
                "W_q_exc": Row("q_proj.weight", "(branch=0 H half pair) C -> C (H pair half)"),
                "W_k_exc": Row("k_proj.weight", "(branch=0 G half pair) C -> C (G r pair half)"),
                "W_q_inh": Row("q_proj.weight", "(branch=1 H half pair) C -> C (H pair half)"),
                "W_k_inh": Row("k_proj.weight", "(branch=1 G half pair) C -> C (G r pair half)"),
                "W_v": Row("v_proj.weight", "(half G d) C -> C (G r half d)"),
                "W_o": Row("o_proj.weight", "C E -> E C"),
                **LAMBDAS,
                "w_norm": Row(None, "e -> e"),
            }
        },
        {"rotary": True},
        {"eps": "groupnorm.eps", "lambda_init": "lambda_init"},
        True,
        "Hugging Face transformers, DiffLlamaAttention",
    ),
    "timm": Layout(
        {
            "diff_v1": {
                "W_q_exc": Row("qkv.weight", "(part=0 H branch=0 d) C -> C (H d)"),
                "W_k_exc": Row("qkv.weight", "(part=1 H branch=0 d) C -> C (H d)"),
                "W_q_inh": Row("qkv.weight", "(part=0 H branch=1 d) C -> C (H d)"),
                "W_k_inh": Row("qkv.weight", "(part=1 H branch=1 d) C -> C (H d)"),
                "W_v": Row("qkv.weight", "(part=2 H e) C -> C (H e)"),
                "W_o": Row("proj.weight", "C E -> E C"),
                **LAMBDAS,
                "w_norm": Row("sub_norm.weight", "e -> e"),
            }
        },
        {},
        {"eps": "sub_norm.eps", "lambda_init": "lambda_init"},
        True,
        "timm, DiffAttention",
    ),
}


# --------------------------------------------------------------------------------- there and back


def from_peer(weights, like, kind=None, n_heads=None, prefix="", **settings) -> tuple[dict, AttentionConfig]:
    """Our parameters, and the configuration that goes with them.

    weights  : {name: array}, a state_dict of PyTorch, or of anything that NumPy can read
    like     : a name of LAYOUTS
    kind     : of ours, where the layout has several
    n_heads  : where no weight tells it
    prefix   : what stands before the names: "model.layers.0.self_attn."
    settings : of AttentionConfig, such as head_norm=False
    raises   LayoutError, with the names or shapes that do not fit
    """
    layout, kind = _layout(like, kind)
    cfg = AttentionConfig(kind=kind, width=4, n_heads=1, **layout.settings | settings)  # width and heads: see below
    rows = _rows(like, cfg)
    given = _given("from_peer", weights, [row.theirs for row in rows.values() if row.theirs], prefix)
    sizes = _solve(rows, given, n_heads)
    if "H" not in sizes:
        raise LayoutError(f"from_peer: n_heads is None, and no weight of {like!r}, {kind} tells it; pass n_heads=")
    try:
        cfg = replace(cfg, width=sizes["C"], n_heads=sizes["H"])
    except ValueError as error:
        raise LayoutError(f"from_peer: the weights of {like!r} are (out, in); {error}") from None
    places, shapes_of = _places(like, cfg, sizes.get("G"))
    _fit("from_peer", given, shapes_of, f"{like!r} with width {cfg.width} and n_heads {cfg.n_heads}")
    dtype = next(iter(given.values())).dtype
    taken = {
        ours: given[theirs].ravel()[at] if theirs else np.ones(at.shape, dtype) for ours, (theirs, at) in places.items()
    }
    return taken, cfg


def groups_of(weights, like, cfg) -> int:
    """Heads of keys and values (of one branch) that their weights have: H, or a divisor of it."""
    return _solve(_rows(like, cfg), weights, cfg.n_heads).get("G", cfg.n_heads)


@takes(cfg=AttentionConfig, p=parameters(attention_specs))
def to_peer(p, cfg, like, groups=None) -> dict:
    """Their weights {name: array} from our parameters.

    groups : heads of keys and values (of one branch); None: as many as queries
    raises   LayoutError where ours cannot be said in their layout
    """
    places, shapes_of = _places(like, cfg, groups)
    weights = {name: np.zeros(shape, p["W_o"].dtype) for name, shape in shapes_of.items()}
    for ours, (theirs, at) in places.items():
        if theirs:
            weights[theirs].ravel()[at] = p[ours]
        back = weights[theirs].ravel()[at] if theirs else np.ones(at.shape)
        if not np.array_equal(back, p[ours], equal_nan=True):
            why = f"groups={groups}: heads that share keys and values differ" if theirs else "expected 1 everywhere"
            raise LayoutError(f"to_peer: {ours} has no place in {like!r}; {why}")
    return weights


@takes(cfg=AttentionConfig, grads=parameters(attention_specs))
def gradients_to_peer(grads, cfg, like, groups=None) -> dict:
    """The gradients of their weights from those of ours: what serves several heads adds up."""
    places, shapes_of = _places(like, cfg, groups)
    found = {name: np.zeros(shape, grads["W_o"].dtype) for name, shape in shapes_of.items()}
    for ours, (theirs, at) in places.items():
        if theirs:
            np.add.at(found[theirs].ravel(), at, grads[ours])
    return found


@takes(cfg=AttentionConfig)
def gradients_from_peer(grads, cfg, like) -> dict:
    """The gradients of our parameters from those of their weights, but of a gain they lack.

    A sum over heads that share keys and values cannot be taken apart, so there must be none.
    """
    places, shapes_of = _places(like, cfg, None)
    given = _given("gradients_from_peer", grads, shapes_of)
    _fit("gradients_from_peer", given, shapes_of, f"{like!r} without grouped heads")
    return {ours: given[theirs].ravel()[at] for ours, (theirs, at) in places.items() if theirs}


def as_numpy(a, name) -> np.ndarray:
    """An array of any library that knows DLPack or __array__, on the host."""
    for step in ("detach", "cpu"):
        a = getattr(a, step)() if hasattr(a, step) else a
    a = a.get() if hasattr(a, "get") and hasattr(a, "dtype") else a  # CuPy
    if str(getattr(a, "dtype", "")).endswith("bfloat16"):  # which NumPy does not know; float32 holds it exactly
        a = a.float() if hasattr(a, "float") else a.astype("float32")
    array = np.from_dlpack(a) if hasattr(a, "__dlpack__") and not hasattr(a, "__array__") else np.asarray(a)
    if array.dtype.kind != "f":
        raise TypeError(f"peers: {name} is {type(a).__name__} of {array.dtype}, expected an array of real numbers")
    return array


# ----------------------------------------------------------------------------- how a table is read


def _layout(like, kind):
    check.one_of("peers", "like", like, LAYOUTS)
    kinds = list(LAYOUTS[like].rows)
    if kind is None and len(kinds) > 1:
        raise LayoutError(f"peers: kind is None, and like={like!r} has several; expected one of {', '.join(kinds)}")
    kind = kinds[0] if kind is None else kind
    check.one_of("peers", "kind", kind, kinds)
    return LAYOUTS[like], kind


def _rows(like, cfg):
    """The rows of a layout that a configuration needs."""
    return {name: LAYOUTS[like].rows[cfg.kind][name] for name in attention_specs(cfg)}


def _given(function, weights, names, prefix=""):
    """{name: array} of those names; an error says which are missing, and what there is."""
    if not isinstance(weights, Mapping):
        raise TypeError(f"{function}: weights is {type(weights).__name__}, expected a dict of arrays")
    missing = [name for name in dict.fromkeys(names) if prefix + name not in weights]
    if missing:
        ends = sorted({n.removesuffix(missing[0]) for n in map(str, weights) if n.endswith(missing[0])})
        hint = f"; prefix={max(ends, key=lambda end: sum(map(str.__eq__, end, prefix)))!r}?" if ends else ""
        hint = hint or check.nearest(prefix + missing[0], weights) or "; conform takes names= for other names"
        known = ", ".join([*map(str, weights)][:12]) + (", .." if len(weights) > 12 else "")
        lack = ", ".join(prefix + name for name in missing)
        raise LayoutError(f"{function}: weights lack {lack}; they have {known or 'none'}{hint}")
    return {name: as_numpy(weights[prefix + name], name) for name in names}


def _fit(function, given, shapes_of, why):
    for name, shape in shapes_of.items():
        if given[name].shape != shape:
            raise LayoutError(f"{function}: {name} is {given[name].shape}, expected {shape} by {why}")


def _groups(text):
    """ "(H branch=0 d) C" -> [["H", "branch=0", "d"], ["C"]]"""
    return [part.strip("()").split() for part in re.findall(r"\([^)]*\)|\S+", text)]


CONSTANT = {"branch": 2, "half": 2, "part": 3}


def _length(names, sizes):
    return prod(sizes[name.partition("=")[0]] for name in names)


def _solve(rows, weights, n_heads):
    """The sizes of all letters, from the shapes of their weights."""
    if n_heads is not None:
        shapes.whole("peers", n_heads=n_heads)
    sizes = CONSTANT | ({} if n_heads is None else {"H": n_heads})
    for _ in rows:
        for theirs, axes in (row for row in rows.values() if row.theirs):
            left, shape = _groups(axes.split("->")[0]), weights[theirs].shape
            if len(left) != len(shape):
                raise LayoutError(f"peers: {theirs} is {shape}, expected {len(left)} axes")
            for names, n in zip(left, shape, strict=True):
                unknown = [name for name in names if name.partition("=")[0] not in sizes]
                if len(unknown) == 1:
                    known = _length([name for name in names if name not in unknown], sizes)
                    sizes[unknown[0]] = n // max(known, 1)
        if "d" in sizes:
            sizes.setdefault("pair", sizes["d"] // 2)
    return sizes


def _places(like, cfg, groups):
    """{ours: (theirs, the places of its numbers there)}, and {theirs: shape}."""
    _layout(like, cfg.kind)
    H, d, C = cfg.n_heads, cfg.sizes["d"], cfg.width
    G = H if groups is None else groups
    shapes.whole("peers", groups=G)
    if H % G:
        raise LayoutError(f"peers: groups is {G}, expected a divisor of n_heads = {H}")
    sizes = CONSTANT | cfg.sizes | {"G": G, "r": H // G, "pair": d // 2, "e": C // H, "E": C}
    places, shapes_of = {}, {}
    for ours, (theirs, axes) in _rows(like, cfg).items():
        left, right = map(_groups, axes.split("->"))
        shape = tuple(_length(names, sizes) for names in left)
        places[ours] = theirs, _rearranged(np.arange(prod(shape)), left, right, sizes)
        if theirs:
            shapes_of[theirs] = shape
    return places, shapes_of


def _rearranged(a, left, right, sizes):
    """a, whose axes are those of left, as those of right."""
    names = [name for group in left for name in group]
    a = a.reshape([_length([name], sizes) for name in names])
    a = a[tuple(int(name.partition("=")[2]) if "=" in name else slice(None) for name in names)]
    names = [name for name in names if "=" not in name]
    wanted = [name for group in right for name in group]
    new = [name for name in wanted if name not in names]
    a = np.broadcast_to(a, [sizes[name] for name in new] + list(a.shape))
    a = a.transpose([(new + names).index(name) for name in wanted])
    return a.reshape([_length(group, sizes) for group in right])
