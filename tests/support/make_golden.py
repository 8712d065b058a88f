"""The cases of the parity tests, and what PyTorch says about them: one file per case in
tests/support/golden.

    python tests/support/make_golden.py            draw, compute with torch, write what differs
    python tests/support/make_golden.py --check    draw and compute again; status 1 for a difference
    python tests/support/make_golden.py --single   write single_precision.json: float32 in torch

Nothing here imports dgsa_np, and only evaluate() needs torch: the files can be read without it. A
file holds two records, inputs (x, p.W_q ..., mask) and results (out, grad.x, grad.p.W_q ...), the
upstream gradient, and meta (JSON: the case, the versions):

    np.load("tests/support/golden/attention_dgsa_plain.npz")["results"]["grad.p.W_q_exc"]
"""

import argparse
import importlib.metadata
import json
import sys
import zlib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

GOLDEN = Path(__file__).parent / "golden"
SINGLE = GOLDEN / "single_precision.json"
FEW, MANY = 20, 200  # seeds of a median: the bar is set on the few, the many tell a miss from chance
TOLERANCE = 1e-12
MASKS = ("none", "causal", "padding", "rows", "nothing")
HEADS = {  # the arguments, in the order of the signature
    "softmax_head": ("q", "k", "v"),
    "differential_head": ("q_exc", "k_exc", "q_inh", "k_inh", "v", "lam"),
    "gated_head": ("q_exc", "k_exc", "q_inh", "k_inh", "v", "z_gate"),
    "differential_v2_head": ("q_exc", "q_inh", "k", "v", "lam"),
    "output_gate_head": ("q", "k", "v", "gate"),
    "twicing_head": ("q", "k", "v"),
}
PROJECTIONS = {  # the kinds whose matrices are all (C, C)
    "softmax": ("q", "k", "v", "o"),
    "diff_v2": ("q_exc", "q_inh", "k", "v", "o"),
    "output_gate": ("q", "k", "v", "o"),
    "twicing": ("q", "k", "v", "o"),
}
OTHERS = {"diff_v2": {"W_lambda": "CH"}, "output_gate": {"W_gate": "CH"}}  # what else they have, by its axes


class Case(NamedTuple):
    """One call of one function.

    spec     : JSON: function, config (of layer or model), options (other keywords),
               zero (what vanishes)
    inputs   : keyword arguments under dotted names, {"x": ..., "p.W_q": ...},
               in the order of the signature
    upstream : the gradient that comes from above; None where the result is a loss
    """

    name: str
    spec: dict
    inputs: dict
    upstream: np.ndarray | None


# ------------------------------------------------------------------------------------------ drawing


