"""The conformance kit on real modules: timm's and transformers' own, ports of ours to PyTorch and
JAX, and ports with mistakes planted in them, each of which must be called by its name.
"""

import importlib
import importlib.util
import re
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from support.parity import need_torch

from dgsa_np.attention import attention_forward
from dgsa_np.peers import conform, from_peer

pytestmark = pytest.mark.peers

PORTS = Path(__file__).parents[1] / "support" / "ports.py"
BLOCK = "blocks.0.attn."
CASTS = 1e-12  # the bar where a module's own casts to single precision are taken out


@pytest.fixture(autouse=True)
def torch():
    need_torch()
    import torch

    torch.manual_seed(0)
    return torch


def ports(*changes):
    """The classes of ports.py, with texts of their source exchanged."""
    source = PORTS.read_text()
    for old, new in changes:
        assert old in source, f"ports.py does not say {old!r}"
        source = source.replace(old, new)
    scope = {"__name__": "ports"}
    exec(compile(source, "<ports, changed>", "exec"), scope)
    return SimpleNamespace(**scope)


# ------------------------------------------------------------------------------ other people's code


@pytest.fixture(scope="module")
def timm_module():
    """timm's file, without all that timm imports: torchvision may not fit this torch."""
    if not (found := importlib.util.find_spec("timm")):
        pytest.skip("timm is not installed: pip install timm")
    root = Path(found.submodule_search_locations[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchvision", None)
        for name, path in (("timm", root), ("timm.layers", root / "layers")):
            patch.setitem(sys.modules, name, ModuleType(name))
            sys.modules[name].__path__ = [str(path)]
        return importlib.import_module("timm.layers.diff_attention")


@pytest.fixture(scope="module")
def diffllama_module():
    if not importlib.util.find_spec("transformers"):
        pytest.skip("transformers is not installed: pip install transformers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchvision", None)
        return importlib.import_module("transformers.models.diffllama.modeling_diffllama")


def timm_layer(module, fused, depth=2):
    layer = module.DiffAttention(48, num_heads=3, depth=depth)
    layer.fused_attn = fused
    return layer


def diffllama_layer(module, how, groups=2, depth=3):
    cfg = module.DiffLlamaConfig(hidden_size=48, num_attention_heads=8, num_key_value_heads=2 * groups)
    cfg._attn_implementation = how
    return module.DiffLlamaAttention(cfg, layer_idx=depth)


@contextmanager
def without_casts(module, torch):
    """A module's torch.float32 is double, and Tensor.float does nothing."""

    class Double:
        def __getattr__(self, name):
            return torch.float64 if name == "float32" else getattr(torch, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "torch", Double())
        patch.setattr(torch.Tensor, "float", lambda a: a)
        yield


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fused", [True, False])
def test_timm(timm_module, torch, fused, seed):
    layer = timm_layer(timm_module, fused)
    report = conform(layer, like="timm", layer=2, seed=seed)
    assert report.ok and "proj.bias is set to 0" in str(report), report
    assert 1e-9 < report.errors["y"]["none"] < 1e-6  # lambda is cast to float32
    with without_casts(timm_module, torch):
        exact = conform(layer, like="timm", layer=2, seed=seed, precision="float64")
    assert exact.ok and largest(exact) < CASTS, exact
    wrong = conform(layer, like="timm", layer=1, seed=seed)
    assert not wrong.ok and wrong.mistakes == ["lambda_init is that of the next layer: depth counts from 0"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", ["eager", "sdpa"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_diffllama(diffllama_module, torch, how, groups, seed):
    layer = diffllama_layer(diffllama_module, how, groups)
    report = conform(layer, like="hf_diffllama", layer=3, seed=seed)
    assert report.ok and (groups == 4 or f"{groups} of keys and values" in report.title), report
    with without_casts(diffllama_module, torch):
        exact = conform(layer, like="hf_diffllama", layer=3, seed=seed, precision="float64")
    assert exact.ok and largest(exact) < CASTS, exact


def largest(report):
    return max(error for errors in report.errors.values() for error in errors.values())


def test_what_timm_computes_ours_computes_from_its_weights(timm_module, torch):
    module = timm_layer(timm_module, False)
    module.proj.bias.data.zero_()
    x = np.random.default_rng(0).standard_normal((2, 5, 48)).astype("float32")
    p, cfg = from_peer({BLOCK + name: a for name, a in module.state_dict().items()}, "timm", prefix=BLOCK)
    with torch.no_grad():
        y = module(torch.as_tensor(x)).numpy()
    assert np.abs(y - attention_forward(x, p, cfg, layer=2)[0]).max() < 1e-6


# ----------------------------------------------------------------------------- ports, right and not


def dgsa(made, **how):
    return made.Dgsa(24, 3, **how), {"kind": "dgsa"} | ({"rotary": True} if how.get("rotary") else {})


def unilm(made, groups=2, depth=2):
    return made.DifferentialV1(32, 4, depth, groups), {"like": "unilm_v1", "layer": 2, "precision": "float64"}


def unilm_2(made, groups=2):
    return made.DifferentialV2(32, 4, groups), {"like": "unilm_v2"}


turning = partial(dgsa, rotary=True)
RIGHT = [
    dgsa,
    turning,
    *(partial(unilm, groups=n) for n in (1, 2, 4)),
    *(partial(unilm_2, groups=n) for n in (1, 2, 4)),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", RIGHT)
def test_ports_conform(make, seed):
    module, how = make(ports())
    report = conform(module, **how, seed=seed)
    assert report.ok and largest(report) < 1e-13, report
    assert not any("left out" in note for note in report.notes)


HALF_TURN = """    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
"""
# (the mistake, which port, what is exchanged, what must be said)
MISTAKES = {
    "a transposed weight": (
        dgsa,
        [("self.v_proj(x)", "x @ self.v_proj.weight")],
        "W_v is transposed",
    ),
    "pairs written, halves read": (
        partial(unilm, groups=4),
        [("q[:, branch::2]", "q.chunk(2, dim=1)[branch]"), ("k[:, branch::2]", "k.chunk(2, dim=1)[branch]")],
        "branches are written as pairs (2i, 2i+1) along the heads, and read as halves",
    ),
    "half-split rotary": (
        turning,
        [("    even, odd = x[..., 0::2], x[..., 1::2]\n", HALF_TURN)],
        "half-split, not interleaved",
    ),
    "half-split rotary in unilm's layout": (
        unilm,
        [("    even, odd = x[..., 0::2], x[..., 1::2]\n", HALF_TURN)],
        "half-split, not interleaved",
    ),
    "no rotary": (turning, [("if self.rotary:", "if False:")], "queries and keys are not turned by their positions"),
    "branches swapped": (
        dgsa,
        [("g * A_exc - (1 - g) * A_inh", "g * A_inh - (1 - g) * A_exc")],
        "the excitatory and the inhibitory branch have changed places",
    ),
    "no scale": (dgsa, [(" / math.sqrt(q.shape[-1])", "")], "scores are not divided by sqrt(d)"),
    "scale of the values": (
        dgsa,
        [("math.sqrt(q.shape[-1])", "math.sqrt(2 * q.shape[-1])")],
        "scores are divided by sqrt(2d)",
    ),
    "inverted mask": (dgsa, [("masked_fill(~mask", "masked_fill(mask")], "the mask is read as True = hidden"),
    "boolean mask added": (
        dgsa,
        [("scores = scores.masked_fill(~mask, -torch.inf)", "scores = scores + mask")],
        "a boolean mask is added to the scores",
    ),
    "mask forgotten": (dgsa, [("if mask is not None:", "if False:")], "the mask plays no part"),
    "no norm": (dgsa, [("self.head_norm(o)", "self.head_norm.weight * o")], "the norm of the heads is missing"),
    "no factor": (
        dgsa,
        [("(1 - self.lambda_init) * self.head_norm", "self.head_norm")],
        "the factor 1 - lambda_init behind the norm is missing",
    ),
    "no gain": (
        dgsa,
        [("self.head_norm(o)", "nn.functional.rms_norm(o, o.shape[-1:], None, 1e-5)")],
        "the gain of the norm is missing",
    ),
    "eps of PyTorch": (dgsa, [("2 * self.head_dim, eps=1e-5", "2 * self.head_dim")], "the eps of the norm is 0"),
    "heads merged wrongly": (
        dgsa,
        [("h.transpose(1, 2).flatten(2)", "h.reshape(len(h), h.shape[2], -1)")],
        "without the heads moved behind the tokens",
    ),
    "heads merged the other way": (
        unilm,
        [("h.transpose(1, 2).flatten(2)", "h.permute(0, 2, 3, 1).flatten(2)")],
        "columns of the heads are merged as (e, H), where (H, e) belongs",
    ),
    "the next depth": (partial(unilm, depth=3), [], "lambda_init is that of the next layer"),
    "the sign of the second map": (unilm, [("maps[0] - lam", "maps[0] + lam")], "the inhibitory map is added"),
    "no bias of the gate": (
        dgsa,
        [("self.gate_proj(x)", "(x @ self.gate_proj.weight.T)")],
        "the bias of the gate is missing",
    ),
    "lambda without sigmoid": (
        unilm_2,
        [("self.lambda_proj(x).sigmoid()", "torch.ones(*x.shape[:2], 4)")],
        "the inhibitory map is not weighted",
    ),
    "a norm of all heads": (
        dgsa,
        [
            (
                "self.head_norm(o)",
                "self.head_norm.weight * o / ((o * o).mean(dim=(1, 3), keepdim=True) + 1e-5).sqrt()",
            )
        ],
        "the norm takes the heads of a token together",
    ),
    "two at once: scale and factor": (
        dgsa,
        [(" / math.sqrt(q.shape[-1])", ""), ("(1 - self.lambda_init) * self.head_norm", "self.head_norm")],
        "scores are not divided by sqrt(d) and the factor 1 - lambda_init behind the norm is missing",
    ),
    "two at once: rotary and branches": (
        turning,
        [
            ("    even, odd = x[..., 0::2], x[..., 1::2]\n", HALF_TURN),
            ("g * A_exc - (1 - g) * A_inh", "(1 - g) * A_exc - g * A_inh"),
        ],
        "half-split, not interleaved and gate and 1 - gate have changed places",
    ),
}


@pytest.mark.parametrize("make, changes, says", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_called_by_its_name(make, changes, says):
    module, how = make(ports(*changes))
    report = conform(module, **how)
    assert not report.ok and report.verdicts["y"]
    assert any(says in sentence for sentence in report.mistakes), report


CUT = "this path is cut"
DETACHED = {
    "lambda": (unilm, [("lam * maps", "lam.detach() * maps")], {f"lambda_{a}": CUT for a in ("q1", "k1", "q2", "k2")}),
    "the gate": (dgsa, [("g = self.gate_proj(x)", "g = self.gate_proj(x).detach()")], {"gate_proj.weight": CUT}),
    "a map": (
        dgsa,
        [("(1 - g) * A_inh", "(1 - g) * A_inh.detach()")],
        {"q_inh_proj.weight": CUT, "k_inh_proj.weight": CUT},
    ),
    "x": (dgsa, [("v = split(self.v_proj(x)", "v = split(self.v_proj(x.detach())")], {"dx": "degrees away"}),
    "a weight of lambda": (unilm, [("self.lambda_q2 @", "self.lambda_q2.detach() @")], {"lambda_q2": CUT}),
    "the output": (dgsa, [("self.o_proj(merge(h))", "self.o_proj(merge(h)).detach()")], {"case none": "RuntimeError"}),
}


@pytest.mark.parametrize("make, changes, says", DETACHED.values(), ids=DETACHED)
def test_a_gradient_that_is_cut_off_is_called_by_its_name(make, changes, says):
    module, how = make(ports(*changes))
    report = conform(module, **how)
    assert not report.ok and not report.verdicts.get("y") and not report.mistakes
    for name, text in says.items():
        assert text in report.verdicts[name], report


# ------------------------------------------------------------------------- what becomes of a module


def state(module):
    rows = {name: (a.detach().clone(), a.dtype, a.requires_grad, a.grad) for name, a in module.named_parameters()}
    return rows, module.training, [m.training for m in module.modules()]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("training", [True, False])
def test_a_module_is_left_as_it_was(torch, dtype, training):
    module, how = dgsa(ports(), dropout=0.5)
    module.to(getattr(torch, dtype)).train(training)
    module.o_proj.weight.requires_grad_(False)
    random = torch.random.get_rng_state()
    before = state(module)
    with torch.no_grad():
        report = conform(module, **how)
    after = state(module)
    assert report.ok and largest(report) < 1e-13, report
    assert "o_proj.weight" in report.errors
    assert torch.equal(random, torch.random.get_rng_state())
    assert before[1:] == after[1:]  # training or not
    for name, (a, *rest) in before[0].items():
        assert torch.equal(a, after[0][name][0]) and rest == list(after[0][name][1:])
    p, _ = from_peer(module.state_dict(), "linear", "dgsa")
    assert p["W_o"].dtype == ("float32" if dtype == "bfloat16" else dtype)


def test_modules_that_are_called_in_other_ways(torch):
    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.extra = dgsa(ports())[0], torch.nn.Linear(24, 24)

    class NoMask(Wrapped):
        def forward(self, x):
            return self.inner(x), None

    class Needed(Wrapped):
        def forward(self, x, attention_mask):
            return [self.inner(x, attention_mask)]

    names = {name: f"inner.{name}" for name, _ in dgsa(ports())[0].named_parameters()}
    report = conform(NoMask(), kind="dgsa", names=names)
    assert report.ok and list(report.errors["y"]) == ["none"], report
    assert "case causal is left out: yours takes no mask" in report.notes
    assert "extra.bias is set to 0" in str(report) and "extra.weight is left as it is" in str(report)
    report = conform(Needed(), kind="dgsa", names=names)
    assert report.ok and len(report.errors["y"]) == 3, report
    report = conform(NoMask(), kind="dgsa", names=names, call=lambda module, x, mask: module.inner(x, mask=mask))
    assert report.ok and len(report.errors["y"]) == 3, report
    with pytest.raises(ValueError, match=r"lack q_exc_proj.weight.*prefix='inner.'"):
        conform(NoMask(), kind="dgsa")


def test_biases_besides_are_set_to_0(torch):
    module, how = dgsa(ports(("width, width, bias=False", "width, width"), ("half, bias=False", "half")))
    report = conform(module, **how)
    assert report.ok and sum("is set to 0" in note for note in report.notes) == 6


def test_a_module_that_raises_or_is_single_inside(torch):
    module, how = dgsa(ports(("return scores.softmax(dim=-1)", "return scores.float().softmax(dim=-1).double()")))
    report = conform(module, **how)
    assert not report.ok and "single precision" in report.mistakes[0], report
    assert conform(module, **how, precision="float32").ok
    module, how = dgsa(ports(("A_exc = attend(", "A_exc = atend(")))
    report = conform(module, **how)
    assert not report.ok and "NameError: name 'atend' is not defined" in report.verdicts["case causal"]
    with pytest.raises(TypeError, match="the class Dgsa"):
        conform(ports().Dgsa, **how)


# ---------------------------------------------------------------------------------------------- JAX


def jax_dgsa(n_heads, takes_mask):
    """The gated layer as a function of JAX, and weights for it."""
    import jax
    from jax import numpy as jnp

    def layer(w, x, mask=None):
        def heads(name):
            y = x @ w[f"{name}_proj.weight"].T
            return y.reshape(*x.shape[:2], n_heads, -1).transpose(0, 2, 1, 3)

        def attend(q, k):
            scores = q @ k.swapaxes(-1, -2) / jnp.sqrt(q.shape[-1])
            return jax.nn.softmax(scores if mask is None else jnp.where(mask, scores, -jnp.inf))

        A_exc, A_inh = attend(heads("q_exc"), heads("k_exc")), attend(heads("q_inh"), heads("k_inh"))
        g = jax.nn.sigmoid(x @ w["gate_proj.weight"].T + w["gate_proj.bias"]).transpose(0, 2, 1)[..., None]
        o = (g * A_exc - (1 - g) * A_inh) @ heads("v")
        h = 0.2 * w["head_norm.weight"] * o / jnp.sqrt((o * o).mean(axis=-1, keepdims=True) + 1e-5)
        return h.transpose(0, 2, 1, 3).reshape(x.shape) @ w["o_proj.weight"].T

    rng = np.random.default_rng(0)
    module, _ = dgsa(ports())
    weights = {name: jnp.asarray(rng.standard_normal(a.shape)) for name, a in module.named_parameters()}
    return (layer if takes_mask else lambda w, x: layer(w, x)), weights


@pytest.fixture(params=[True, False], ids=["float64", "float32"])
def double(request):
    jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'dgsa-np[peers]'")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param)
    yield request.param
    jax.config.update("jax_enable_x64", before)


def test_a_function_of_jax(double):
    import jax

    layer, weights = jax_dgsa(3, takes_mask=double)
    layer = jax.jit(layer)  # operation by operation, each would be compiled for each shape
    report = conform(layer, kind="dgsa", weights=weights)
    assert report.ok and "dx" in report.errors, report
    assert len(report.errors["y"]) == (3 if double else 1)
    assert largest(report) < 1e-13 if double else "y is float32, though x is float64" in report.notes


@pytest.mark.parametrize("double", [False], indirect=True)
def test_a_wrong_function_of_jax(double):
    import jax

    layer, weights = jax_dgsa(3, takes_mask=False)
    layer = jax.jit(layer)
    doubled = conform(lambda w, x: (2 * layer(w, x), "cache"), kind="dgsa", weights=weights)
    assert not doubled.ok and doubled.errors["y"]["none"] == pytest.approx(1, abs=1e-5)
    short = conform(lambda w, x: layer(w, x)[:, :1], kind="dgsa", weights=weights)
    assert short.mistakes == ["y is (2, 1, 24), expected (2, 5, 24), as x"]
    cut = conform(lambda w, x: layer(w, jax.lax.stop_gradient(x)), kind="dgsa", weights=weights)
    assert not cut.verdicts["y"] and CUT in cut.verdicts["dx"]


# ----------------------------------------------------------------------------------------- the page


def test_the_examples_of_the_page_run(timm_module, diffllama_module, torch, monkeypatch, capsys):
    for name in ("timm", "timm.layers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "timm.layers.diff_attention", timm_module)
    page = (Path(__file__).parents[2] / "docs" / "coming_from_pytorch.md").read_text(encoding="utf-8")
    timm, llama, own, fixture, converters = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert max(len(code.split("\n")) for code in (timm, llama)) <= 7  # five lines, and an empty one
    for code in (timm, llama):
        exec(code, {})
    assert capsys.readouterr().out.endswith("It conforms.\n")
    scope = {"conform": conform, "YourModule": ports(("q_exc_proj", "wq1")).Dgsa}
    exec(own, scope)
    assert scope["report"].ok, scope["report"]
    exec(fixture, scope)
    layer = torch.nn.ModuleDict({"model": torch.nn.ModuleDict({"layers": torch.nn.ModuleList(
        [torch.nn.ModuleDict({"self_attn": diffllama_layer(diffllama_module, "eager", 4, 0)})])})})  # fmt: skip
    exec(converters, {"model": layer})