class Draw:
    """Random arrays of one case. Each case has its own stream:
    adding one leaves the others as they are.
    """

    def __init__(self, seed, name):
        self.rng = np.random.default_rng([seed, zlib.crc32(name.encode())])

    def normal(self, *shape, scale=1.0, mean=0.0):
        """Odd multiples of 1/32, scaled:
        short binary fractions keep the files small; none is the mean.
        """
        return mean + scale * (np.floor(16 * self.rng.standard_normal(shape)) + 0.5) / 16

    def parameters(self, **shapes):
        """Nothing at its initial value: a gain of 1 or a bias of 0 would hide a mistake."""
        return {name: self.parameter(name, shape) for name, shape in shapes.items()}

    def parameter(self, name, shape):
        if name.startswith("W_"):
            return self.normal(*shape, scale=0.375)
        return self.normal(*shape, scale=0.5, mean=1.0 if name.startswith("w_") else 0.25)

    def mask(self, kind, B, H, T, S):
        """bool, True = may attend, broadcastable to (B, H, T, S)."""
        if kind == "causal":
            return np.tri(T, S, S - T, dtype=bool)[None, None]
        if kind == "padding":
            kept = self.rng.integers(2, S, (B, 1))  # over a single key softmax is constant
            return (np.arange(S) < kept)[:, None, None, :]
        if kind == "rows":  # ragged, some rows without any key
            mask = self.rng.random((B, H, T, S)) < 0.6
            mask[:, 0, T // 2], mask[-1, -1, 0] = False, False
            return mask
        return np.zeros((1, 1, T, S), bool)  # "nothing"


def attention_parameters(draw, kind, C, H, head_norm=True, gate="token"):
    """Everything that one layer of attention owns, by its kind."""
    if kind not in (*PROJECTIONS, "diff_v1", "dgsa"):
        what = f"write the matrices of {kind!r} into PROJECTIONS, and what else it has into OTHERS"
        raise NotImplementedError(f"{what} of tests/support/make_golden.py")
    if kind in PROJECTIONS:
        shapes = {f"W_{name}": (C, C) for name in PROJECTIONS[kind]}
        sizes = {"C": C, "H": H}
        others = {name: [sizes[axis] for axis in axes] for name, axes in OTHERS.get(kind, {}).items()}
        return draw.parameters(**shapes, **others)
    branches, d = ("q_exc", "k_exc", "q_inh", "k_inh"), C // (2 * H)
    shapes = {f"W_{name}": (C, H * d) for name in branches} | {"W_v": (C, C), "W_o": (C, C)}
    if kind == "diff_v1":
        shapes |= {f"lambda_{name}": (d,) for name in branches}
    else:
        shapes |= {"W_gate": (C, H), "b_gate": (H,)} if gate == "token" else {"b_gate": (H,)}
    return draw.parameters(**shapes, **({"w_norm": (2 * d,)} if head_norm else {}))


def model_parameters(draw, embed, kind, C, F, H, depth, n_out, ffn, switches):
    """The nested parameters of a model; embed holds the shapes of its front end."""
    switches = {k: v for k, v in switches.items() if k in ("head_norm", "gate")}

    def block():
        mlp = {"W_gate": (C, F), "W_up": (C, F), "W_down": (F, C)}
        return {
            "norm1": {"w": draw.parameter("w_", (C,))},
            "attention": attention_parameters(draw, kind, C, H, **switches),
            "norm2": {"w": draw.parameter("w_", (C,))},
            "mlp": draw.parameters(**{k: v for k, v in mlp.items() if ffn == "swiglu" or k != "W_gate"}),
        }

    return {
        "embed": {name: draw.parameter("W_" if name == "W" else name, shape) for name, shape in embed.items()},
        "blocks": [block() for _ in range(depth)],
        "norm": {"w": draw.parameter("w_", (C,))},
        "head": {"W": draw.parameter("W_", (C, n_out)), "b": draw.parameter("b", (n_out,))},
    }


# -------------------------------------------------------------------------------------------- cases


def cases(seed=0):
    """Every case, drawn afresh; seed 0 is the one in the files."""
    small = [*op_cases(seed), *loss_cases(seed), *head_cases(seed)]
    return [*small, *attention_cases(seed), *small_attention_cases(seed), *vision_cases(seed), *token_cases(seed)]


def op_cases(seed):
    def case(name, function, inputs, upstream=(2, 3, 5), **options):
        draw = Draw(seed, name)
        return Case(name, {"function": function, "options": options}, inputs(draw), draw.normal(*upstream))

    def x(scale):
        return lambda draw: {"x": draw.normal(2, 3, 5, scale=scale)}

    def normed(scale, *names):
        return lambda draw: x(scale)(draw) | {n: draw.normal(5, scale=0.5, mean=1.0) for n in names}

    def scores(scale, mask):
        def inputs(draw):
            given = {} if mask == "none" else {"mask": draw.mask(mask, 2, 3, 4, 5)}
            return {"scores": draw.normal(2, 3, 4, 5, scale=scale)} | given

        return inputs

    def weights(**shapes):
        return lambda draw: x(1.0)(draw) | draw.parameters(**shapes)

    def tokens(draw):  # (2, 5) of V = 7: one twice, and some never, whose gradient is 0
        return {"tokens": np.array([[3, 0, 3, 6, 1], [3, 1, 0, 4, 0]]), "table": draw.normal(7, 4)}

    def turned(positions):  # d = 6: three frequencies
        return lambda draw: {"x": draw.normal(2, 3, len(positions), 6), "positions": np.array(positions)}

    yield case("linear", "linear", weights(W=(5, 4), b=(4,)), (2, 3, 4))
    yield case("linear_without_b", "linear", weights(W=(5, 4)), (2, 3, 4))
    yield case("embedding", "embedding", tokens, (2, 5, 4))
    yield case("softmax", "softmax", scores(2.0, "none"), (2, 3, 4, 5))
    yield case("softmax_sharp", "softmax", scores(16.0, "none"), (2, 3, 4, 5))
    yield case("softmax_rows", "softmax", scores(2.0, "rows"), (2, 3, 4, 5))
    yield case("silu", "silu", x(4.0))
    yield case("gelu", "gelu", x(2.0))
    yield case("rmsnorm", "rmsnorm", normed(2.0, "w"))
    yield case("rmsnorm_small", "rmsnorm", normed(2.0**-8, "w"))  # x^2 near eps: its value and place matter
    yield case("rmsnorm_eps", "rmsnorm", normed(1.0, "w"), eps=0.25)
    yield case("layernorm", "layernorm", normed(2.0, "w", "b"))
    yield case("layernorm_small", "layernorm", normed(2.0**-8, "w", "b"))
    yield case("layernorm_eps", "layernorm", normed(1.0, "w", "b"), eps=0.25)
    yield case("swiglu", "swiglu", weights(W_gate=(5, 7), W_up=(5, 7), W_down=(7, 5)))
    yield case("rotary", "rotary", turned([0, 1, 2, 3]), (2, 3, 4, 6))
    yield case("rotary_positions", "rotary", turned([2, 90, 7, 7, 0]), (2, 3, 5, 6))  # no order, and one twice


def loss_cases(seed):
    def case(name, shape, scale=2.0, keep=False):
        draw = Draw(seed, name)
        targets = draw.rng.integers(0, shape[-1], shape[:-1])
        inputs = {"logits": draw.normal(*shape, scale=scale), "targets": targets}
        if keep:
            inputs["keep"] = draw.rng.random(shape[:-1]) < 0.6
            inputs["keep"].flat[:2] = True, False  # at least one of each
        return Case(name, {"function": "cross_entropy"}, inputs, None)

    yield case("cross_entropy", (7, 5))
    yield case("cross_entropy_large", (7, 5), scale=64.0)  # exp of such logits would overflow
    yield case("cross_entropy_keep", (3, 4, 6), keep=True)


def head_cases(seed):
    def argument(draw, name, function, mask, sizes):
        B, H, T, S, d, e = sizes
        shapes = {"q": (B, H, T, d), "k": (B, H, S, d), "v": (B, H, S, e), "z": (B, H, T)}
        if name[0] in shapes:
            return draw.normal(*shapes[name[0]])
        lam_shapes = {"none": (), "causal": (H, 1), "padding": (B, H, T), "rows": (B, 1, T), "nothing": (1, H, 1)}
        shape = lam_shapes[mask] if function == "differential_head" else (B, H, T)
        return draw.normal(*shape, scale=0.5, mean=0.5)

    for function, names in HEADS.items():
        sizes = (2, 3, 4, 4, 5, 6) if function == "twicing_head" else (2, 3, 6, 7, 4, 5)  # twicing: S = T
        B, H, T, S, d, e = sizes
        for mask in MASKS:
            if mask == "padding" and function in ("differential_v2_head", "output_gate_head", "twicing_head"):
                continue  # "rows" holds all that it could show
            case = f"{function}_{mask}"
            draw = Draw(seed, case)
            inputs = {name: argument(draw, name, function, mask, sizes) for name in names}
            zero = ["out", *(f"grad.{n}" for n in inputs)] if mask == "nothing" else []
            if mask != "none":
                inputs["mask"] = draw.mask(mask, B, H, T, S)
            yield Case(case, {"function": function, "zero": zero}, inputs, draw.normal(B, H, T, e))


def attention_case(seed, name, kind, mask, layer, sizes, switches):
    B, T, C, H = sizes
    name = f"attention_{kind}_{name}"
    draw = Draw(seed, name)
    drawn = {k: v for k, v in switches.items() if k in ("head_norm", "gate")}
    inputs = {"x": draw.normal(B, T, C)}
    inputs |= flatten({"p": attention_parameters(draw, kind, C, H, **drawn)})
    if mask != "none":
        inputs["mask"] = draw.mask(mask, B, H, T, T)
    config = {"kind": kind, "width": C, "n_heads": H} | switches
    spec = {"function": "attention", "config": config, "options": {"layer": layer}}
    return Case(name, spec, inputs, draw.normal(B, T, C))


def attention_cases(seed):
    def case(name, kind, mask="none", layer=0, **switches):
        sizes = 4, 5, 12, 2  # B, T, C, H; d = 3 and e = 6 where there are two maps
        return attention_case(seed, name, kind, mask, layer, sizes, switches)

    yield case("plain", "softmax")
    yield case("causal", "softmax", "causal")
    yield case("rows", "softmax", "rows")
    yield case("first_layer", "diff_v1")
    yield case("third_layer", "diff_v1", "causal", layer=2)
    yield case("lambda_init", "diff_v1", "padding", layer=1, lambda_init=0.375)  # a number beats the schedule
    yield case("without_norm", "diff_v1", layer=1, head_norm=False)
    yield case("eps", "diff_v1", "rows", eps=0.0625)
    yield case("plain", "dgsa")
    yield case("deep", "dgsa", "causal", layer=3)  # 0.8 at every depth
    yield case("lambda_init", "dgsa", "padding", lambda_init=0.375)
    yield case("without_norm", "dgsa", "rows", head_norm=False)
    yield case("gate_head", "dgsa", "causal", gate="head", eps=0.0625)
    yield case("gate_head_without_norm", "dgsa", "rows", gate="head", head_norm=False)
    yield case("on_inhibition", "dgsa", "rows", gate_on="inhibition")
    yield case("on_inhibition_gate_head", "dgsa", "causal", gate_on="inhibition", gate="head", eps=0.0625)
    yield case("on_inhibition_without_norm", "dgsa", "padding", gate_on="inhibition", head_norm=False)


def small_attention_cases(seed):
    def case(name, kind, mask="none", sizes=(4, 5, 6, 2), **switches):  # B, T, C, H; d = 3
        return attention_case(seed, name, kind, mask, 1, sizes, switches)

    for kind in [kind for kind in PROJECTIONS if kind != "softmax"]:
        yield case("plain", kind)
        yield case("causal", kind, "causal")
        yield case("rows", kind, "rows")
    # d = 4: two frequencies; one head where there are two maps,
    # the model below has two heads and d = 2
    yield case("rotary", "dgsa", "rows", (3, 5, 8, 1), rotary=True)
    yield case("rotary", "twicing", "none", (3, 5, 8, 2), rotary=True)


def vision_cases(seed):
    def case(kind, ffn, H, channels, keep=False, name="", **switches):
        name = f"model_{kind}_{ffn}{name}"
        draw = Draw(seed, name)
        B, C, F, depth, P, side, n_out = 5, 8, 6, 2, 2, 6, 3
        N = (side // P) ** 2
        embed = {"W": (P * P * channels, C), "b": (C,), "positions": (N, C)}
        params = model_parameters(draw, embed, kind, C, F, H, depth, n_out, ffn, switches)
        shape = (B, side, side) if channels == 1 else (B, side, side, channels)
        inputs = {"inputs": draw.rng.integers(0, 17, shape) / 16} | flatten({"params": params})
        if keep:
            inputs["keep"] = draw.rng.random((B, N)) < 0.6
            inputs["keep"][:, 3] = True  # a mean over nothing is not defined
        config = {"task": "vision", "kind": kind, "ffn": ffn, "n_heads": H, "n_out": n_out, "width": C}
        config |= {"ffn_width": F, "depth": depth, "image_size": side, "patch_size": P, "channels": channels}
        config |= switches
        return Case(name, {"function": "model", "config": config}, inputs, draw.normal(B, n_out))

    yield case("softmax", "gelu", H=4, channels=1)
    yield case("softmax", "swiglu", H=4, channels=3)
    yield case("diff_v1", "gelu", H=2, channels=3)
    yield case("diff_v1", "swiglu", H=2, channels=1)
    yield case("dgsa", "gelu", H=2, channels=1)
    yield case("dgsa", "swiglu", H=2, channels=3)
    yield case("dgsa", "swiglu", H=2, channels=1, keep=True, name="_keep", gate="head", head_norm=False)
    yield case("dgsa", "gelu", H=2, channels=1, name="_on_inhibition", gate_on="inhibition")


def token_cases(seed):
    """Models of tokens. max_len is more than T, and some tokens never occur:
    there the gradient is 0.
    """

    def case(function, task, kind, ffn, sizes, n_out=None, keep=False, depth=1, name="", **switches):
        B, T, C, H, F = sizes
        V, max_len, columns = 9, T + 2, n_out or 9
        name = f"{function}_{task}_{kind}_{ffn}{name}"
        draw = Draw(seed, name)
        embed = {"tokens": (V, C), "positions": (max_len, C)}
        params = model_parameters(draw, embed, kind, C, F, H, depth, columns, ffn, switches)
        inputs = {"inputs": draw.rng.integers(0, V - 1, (B, T))} | flatten({"params": params})
        shape = (B, T) if task == "lm" else (B,)
        if function == "loss":
            inputs["targets"] = draw.rng.integers(0, columns, shape)
        if keep:
            inputs["keep"] = draw.rng.random((B, T)) < 0.6
            inputs["keep"][0, 0], inputs["keep"][:, 3] = False, True  # in "lm" the first query then has no key
        config = {"task": task, "kind": kind, "ffn": ffn, "n_heads": H, "n_out": n_out, "width": C}
        config |= {"ffn_width": F, "depth": depth, "vocab_size": V, "max_len": max_len} | switches
        upstream = None if function == "loss" else draw.normal(*shape, columns)
        return Case(name, {"function": function, "config": config}, inputs, upstream)

    two_maps, one_map = (3, 5, 8, 2, 6), (4, 5, 6, 2, 8)  # B, T, C, H, F
    on_inhibition = {"name": "_on_inhibition", "gate_on": "inhibition"}
    yield case("model", "text", "dgsa", "swiglu", two_maps, n_out=10, keep=True)
    yield case("model", "text", "dgsa", "gelu", two_maps, n_out=10, keep=True, **on_inhibition)
    yield case("model", "text", "output_gate", "gelu", one_map, n_out=10, keep=True)
    yield case("model", "lm", "dgsa", "gelu", two_maps, keep=True, rotary=True)
    yield case("model", "lm", "dgsa", "swiglu", two_maps, gate="head", **on_inhibition)
    yield case("model", "lm", "diff_v2", "gelu", (4, 5, 6, 3, 8), rotary=True)  # d = 2
    yield case("model", "lm", "output_gate", "swiglu", one_map, n_out=3)
    yield case("model", "lm", "twicing", "gelu", one_map, keep=True, depth=2)
    yield case("loss", "text", "twicing", "gelu", one_map, n_out=10, keep=True)
    yield case("loss", "lm", "diff_v2", "gelu", one_map, keep=True)
    yield case("loss", "lm", "diff_v1", "gelu", two_maps, n_out=4, rotary=True)


# --------------------------------------------------------------------------------- names and files


def flatten(tree, prefix=""):
    """{"p": {"W_q": a}} -> {"p.W_q": a}; a list counts from 0."""
    if isinstance(tree, np.ndarray):
        return {prefix: tree}
    flat = {}
    for key, branch in tree.items() if isinstance(tree, dict) else enumerate(tree):
        flat |= flatten(branch, f"{prefix}.{key}" if prefix else str(key))
    return flat


def nest(flat):
    """The way back: {"p.W_q": a} -> {"p": {"W_q": a}}."""
    tree = {}
    for name, a in flat.items():
        *path, last = name.split(".")
        branch = tree
        for key in path:
            branch = branch.setdefault(key, {})
        branch[last] = a
    return _lists(tree)


def _lists(tree):
    if not isinstance(tree, dict):
        return tree
    branches = {key: _lists(branch) for key, branch in tree.items()}
    return list(branches.values()) if all(key.isdigit() for key in branches) else branches


def differentiated(inputs):
    """The names that get a gradient: all floating arrays but the images."""
    return [name for name, a in inputs.items() if a.dtype.kind == "f" and name != "inputs"]


def evaluate(case):
    """{"out": ..., "grad.x": ...} by PyTorch and its autograd."""
    import torch

    from support import torch_peer

    torch.set_num_threads(1)  # the arrays are tiny: threads would only wait for each other
    tensors = {name: torch.from_numpy(np.array(a)) for name, a in case.inputs.items()}
    leaves = {name: tensors[name].requires_grad_() for name in differentiated(case.inputs)}
    keywords = nest(tensors) | case.spec.get("options", {})
    if "config" in case.spec:
        keywords["cfg"] = case.spec["config"]
    out = getattr(torch_peer, case.spec["function"])(**keywords)
    upstream = None if case.upstream is None else torch.from_numpy(case.upstream)
    grads = torch.autograd.grad(out, list(leaves.values()), upstream)
    results = {f"grad.{name}": g.numpy() for name, g in zip(leaves, grads, strict=True)}
    return {"out": out.detach().numpy()} | results


def contents(case):
    """What the file of a case holds."""
    import torch

    meta = {"name": case.name, "spec": case.spec, "torch": torch.__version__, "numpy": np.__version__}
    upstream = {} if case.upstream is None else {"upstream": case.upstream}
    records = {"inputs": pack(case.inputs), "results": pack(evaluate(case))}
    return records | upstream | {"meta": np.array(json.dumps(meta))}


def pack(arrays):
    """One record with a field per array:
    a model's 70 arrays as members of a zip would be mostly headers.
    """
    record = np.empty((), [(name, a.dtype, a.shape) for name, a in arrays.items()])
    for name, a in arrays.items():
        record[name] = a
    return record


def unpack(record):
    return {name: np.array(record[name]) for name in record.dtype.names}


def load(name):
    """The case in a file, and the results that belong to it."""
    if not (GOLDEN / f"{name}.npz").exists():
        raise FileNotFoundError(f"run tests/support/make_golden.py: it writes {name}.npz into tests/support/golden")
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        spec = json.loads(str(file["meta"]))["spec"]
        return Case(name, spec, unpack(file["inputs"]), file.get("upstream")), unpack(file["results"])


def differences(case):
    """In words,
    where the file of a case differs from what is drawn and computed now; the versions may.
    """
    if not (GOLDEN / f"{case.name}.npz").exists():
        return ["there is no file"]
    stored, results = load(case.name)
    found = [] if stored.spec == case.spec else ["spec"]
    old, new = _everything(stored, results), _everything(case, evaluate(case))
    names = sorted(old.keys() | new.keys())
    return found + [name for name in names if not close(old.get(name), new.get(name))]


def _everything(case, results):
    return case.inputs | results | ({} if case.upstream is None else {"upstream": case.upstream})


def close(a, b):
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(np.all(a == b) if a.dtype.kind != "f" else np.abs(a - b).max() <= TOLERANCE * np.abs(b).max())


# --------------------------------------------------------------------------------- single precision


def single_cases(seed):
    """All cases and, without a file,
    linear maps of full mantissas and every kind of attention over 256 tokens.
    """
    drawn, sizes = cases(seed), (1, 256, 16, 2)  # B, T, C, H
    exact = ("linear", "linear_without_b", "embedding", "layernorm")  # of short fractions: no rounding at all
    dense = [in_full(case) for case in drawn if case.name in exact]
    kinds = (*PROJECTIONS, "diff_v1", "dgsa")
    long = [attention_case(seed, "long", kind, "causal", 1, sizes, {}) for kind in kinds]
    other = attention_case(seed, "long_on_inhibition", "dgsa", "causal", 1, sizes, {"gate_on": "inhibition"})
    return [*drawn, *dense, *long, other]


def in_full(case):
    return each_float(case, lambda a: a * (np.pi / 3))._replace(name=f"{case.name}_dense")


def rounded(case, dtype):
    """The case with its floating arrays rounded to float32, held in dtype:
    the same numbers in both precisions.
    """
    return each_float(case, lambda a: a.astype("float32").astype(dtype))


def each_float(case, change):
    def changed(a):
        return a if a is None or a.dtype.kind != "f" else change(a)

    inputs = {name: changed(a) for name, a in case.inputs.items()}
    return case._replace(inputs=inputs, upstream=changed(case.upstream))


def relative_error(got, want):
    """max|got - want| / max|want|; 0 where both vanish."""
    off, size = (float(np.abs(a).max()) for a in (got - want, want))
    return off / size if size else np.inf if off else 0.0


def single_errors(function, case):
    """{"out": ..., "grad.x": ...}:
    how far function is off in float32, with its own float64 as the truth.
    """
    got, want = (function(rounded(case, dtype)) for dtype in ("float32", "float64"))
    assert {a.dtype.name for a in got.values()} == {"float32"}, {name: a.dtype.name for name, a in got.items()}
    return {name: relative_error(got[name], want[name]) for name in want}


def medians(errors):
    """Over the seeds: a list of {tensor: error} -> {tensor: median}."""
    return {name: float(np.median([row[name] for row in errors])) for name in errors[0]}


def kernels():
    """What decides the last bits here:
    the versions, the BLAS of NumPy, and the vector units that it found.
    """
    from threadpoolctl import threadpool_info

    blas = [
        f"{i['internal_api']} {i['version']} {i.get('architecture')}"
        for i in threadpool_info()
        if i["user_api"] == "blas" and "numpy" in i["filepath"]
    ]
    simd = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return {"numpy": np.__version__, "scipy": importlib.metadata.version("scipy"), "blas": blas, "simd": simd}


def torch_kernels():
    import torch

    return {"torch": torch.__version__, "torch_cpu": torch.backends.cpu.get_cpu_capability()}


def write_single():
    """The medians of torch over the few seeds and over the many, one line per case."""
    errors = defaultdict(list)
    for seed in range(MANY):
        for case in single_cases(seed):
            errors[case.name].append(single_errors(evaluate, case))
    lines = [f"{json.dumps(name)}: {json.dumps(_few_and_many(rows))}" for name, rows in errors.items()]
    meta, joined = torch_kernels() | kernels() | {"seeds": [FEW, MANY]}, ",\n".join(lines)
    text = f'{{"meta": {json.dumps(meta)},\n"medians": {{\n{joined}\n}}}}\n'
    SINGLE.write_text(text, encoding="utf-8", newline="\n")
    print(f"{len(errors)} cases, {sum(len(rows[0]) for rows in errors.values())} tensors, {len(text):,} bytes")
    return 0


def _few_and_many(rows):
    few, many = medians(rows[:FEW]), medians(rows)
    return {name: [float(f"{m:.3e}") for m in (few[name], many[name])] for name in few}


# ------------------------------------------------------------------------------------- command line


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Write tests/support/golden, or check it.")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="write nothing; status 1 where a file differs")
    only.add_argument("--single", action="store_true", help="write single_precision.json, and nothing else")
    given = parser.parse_args(arguments)
    return write_single() if given.single else write_golden(given.check)


def write_golden(check):
    drawn = cases()
    stale = sorted({file.stem for file in GOLDEN.glob("*.npz")} - {case.name for case in drawn})
    if check:
        found = [f"{case.name}: {what}" for case in drawn for what in differences(case)]
        found += [f"{name}: no such case" for name in stale]
        print("\n".join(found) or f"{len(drawn)} cases, all as stored")
        return 1 if found else 0
    GOLDEN.mkdir(exist_ok=True)
    for name in stale:
        (GOLDEN / f"{name}.npz").unlink()
    changed = [case for case in drawn if differences(case)]  # the others stay: last bits depend on the processor
    for case in changed:
        np.savez_compressed(GOLDEN / f"{case.name}.npz", **contents(case))
    print(f"{len(drawn)} cases, {len(changed)} written, {sum(f.stat().st_size for f in GOLDEN.glob('*.npz')):,} bytes")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # where support lies
    sys.exit(main())
