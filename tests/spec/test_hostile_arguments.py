"""Every argument of every public function, replaced in turn by what does not belong there.

The outcome is a right answer, with its documented shape and finite, or one of the project's own
errors, which names the function, the argument and what was expected: never a traceback from inside,
a wrong shape or a changed argument. A function that is public and has no row of good arguments
below fails a test.
"""

import dataclasses
import importlib
import inspect
import itertools
import json
import pkgutil
import re
import sys
import types
import warnings
from fnmatch import fnmatchcase

import numpy as np
import pytest
from support.problems import weighs

import dgsa_np
from dgsa_np import (
    attention,
    backend,
    checkpoint,
    data,
    fast,
    gpu,
    gradcheck,
    layers,
    losses,
    model,
    ops,
    optim,
    params,
    train,
)
from dgsa_np.attention import (
    AttentionConfig,
    causal_mask,
    differential,
    differential_v2,
    gated,
    masks,
    mechanisms,
    multihead,
    output_gate,
    softmax,
    tiled,
    twicing,
)
from dgsa_np.data import Dataset, Split, Vocabulary, corruptions, datasets, splits, text
from dgsa_np.lab import rollout, settings
from dgsa_np.lab.cases import FORMS, ON_INHIBITION
from dgsa_np.lab.sample import sample
from dgsa_np.lab.settings import DataConfig
from dgsa_np.model import ModelConfig
from dgsa_np.train import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")

CONTROLS = [row.control for row in (*mechanisms.MECHANISMS.values(), *mechanisms.ON_INHIBITION.values()) if row.control]
# peers take modules of others: test_peers.py tries them
OUTSIDE = {"check", "shapes", "indices", "__main__", "lab", "peers"}
FROM_THE_LAB = {"dgsa_np.lab.rollout", "dgsa_np.lab.sample", "dgsa_np.lab.settings"}


def public():
    """{name: function} of the whole surface:
    functions, configurations, and the methods of public classes.
    """
    found = {}
    for info in pkgutil.walk_packages(dgsa_np.__path__, "dgsa_np."):
        if info.name.split(".")[1] in OUTSIDE and info.name not in FROM_THE_LAB:
            continue
        for name, f in vars(importlib.import_module(info.name)).items():
            if name.startswith("_") or getattr(f, "__module__", None) != info.name:
                continue
            if not inspect.isclass(f) and callable(f):
                assert name not in found, f"{name} is the name of two functions"
                found[name] = f
            elif inspect.isclass(f):
                found |= {name: f} if dataclasses.is_dataclass(f) else {}
                methods = {n: m for n, m in vars(f).items() if inspect.isfunction(m) and not n.startswith("_")}
                found |= {f"{name}.{n}": m for n, m in methods.items() if len(inspect.signature(m).parameters) > 1}
    return found


# ----------------------------------------------------------------------------------------- the rows


class Row:
    """Good arguments of one function.

    shapes : "x: ... n, W: n m -> ... m", letters that arguments and result share;
             without it, arguments and result have the shapes of the good call, or are refused
    free   : arguments of any shape, since they broadcast; whole: of any shape and dtype
    shut   : arguments that are replaced as a whole alone: another row opens them
    least  : {"eps": 0}, the least value of a number; finite: False where the answer may be infinite
    right  : a function of result and arguments;
             without it and letters, the result is like that of the good call
    """

    def __init__(self, name, function, shapes="", /, variant="", free=(), whole=(), shut=(), least=(), **args):
        self.name, self.function, self.variant = name, function, variant
        given, _, self.returns = shapes.partition("->")
        self.letters = dict(part.strip().split(": ") for part in given.split(",") if part.strip())
        self.free, self.whole, self.shut, self.least = free, whole, shut, dict(least)
        self.right, self.finite, self.args = args.pop("right", None), args.pop("finite", True), args

    def __str__(self):
        return f"{self.name}/{self.variant}".replace(" ", "-").removesuffix("/")


def row(function, shapes="", /, **rest):
    return Row(function.__name__, function, shapes, **rest)


rng = np.random.default_rng(0)
B, H, T, S, D, E = 2, 3, 4, 5, 6, 7


def normal(*shape):
    return np.asarray(rng.standard_normal(shape), "float32")


def pair(module, name, shapes, upstream, variant="", /, *, free=(), whole=(), shut=(), least=(), **args):
    """The rows of a forward and of its backward."""
    forward, backward = getattr(module, f"{name}_forward"), getattr(module, f"{name}_backward")
    yield row(forward, shapes, variant=variant, free=free, whole=whole, shut=shut, least=least, **args)
    out, cache = forward(**args)
    yield row(backward, variant=variant, **({upstream: normal(*out.shape)} if upstream else {}), cache=cache)


def drawn(init, cfg):
    return params.tree_map(lambda a: a + 0.1 * normal(*a.shape), init(cfg, rng))


x, W, b, w = normal(B, 3, 5), normal(5, 7), normal(7), normal(5)
q, k, v, z = normal(B, H, T, D), normal(B, H, S, D), normal(B, H, S, E), normal(B, H, T)
allowed = rng.random((B, H, T, S)) < 0.8
allowed[..., 0] = True
square = causal_mask(T)
tokens, kept = rng.integers(0, 5, (B, T)), np.ones((B, T), bool)
targets = rng.integers(0, 5, (B, T))
kept[1, -1] = False
SMALL = {"width": 8, "n_heads": 2, "depth": 1, "ffn_width": 5, "gate_bias": 0.5}
VISION = ModelConfig(**SMALL, n_out=3, image_size=6, patch_size=3, channels=5)
TEXT = ModelConfig(**SMALL, kind="softmax", task="text", ffn="gelu", n_out=3, vocab_size=5, max_len=9)
LM = ModelConfig(**SMALL, kind="diff_v1", task="lm", vocab_size=5, max_len=9)
P_VISION, P_TEXT, P_LM = (drawn(model.init_model, cfg) for cfg in (VISION, TEXT, LM))
PICTURES = rng.random((B, 6, 6, 5)).astype("float32")
HEAD = "q: B H T d, k: B H S d, v: B H S e, z_gate: B H T, gate: B H T"
TWO = "q_exc: B H T d, q_inh: B H T d, k_exc: B H S d, k_inh: B H S d, k: B H S d, v: B H S e, z_gate: B H T"


def letters(shapes, *names):
    """Those of the shapes that a function has."""
    return ", ".join(part for part in shapes.split(", ") if part.split(":")[0] in names)


# fmt: off


def ops_rows(folder):
    yield row(ops.swap, x=x)
    yield row(ops.sum_to_shape, x=x, shape=(3, 1))
    yield row(ops.sum_rows, x=x)
    yield row(optim.square_sum, x=x)
    yield row(ops.row_sum, x=x)
    yield row(ops.row_mean, x=x)
    yield row(ops.sigmoid, z=x)
    yield row(ops.split_heads, whole=("x",), x=normal(B, T, 12), n_heads=3,
        right=lambda out, x, n_heads: out.shape == (*x.shape[:1], n_heads, x.shape[1], x.shape[2] // n_heads))
    yield row(ops.merge_heads, whole=("x",), x=q,
        right=lambda out, x: out.shape == (*x.shape[:1], x.shape[2], x.shape[1] * x.shape[3]))
    yield from pair(ops, "linear", "x: ... n, W: n m, b: m -> ... m", "dy", x=x, W=W, b=b)
    yield from pair(ops, "embedding", "tokens: ..., table: V C -> ... C", "dx", tokens=tokens, table=normal(5, 6))
    yield from pair(ops, "softmax", "scores: ... S -> ... S", "dA", free=("mask",), scores=normal(B, H, T, S),
        mask=allowed)
    yield from pair(ops, "silu", "x: ... n -> ... n", "dy", x=x)
    yield from pair(ops, "gelu", "x: ... n -> ... n", "dy", x=x)
    yield from pair(ops, "rmsnorm", "x: ... n, w: n -> ... n", "dy", least={"eps": 0}, x=x, w=w, eps=1e-5)
    yield from pair(ops, "layernorm", "x: ... n, w: n, b: n -> ... n", "dy", least={"eps": 0}, x=x, w=w, b=w + 1,
        eps=1e-5)
    yield from pair(ops, "rotary", "x: B H T d, positions: T -> B H T d", "dy", whole=("positions",), x=q,
        positions=np.arange(T))
    yield from pair(ops, "swiglu", "x: ... C, W_gate: C F, W_up: C F, W_down: F C -> ... C", "dy", x=x, W_gate=W,
        W_up=W + 1, W_down=normal(7, 5))
    yield from pair(losses, "cross_entropy", "logits: ... V, targets: ..., keep: ... -> 0", "", logits=normal(B, T, 5),
        targets=targets, keep=kept)


def head_rows(folder):
    single, dual = {"q": q, "k": k}, {"q_exc": q, "k_exc": k, "q_inh": q + 1, "k_inh": k + 1, "v": v}
    free = ("mask", "lam")
    yield from pair(softmax, "softmax_map", letters(HEAD, *single) + " -> B H T S", "dA", free=free, **single,
        mask=allowed)
    single |= {"v": v}
    yield from pair(softmax, "softmax_head", letters(HEAD, *single) + " -> B H T e", "do", free=free, **single,
        mask=allowed)
    yield from pair(output_gate, "output_gate_head", letters(HEAD, *single, "gate") + " -> B H T e", "do", free=free,
        **single, gate=z, mask=allowed)
    yield from pair(differential, "differential_head", letters(TWO, *dual) + " -> B H T e", "do", free=free, **dual,
        lam=normal(H, 1), mask=allowed)
    yield from pair(differential, "differential_head", letters(TWO, *dual) + " -> B H T e", "do", "number", free=free,
        **dual, lam=0.5, mask=None)
    yield from pair(gated, "gated_head", letters(TWO, *dual, "z_gate") + " -> B H T e", "do", free=free, **dual,
        z_gate=z, mask=allowed)
    shared = {"q_exc": q, "q_inh": q + 1, "k": k, "v": v}
    yield from pair(differential_v2, "differential_v2_head", letters(TWO, *shared) + " -> B H T e", "do", free=free,
        **shared, lam=z, mask=allowed)
    yield from pair(tiled, "tiled_softmax_head", letters(HEAD, *single) + " -> B H T e", "do", free=free, **single,
        mask=allowed)
    yield from pair(tiled, "tiled_differential_head", letters(TWO, *dual) + " -> B H T e", "do", free=free, **dual,
        lam=normal(H, 1), mask=allowed)
    yield from pair(tiled, "tiled_gated_head", letters(TWO, *dual, "z_gate") + " -> B H T e", "do", free=free, **dual,
        z_gate=z, mask=allowed)
    yield from pair(tiled, "tiled_differential_v2_head", letters(TWO, *shared) + " -> B H T e", "do", free=free,
        **shared, lam=z, mask=allowed)
    yield from pair(twicing, "twicing_head", "q: B H T d, k: B H T d, v: B H T e -> B H T e", "do", free=free, q=q,
        k=k[:, :, :T], v=v[:, :, :T], mask=square)


def attention_rows(folder):
    xs = normal(B, T, 12)
    for kind, chosen in (FORMS | ON_INHIBITION).items():
        cfg = AttentionConfig(**chosen, width=12, n_heads=3)
        p = drawn(multihead.init_attention, cfg)
        past = multihead.attention_forward(normal(B, 3, 12), p, cfg, layer=1)[1] if cfg.mechanism.decodes else None
        mask = causal_mask(T, 3 + T) if past else square
        yield row(multihead.attention_forward, "x: B T C -> B T C", variant=kind, free=("mask",), least={"layer": 0},
            x=xs, p=p, cfg=cfg, mask=mask, layer=1, past=past, positions=None)
        cache = multihead.attention_forward(xs, p, cfg, square)[1]
        yield row(multihead.attention_backward, variant=kind, dy=normal(B, T, 12), cache=cache)
        yield row(multihead.attention_map, variant=kind, cache=cache)
        if weighs(cfg.mechanism) and cfg.mechanism.control.axes:  # one lambda for all is no gate
            yield row(multihead.attention_gate, variant=kind, cache=cache,
                right=lambda out, cache: out.shape == (B, 3, T))
        control = cfg.mechanism.control
        if control:
            args = {"x": xs, "p": {n: p[n] for n in control.specs(cfg)}, "cfg": multihead.at_depth(cfg, 1)}
            out, cache = control.forward(**args)
            yield row(control.forward, "x: B T C -> " + ("B 3 T" if control.axes else "0"), variant=kind, **args)
            yield row(control.backward, variant=kind,
                **{next(iter(inspect.signature(control.backward).parameters)): normal(*out.shape), "cache": cache})
    yield row(multihead.past_length, past=past or multihead.attention_forward(xs, p, cfg)[1])
    cfg = AttentionConfig(width=12, n_heads=3, gate="head", lambda_init=0.3, rotary=True)
    for name, init in (("attention", multihead.init_attention), ("model", model.init_model)):
        yield row(init, cfg=cfg if name == "attention" else VISION, rng=np.random.default_rng(0), dtype="float32")
    config = dataclasses.asdict(cfg)
    yield row(AttentionConfig, **config)
    yield Row("AttentionConfig.lambda_init_at", lambda layer: AttentionConfig(kind="diff_v1").lambda_init_at(layer),
        least={"layer": 0}, layer=1)
    yield from pair(multihead, "head_norm", "o: B H T e, w_norm: e -> B H T e", "dh", least={"eps": 0}, o=v, w_norm=b,
        lambda_init=0.8, eps=1e-5)
    yield row(masks.causal_mask, T=3, S=4, xp=np,
        right=lambda out, T, S, xp: out.shape == (1, 1, T, T if S is None else S))
    yield row(masks.padding_mask, "keep: B S -> B 1 1 S", keep=kept)
    yield row(differential.depth_schedule, layer=1)
    yield row(differential.as_lam, function="f", name="lam", given={"lam": z, "q_exc": q})
    yield row(masks.seen_only, mask=allowed, queries=[q], keys=[k, v])
    of_controls = dict.fromkeys(control.specs for control in CONTROLS)
    for specs in (*of_controls, multihead.attention_specs, model.mlp_specs, model.model_specs):
        yield row(specs, cfg=VISION)


def model_rows(folder):
    yield row(ModelConfig, **dataclasses.asdict(VISION))
    yield row(ModelConfig, variant="lm", **dataclasses.asdict(LM))
    yield row(layers.patches, images=PICTURES, cfg=VISION)
    yield from pair(layers, "patch_embed", "images: B h w c -> B 4 8", "dx", images=PICTURES, p=P_VISION["embed"],
        cfg=VISION, keep=np.ones((B, 4), bool))
    yield from pair(layers, "token_embed", "tokens: B T -> B T 8", "dx", least={"start": 0}, tokens=tokens,
        p=P_TEXT["embed"], cfg=TEXT, start=1, keep=kept, places=tokens)
    yield from pair(ops, "gelu_mlp", "x: ... C, W_up: C F, W_down: F C -> ... C", "dy", x=x, W_up=W,
        W_down=normal(7, 5))
    yield from pair(layers, "mean_pool", "x: B T C, keep: B T -> B C", "dy", x=normal(B, T, 5), keep=kept)
    for name, cfg, p in (("swiglu", VISION, P_VISION), ("gelu", TEXT, P_TEXT)):
        yield from pair(model, "block", "x: B T C -> B T C", "dx", name, free=("mask",), least={"layer": 0},
            x=normal(B, T, 8), p=p["blocks"][0], cfg=cfg, mask=square, layer=0, past=None, positions=None)
    yield from pair(model, "model", "inputs: B h w c -> B 3", "dlogits", "vision", inputs=PICTURES, params=P_VISION,
        cfg=VISION, keep=np.ones((B, 4), bool), past=None)
    yield from pair(model, "model", "inputs: B T, keep: B T -> B 3", "dlogits", "text", inputs=tokens, params=P_TEXT,
        cfg=TEXT, keep=kept, past=None)
    yield from pair(model, "model", "inputs: B T, keep: B T -> B T 5", "dlogits", "lm", inputs=tokens, params=P_LM,
        cfg=LM, keep=kept, past=None)
    past = model.model_forward(tokens[:, :3], P_LM, LM)[1]
    yield row(model.model_forward, "inputs: B T -> B T 5", variant="lm, past", shut=("params",), free=("keep",),
        inputs=tokens, params=P_LM, cfg=LM, keep=np.ones((B, 3 + T), bool), past=past)
    step = {"params": P_LM, "inputs": tokens, "targets": targets, "cfg": LM, "keep": kept}
    yield row(model.loss_and_grads, **step, variant="lm", right=alike("params"))
    step = {"params": P_VISION, "inputs": PICTURES, "targets": targets[:, 0] % 3, "cfg": VISION, "keep": None}
    yield row(model.loss_and_grads, **step, variant="vision", shut=("params",), right=alike("params"))
    prompt = {"params": P_LM, "cfg": LM, "prompt": tokens[0], "n": 2, "rng": np.random.default_rng(0),
        "temperature": 1.0, "top_k": 3}
    yield Row("sample", lambda **a: first(sample(**a)), **prompt, free=("prompt",), right=lambda out,
        **a: all(0 <= t < 5 for t in out))


def fast_rows(folder):
    step = {"params": P_LM, "inputs": tokens, "targets": targets, "cfg": LM, "keep": kept}
    yield row(fast.loss_and_grads_threaded, **step, threads=2, variant="lm", shut=("params",), right=alike("params"))
    yield row(fast.make_step, cfg=LM, batch=B, length=T, keep=True, threads=1, dtype="float32", device="cpu", clip=1.0,
        weight_decay=0.1, capture=False, least={"clip": 1e-12, "weight_decay": 0})
    yield row(fast.threads.choose_threads, device="cpu", batch_size=4, cfg=VISION)
    yield row(fast.is_fast, cfg=LM)
    yield row(fast.choose_step, model=LM, cfg=TrainConfig(device="cpu"))
    made, state = fast.make_step(LM, B, T, keep=True, threads=1), optim.adamw_init(P_LM)
    batch = {"inputs": tokens, "targets": targets, "keep": kept}
    yield Row("Step.set", made.set, params=P_LM, optimizer=state)
    yield Row("Step.gradients", lambda **a: (made.set(P_LM), made.gradients(**a))[1], **batch)
    yield Row("Step.train", lambda **a: (made.set(P_LM), made.train(**a))[1], **batch, lr=0.1, least={"lr": 0})


def alike(name):
    """The second result has the names and shapes of that argument."""

    def right(out, **args):
        shapes = [{n: a.shape for n, a in params.flatten(tree).items()} for tree in (out[1], args[name])]
        return out[0].shape == () and shapes[0] == shapes[1]

    return right


def first(steps):
    return list(itertools.islice(steps, 3))


def optim_rows(folder):
    tree = {"W": normal(3, 4), "b": [normal(4)]}
    grads, state = params.tree_map(lambda a: a + 1, tree), optim.adamw_init(tree)
    yield row(optim.sgd_step, params=tree, grads=grads, lr=0.1)
    yield row(optim.adamw_init, params=tree, whole=("params",), right=lambda out, params: out["step"] == 0)
    yield row(optim.adamw_step, least={"eps": 0, "betas": 0, "weight_decay": 0}, params=tree, grads=grads, state=state,
        lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    yield row(optim.global_norm, grads=grads, whole=("grads",), right=lambda out, grads: out.shape == ())
    yield row(optim.clip_by_norm, free=("grads",), grads=grads, max_norm=1.0, least={"max_norm": 0},
        right=lambda out, grads, **a: describe(out[0]) == describe(grads))
    yield row(optim.warmup_cosine, least={"step": 0}, step=3, total=10, peak=0.1, warmup=2, final=0.0)
    whole = {"whole": ("tree",), "tree": tree}
    yield Row("tree_map", lambda f, tree, other: params.tree_map(f, tree, other), f=lambda a, b: b, tree=tree,
        other=grads, whole=("tree", "other"), right=lambda out, **a: True)
    yield row(params.flatten, **whole, right=lambda out, tree: isinstance(out, dict))
    yield row(params.count, **whole, right=lambda out, tree: isinstance(out, int))
    yield row(params.zeros_like, **whole,
        right=lambda out, tree: not any(np.any(a != np.zeros_like(a)) for a in params.flatten(out).values()))
    yield row(params.check_rng, function="f", rng=np.random.default_rng(0))
    yield row(params.Spec, axes="C d", std=0.1, value=1.0)
    yield row(params.draw, specs={"W": params.Spec("C d", 0.1)}, sizes={"C": 3, "d": 4}, rng=np.random.default_rng(0),
        dtype="float32", right=lambda out, **a: True)


def gradcheck_rows(folder):
    slope = {"f": lambda x: (x**3).sum(), "x": rng.standard_normal((2, 3)), "directions": rng.standard_normal((4, 2,
        3))}
    for f, h in ((gradcheck.central_difference, 1e-5), (gradcheck.complex_step, 1e-30)):
        yield row(f, **slope, h=h, free=("directions",), whole=("x",), right=lambda out, x, directions,
            **a: (out.shape == (np.shape(x) if directions is None else (len(directions),))))
    arrays = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    checked = {"forward": ops.linear_forward, "backward": ops.linear_backward, "args": arrays}
    yield row(gradcheck.check_pair, **checked, free=("args",), right=lambda out, **a: all(r.ok for r in out))
    yield row(gradcheck.compare_pair, **checked, free=("args",), method="auto", tolerance=1e-9, n_directions=2,
        seed=0, sizes={"n": 3}, without=(), right=lambda out, **a: all(isinstance(r.error, float) for r in out))
    yield row(gradcheck.relative_error, a=arrays[0], b=arrays[0] + 1, floor=0.0, whole=("a", "b"), finite=False)
    yield row(gradcheck.same_bits, a=arrays[0], b=arrays[0] + 1, whole=("a", "b"))
    yield row(gradcheck.diagnose, numeric=arrays[0], analytic=arrays[0] * 2 + 1, sizes={"n": 3}, vacuous=0.0,
        tolerance=1e-6, name="x", others={"W": arrays[0] * 3}, whole=("numeric", "analytic", "others"))


def data_rows(folder):
    file = folder / "text.txt"
    file.write_text("a quiet film with a warm heart " * 200, encoding="utf-8")
    for side in ("neg", "pos"):
        (folder / f"rt-polarity.{side}").write_text("a quiet film\n" * 20, encoding="utf-8")
    damage = {"level": 0.5, "rng": np.random.default_rng(0)}
    yield row(data.corrupt, "x: ... -> ...", x=PICTURES, kind="blur", **damage, clip=False, variant="images")
    yield row(data.corrupt, "x: N T -> N T", x=tokens, kind="insertion", **damage, clip=False, variant="sentences")
    for name, corruption in (corruptions.IMAGES | corruptions.SENTENCES).items():
        yield row(corruption.damage, x=PICTURES if name in corruptions.IMAGES else tokens + 1, **damage)
    lines = Split(tokens, targets[:, 0], kept)
    yield Row("Split.take", lambda **a: lines.take(**a), rows=np.array([0, 1]), whole=("rows",),
        right=lambda out, rows: len(out) == 3)
    yield Row("Split.corrupted", lambda **a: lines.corrupted(**a), kind="deletion", **damage)
    vocabulary = Vocabulary("words", ["", text.UNKNOWN, "film"])
    yield row(Vocabulary, unit="words", symbols=["", "film"])
    yield Row("Vocabulary.split", lambda **a: vocabulary.split(**a), text="a film",
        right=lambda out, text: isinstance(out, list))
    yield Row("Vocabulary.encode", lambda **a: vocabulary.encode(**a), text="a film",
        right=lambda out, text: out.dtype == "int64")
    yield Row("Vocabulary.decode", lambda **a: vocabulary.decode(**a), tokens=np.array([1, 2]), whole=("tokens",),
        right=lambda out, tokens: isinstance(out, str))
    is_data = {"right": lambda out, **a: isinstance(out, Dataset)}
    yield row(datasets.load, name="text", root=file, **is_data)
    options = {"name": "text", "root": file, "length": 4, "unit": "bytes", "overlap": 2}
    yield Row("load", data.load, **options, variant="with options", **is_data)
    yield Row("load", data.load, name="rt-polarity", root=folder, length=4, min_count=1, encoding="utf-8",
        variant="sentences", **is_data)
    yield Row("load", data.load, name="digits", root=None, variant="digits", **is_data)
    yield Row("sha256", lambda part: splits.sha256(part), part=x, whole=("part",))
    maps = [rng.random((B, H, T, T)) for _ in range(2)]
    yield row(rollout.attention_rollout, maps=maps, treatment="absolute")
    absent = dict.fromkeys(("size", "min_count", "max_words", "encoding", "spurious"))
    sizes = {"train_size": 3, "test_size": 1}
    yield row(DataConfig, data="text", root=str(file), length=4, unit="bytes", overlap=2, **absent, **sizes,
        corruptions="cifar-c")
    asked = {"data": "text", "root": str(file), "length": 4, "unit": "characters", "width": 8, "n_heads": 2, "lr": 0.1,
        "epochs": 1, "device": "cpu", "threads": 1}
    yield row(settings.settle, given=asked, load=DataConfig.load, right=lambda out, **a: len(out) == 4)
    (folder / "config.json").write_text(json.dumps(asked), encoding="utf-8")
    yield row(settings.read_settings, path=folder / "config.json")
    yield row(settings.make, config=TrainConfig, settings={"lr": 0.1, "epochs": 2})
    tree = {"a": [x, None, 2.0, "text"]}
    yield row(checkpoint.save_checkpoint, path=folder / "state.npz", state={"a": x[0, 0]}, whole=("state",))
    checkpoint.save_checkpoint(folder / "state.npz", tree)
    yield row(checkpoint.load_checkpoint, path=folder / "state.npz", right=lambda out, path: isinstance(out, dict))
    yield Row("array_module", lambda one, two: backend.array_module(one, two), one=x, two=W, whole=("one", "two"))
    yield row(backend.resolve_device, device="cpu")
    yield row(gpu.describe_device, device="cpu")
    yield row(backend.to_device, tree=tree, device="cpu", whole=("tree",), right=lambda out, **a: True)
    yield row(backend.to_numpy, tree=tree, whole=("tree",), right=lambda out, **a: True)
    yield row(backend.erf, "x: ... n -> ... n", x=x, out=None)


def train_rows(folder):
    windows = Split(rng.integers(0, 5, (4, T)), rng.integers(0, 5, (4, T)), None)
    corpus = Dataset(windows, windows, windows, {})
    cfg = TrainConfig(epochs=1, batch_size=2, device="cpu", threads=1, lr=0.01, seed=3)
    yield row(TrainConfig, **dataclasses.asdict(cfg))
    state = train.first_state(LM, cfg, P_LM)
    made = lambda out, **a: len(params.flatten(out[0])) > 0  # noqa: E731
    yield row(train.train, model=LM, cfg=cfg, data=corpus, params=P_LM, progress=False, step=train.plain_step,
        shut=("data", "params"), right=made)
    yield row(train.first_state, model=LM, cfg=cfg, params=P_LM, right=made)
    yield Row("train_steps", lambda **a: first(train.train_steps(**a)), model=LM, cfg=cfg, data=corpus, state=state,
        step=train.plain_step, right=lambda out, **a: len(out) > 0)
    steps = first(train.train_steps(LM, cfg, corpus, state))
    yield Row("with_bar", lambda **a: first(train.with_bar(**a)), steps=steps, model=LM, cfg=cfg, data=corpus, start=0,
        progress=False, shut=("steps", "data"), right=lambda out, **a: True)
    one = {"params": P_LM, "split": windows, "model": LM}
    yield row(train.predict, **one, shut=("params",), whole=("inputs", "targets"), right=lambda out, split,
        **a: out.shape == (*np.shape(split.inputs), 5))
    yield row(train.evaluate, **one, shut=("params",), right=lambda out, **a: out.keys() == {"loss", "accuracy"})
    sentences = Split(rng.integers(0, 5, (4, T)), np.array([0, 1, 2, 0]), np.ones((4, T), bool))
    one = {"params": P_TEXT, "split": sentences, "model": TEXT}
    yield row(train.predict, variant="text", **one, shut=("params",), whole=("inputs", "targets"),
        right=lambda out, split, **a: out.shape == (len(split.inputs), 3))
    yield row(train.evaluate, variant="text", **one, shut=("params",), right=lambda out,
        **a: out.keys() == {"loss", "accuracy"})


# fmt: on
GROUPS = (ops_rows, head_rows, attention_rows, model_rows, fast_rows, optim_rows)
GROUPS += (gradcheck_rows, data_rows, train_rows)


# What is answered in words that are not ours: replacements, then the calls. Each must still
# misbehave: what is mended is taken out. A tree that holds itself (loop), words of NumPy and the
# like: what no caller writes by mistake.
KNOWN_GAPS = """
device: embedding_forward(tokens) evaluate(split.inputs) evaluate(split.targets) evaluate/text(split.inputs)
    evaluate/text(split.keep) evaluate/text(split.targets) model_forward/lm,-past(inputs) predict(split.inputs)
    predict(split.targets) predict/text(split.inputs) predict/text(split.keep) predict/text(split.targets)
    sample(prompt) train_steps(data.train.inputs) train_steps(data.train.targets)
loop: adamw_init(params) adamw_step(grads) adamw_step(params) clip_by_norm(grads) relative_error(a)
    save_checkpoint(state) sgd_step(grads) sgd_step(params) to_device(tree) to_numpy(tree)
masked matrix: relative_error(b) diagnose(others.W)
complex128: clip_by_norm(grads.W) clip_by_norm(grads.b.0) sample(params.*)
empty objects words: corrupt/images(clip) corrupt/sentences(clip) train(progress) make_step(device) make_step(dtype)
empty six-axes objects words: init_attention(dtype) init_model(dtype)
nan: Vocabulary(symbols.0) Vocabulary(symbols.1)
nan inf: Vocabulary(symbols) Vocabulary(unit)
another-cache: cross_entropy_backward(cache)
complex64 device longer wider transposed complex128: central_difference(x)
device longer wider transposed: complex_step(x)
dict loop: diagnose(others)
huge: differential_head_forward/number(lam)
negative: warmup_cosine(step)
no-dict dict loop lacking: adamw_step(state) Step.set(optimizer)
none no-dict loop: global_norm(grads)
none text list dict nan negative fraction words foreign as-list: diagnose(others.W)
none text list no-dict dict loop empty objects words huge: relative_error(floor)
none text list no-dict dict loop nan inf negative zero fraction true complex complex64 empty six-axes objects words:
    causal_mask(xp)
none text no-dict dict loop objects words foreign: relative_error(b)
text: load/sentences(encoding)
text dict loop nan inf negative zero fraction true complex complex64 objects words device foreign as-list wider
    transposed bool int64 complex128 object: central_difference(directions)
text dict loop nan inf negative zero fraction true complex complex64 objects words device foreign as-list wider
    transposed bool int64 object: complex_step(directions)
text no-dict dict loop complex complex64 objects words device complex128: rotary_forward(positions)
zero more-axes fewer-axes: Vocabulary.decode(tokens)
"""


def known_gaps():
    """(replacements, calls) of each entry."""
    lines = [line for line in KNOWN_GAPS.splitlines() if line and not line.startswith("==")]
    entries = "\n".join(lines).replace("\n    ", " ").splitlines()
    return [tuple(part.split() for part in entry.split(": ")) for entry in entries]


def known_of(tried):
    """Those of the calls that are known to misbehave."""
    entries = {call: [] for call, _ in tried}
    for names, patterns in known_gaps():
        for call in entries:
            if any(fnmatchcase(call, pattern) for pattern in patterns):
                entries[call].append(names)
    return {(call, name) for call, name in tried if any(covers(names, name) for names in entries[call])}


def covers(names, name):
    every = {"any": True, "anything": name in ANYTHING, "leaf": name in IN_A_TREE}
    return f"-{name}" not in names and any(every.get(n, n == name) for n in names)


# Public by name alone: no pair, offered by no package, and called with what a checked function has
# checked. They are only held to leave their arguments unchanged; loaders are called as load(name).
LAYER_STEPS = ("head_norm", "softmax_map", "mean_pool", "patch_embed", "token_embed", "block", "project")
INNER = {
    "steps of a layer or a model, whose arguments attention_forward and model_forward have checked": " ".join(
        f"{name}_{way}" for name in LAYER_STEPS for way in ("forward", "backward")
    ),
    "make a head's last argument, for a layer": " ".join(
        function.__name__ for control in CONTROLS for function in (control.forward, control.backward)
    ),
    "work on trees": "tree_map leaves count zeros_like flatten draw same_bits sha256",
    "calls of a pair that check_pair has been given": (
        "CheckedPair.run CheckedPair.gradients CheckedPair.name check_finite described name_of"
    ),
    "parts of a run, which settle and train have checked": (
        "make settings_of with_bar check_state known typed Split.take Spec plain_step"
    ),
    "looks at what a model is given": "check_inputs",
    "read the files of a data set, whose root load has checked": (
        "home listed opened read read_text read_texts read_rows read_own decoded telling check_size partition"
    ),
    "write files of our own": "whole_file write_whole append sole_writer",
    "asks an error, whatever it is": "out_of_memory",
    "the body of the heads on tiles, and the choice of them, whose arguments a layer has checked": (
        "streamed_forward streamed_backward tiles_are_faster AttentionConfig.head_pair"
    ),
    "steps of a formula": (
        "swap sum_to_shape sum_rows row_sum row_mean square_sum sigmoid erf patches standardised "
        "kept_patches depth_schedule past_length seen_only select kept_only pair_equal"
    ),
    "has no arguments": "cores describe_gpu",
    "speaks to a GPU alone": "start_products gpu_memory gpu_ms",
    "parameters of a configuration": (
        "attention_specs model_specs mlp_specs at_depth " + " ".join(control.specs.__name__ for control in CONTROLS)
    ),
    "where an array lives, and checks": "owner_of plainly as_lam check_rng",
    "a line about what resolve_device returned": "describe_device",
    "rows of the table of corrupt": " ".join(
        c.damage.__name__ for c in (corruptions.IMAGES | corruptions.SENTENCES).values()
    ),
    "rows of the table of load": " ".join(dict.fromkeys(loader.__name__ for loader in datasets.LOADERS.values())),
}
INNER = {name: reason for reason, names in INNER.items() for name in names.split()}
OF_A_STEP = {*fast.__all__, "Step.set", "Step.gradients", "Step.train"}
INNER |= {
    name: "a part of a fast step, whose doors have checked what they are given"
    for name, f in public().items()
    if f.__module__.startswith("dgsa_np.fast.") and name not in OF_A_STEP
}


# ----------------------------------------------------------------------- what is put in their place


class Foreign:
    """An array of another library, as PyTorch's are: it has a shape, and a dtype of its own."""

    def __init__(self, a):
        self.shape, self.ndim, self.dtype = a.shape, a.ndim, f"torch.{a.dtype}"


class OnDevice:
    """As much of a CuPy array as tells it from NumPy's:
    it turns into no host array and computes with none.
    """

    __array_ufunc__ = None

    def __init__(self, host):
        self.host = host

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __len__(self):
        return len(self.host)

    def __getattr__(self, name):
        if name.startswith("__") or name == "host":
            raise AttributeError(name)
        return getattr(self.host, name)

    def get(self):
        return self.host


LOOP = {}
LOOP["loop"] = LOOP
ANYTHING = {
    "none": None,
    "text": "hostile",
    "list": [1.0, 2.0],
    "no-dict": {},
    "dict": {"hostile": 1.0},
    "loop": LOOP,
    "nan": float("nan"),
    "inf": float("inf"),
    "negative": -1,
    "zero": 0,
    "fraction": 2.5,
    "true": True,
    "complex": 1j,
    "complex64": np.complex64(1j),
    "empty": np.zeros(0),
    "six-axes": np.ones((1,) * 6),
    "objects": np.array([None, "a"], object),
    "words": np.array(["a", "b"]),
}
IN_A_TREE = ("none", "text", "list", "dict", "nan", "negative", "fraction", "empty", "words")
KINDS_OF_DTYPE = {"f": "fc", "i": "iu"}  # what may stand for what; for others, the same


def in_place_of(good):
    """(name, value) of what replaces a good argument, beside ANYTHING."""
    if isinstance(good, np.ndarray):
        yield from in_place_of_array(good)
    elif isinstance(good, float):
        yield from (("float64", np.float64(good)), ("huge", 10**400))
    elif isinstance(good, int):
        yield "int64", np.int64(good)
    elif isinstance(good, dict):
        yield from (("lacking", dict(list(good.items())[1:])), ("too-many", good | {"hostile": normal(2)}))
    elif isinstance(good, list) and len(good) > 0:
        yield from (("shorter", good[1:]), ("longer", [*good, good[0]]))
    elif dataclasses.is_dataclass(good):
        yield "another-config", AttentionConfig() if isinstance(good, TrainConfig) else TrainConfig()
    elif type(good).__name__.endswith("Cache"):
        yield "another-cache", losses.CrossEntropyCache(normal(2), normal(2), None, (2,))


def in_place_of_array(a):
    yield from (("device", OnDevice(a)), ("foreign", Foreign(a)), ("as-list", a.tolist()))
    yield from (("more-axes", a[None]), ("longer", np.concatenate([a, a[:1]])), ("no-rows", a[:0])) if a.ndim else ()
    yield from (("fewer-axes", a[0]),) if a.ndim else ()
    yield "masked", np.ma.array(a)
    if a.ndim == 2:
        yield "matrix", np.matrix(a)
    if a.ndim > 1:
        yield from (("wider", np.concatenate([a, a[..., :1]], axis=-1)), ("transposed", a.swapaxes(-1, -2)))
    for dtype in ("bool", "int64", "float16", "float64", "complex128", "object"):
        if dtype != a.dtype:
            yield dtype if dtype != "float64" else "wide", a.astype(dtype)
    if a.dtype.kind == "f":
        yield from (("nans", a * np.float32("nan")), ("infs", np.full_like(a, np.inf)))
    if a.dtype.kind in "iu":
        yield from (("negatives", -1 - a), ("too-large", a + 1000))
    if a.dtype.kind == "b":
        yield "all-false", np.zeros_like(a)


def places(tree, shut=(), path=()):
    """Paths to every part of a tree:
    a dict, list or tuple of them, a split, the training split of a data set.
    """
    yield path, tree
    if path and path[0] in shut:
        return
    items = tree.items() if isinstance(tree, dict) else ()
    if isinstance(tree, (list, Split, Dataset)) or type(tree) is tuple:
        items = list(zip(getattr(tree, "_fields", range(len(tree))), tree, strict=True))
    for key, branch in items[:1] if isinstance(tree, Dataset) else items:
        yield from places(branch, shut, (*path, key))


def put(tree, path, value):
    """The tree with one part exchanged."""
    if not path:
        return value
    key, *rest = path
    if isinstance(tree, dict):
        return tree | {key: put(tree[key], rest, value)}
    if hasattr(tree, "_fields"):
        return tree._replace(**{key: put(getattr(tree, key), rest, value)})
    return type(tree)(put(t, rest, value) if i == key else t for i, t in enumerate(tree))


def replacements(row):
    """(path, good, name, value) of each hostile call."""
    several = sum(isinstance(a, np.ndarray) for a in leaves(row.args)) > 1
    for path, good in places(row.args, row.shut):
        if path:
            anything = ANYTHING if len(path) == 1 else {n: ANYTHING[n] for n in IN_A_TREE}
            for name, value in itertools.chain(anything.items(), in_place_of(good)):
                if name != "device" or several:  # alone, it decides where to compute
                    yield path, good, name, value


def leaves(tree, seen=()):
    """Every leaf, of caches too."""
    if isinstance(tree, (dict, list, tuple)) and id(tree) not in seen:
        branches = tree.values() if isinstance(tree, dict) else tree
        return [leaf for branch in branches for leaf in leaves(branch, (*seen, id(tree)))]
    return [tree]


# ------------------------------------------------------------------------------------ the judgement

SPEAKERS = public()
NAMES = {name.split(".")[0] for name in SPEAKERS} | {"step"}  # which is what make_step makes
ALIASES = {
    "inputs": ("images", "tokens"),
    "p": ("parameters",),
    "grads": ("gradient", "gradients"),
    "args": ("x", "W"),  # of the pair that check_pair is given
    "one": ("got",),  # array_module takes its arrays without names
    "two": ("got",),
}
OF_FILES = (checkpoint.CheckpointError, data.DataError, settings.SettingsError)


def is_ours(error, row, path, good, value):
    """Does it name a function or configuration of ours, the argument, and what was expected?

    A function that is called inside may speak, of its own argument. A file is named by its path,
    and two devices by both. Where a replacement is right in itself, but contradicts another
    argument, either may be named.
    """
    message = str(error)
    if not (type(error).__module__.startswith("dgsa_np") or isinstance(error, (ValueError, TypeError, IndexError))):
        return False
    if isinstance(value, OnDevice) and "live on different devices" in message:
        return True
    if isinstance(error, OF_FILES) and isinstance(value, str) and message.startswith(value):
        return True
    if isinstance(error, gradcheck.GradientError):  # an answer: the pair is wrong for such arguments
        return True
    names = [*[part for part in path if isinstance(part, str)][-1:], path[0]]
    if (isinstance(value, (np.ndarray, dict)) and type(value) is type(good)) or value is None:
        names += {part for place, _ in places(row.args) for part in place if isinstance(part, str)}
    names += [alias for name in names for alias in ALIASES.get(name, ())]
    names += ["upstream gradient"] if row.name.endswith("_backward") and path[0] != "cache" else []
    speaker = re.match(r"(\w+)( \(kind .*?\))?: ", message)
    if speaker and speaker[1] in SPEAKERS:  # a function inside names its own argument: linear_forward its W
        names += inspect.signature(SPEAKERS[speaker[1]]).parameters
    spoken = isinstance(error, OF_FILES) or (speaker and speaker[1] in NAMES)
    return bool(spoken and "expected" in message and any(re.search(rf"\b{re.escape(n)}\b", message) for n in names))


def describe(tree, dtypes=True):
    """What a result is: names, shapes, dtypes, types."""
    if isinstance(tree, dict):
        return {key: describe(branch, dtypes) for key, branch in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [describe(branch, dtypes) for branch in tree]
    if isinstance(tree, np.ndarray):
        return tree.shape, tree.dtype.name if dtypes else ""
    return "number" if isinstance(tree, (int, float, np.number)) else type(tree).__name__


def bind(shapes, args):
    """The letters of the arguments' shapes; None where they contradict each other."""
    bound = {}
    for name, pattern in shapes.items():
        if isinstance(args[name], np.ndarray):
            wanted, shape = pattern.split(), args[name].shape
            if wanted[0] == "...":
                cut = len(shape) - len(wanted) + 1
                shape = (shape[:cut], *shape[max(cut, 0) :])
            if len(wanted) != len(shape) or any(
                bound.setdefault(n, s) != s for n, s in zip(wanted, shape, strict=True)
            ):
                return None
    return bound


def documented(letters, bound):
    """The shape of a result by its letters; "0" has no axes."""
    shape = [bound.get(letter, int(letter) if letter.isdigit() else None) for letter in letters.split()]
    first, *others = [()] if shape == [0] else shape
    return (*first, *others) if isinstance(first, tuple) else (first, *others)


def is_finite(tree):
    kinds = (np.ndarray, np.number, float)
    return all(np.isfinite(a).all() for a in leaves(tree) if isinstance(a, kinds) and np.asarray(a).dtype.kind in "fc")


def has_hash(value):
    try:
        return bool(hash(value)) or True
    except (TypeError, RecursionError):
        return False


def fault(row, out, args, path, good, name, value):
    """What is wrong with a result; empty where it is right."""
    if dataclasses.is_dataclass(out):
        if is_finite(vars(out)) and (has_hash(out) or not has_hash(row.expected)):
            return ""
        return f"keeps {value!r}"
    if row.finite and is_finite(value) and name != "huge" and not is_finite(out):
        return "not finite"
    exchanged = isinstance(value, np.ndarray) and isinstance(good, np.ndarray) and not {*path} & {*row.whole}
    if exchanged and value.dtype.kind not in KINDS_OF_DTYPE.get(good.dtype.kind, good.dtype.kind):
        return f"takes {value.dtype}"
    if exchanged and path[0] not in (*row.free, *row.letters) and value.shape != good.shape:
        return f"takes the shape {value.shape}"
    if path[0] in row.least and isinstance(value, (int, float)) and value < row.least[path[0]]:
        return f"takes {value}"
    if row.right:
        return "" if row.right(out, **args) else "another result"
    if row.returns:
        bound = bind(row.letters, args)
        right = bound is not None and out.shape == documented(row.returns, bound)
        return "" if right else f"returns {out.shape}, or takes shapes that contradict each other"
    same = name not in ("wide", "complex128")
    return "" if describe(out, same) == describe(row.expected, same) else "returns something else"


def fingerprint(tree, seen=()):
    """The bytes of everything that must not change."""
    if isinstance(tree, (dict, list, tuple)) and id(tree) not in seen:
        branches = list(tree.items()) if isinstance(tree, dict) else tree
        return [fingerprint(branch, (*seen, id(tree))) for branch in branches]
    if isinstance(tree, np.ndarray):
        return tree.shape, tree.dtype.str, tree.tobytes()
    return id(tree)


def call(row, args):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        out = row.function(**args)
    return out[0] if row.name.endswith("_forward") else out


def what_happens(row, path, good, name, value):
    """Empty where a hostile call is answered as it should be."""
    args, before = put(row.args, path, value), fingerprint(value)
    fake = types.SimpleNamespace(ndarray=OnDevice)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", fake if name == "device" else None)
        try:
            happened = fault(row, call(row, args), args, path, good, name, value)
        except Exception as error:
            on_device = "'types.SimpleNamespace'" in str(error)  # it would compute there
            happened = "" if on_device or is_ours(error, row, path, good, value) else f"{type(error).__name__}: {error}"
    return happened if fingerprint(value) == before else "changed its argument"


def call_id(row, path):
    """ "linear_forward(x)", or for a part of an argument "model_forward/vision(params.head.W)"."""
    return f"{row}({'.'.join(map(str, path))})"


def misbehaviour(row):
    """What happened, {(argument, replacement): words}, for every hostile call that ends wrongly;
    and all calls.
    """
    before, wrong, tried, row.expected = fingerprint(row.args), {}, set(), call(row, row.args)
    for path, good, name, value in replacements(row):
        which, happened = (call_id(row, path), name), what_happens(row, path, good, name, value)
        tried.add(which)
        if happened and (row.name not in INNER or happened == "changed its argument"):
            wrong[which] = happened
    if fingerprint(row.args) != before:
        wrong[str(row), ""] = "changed a good argument"
    return wrong, tried


# ---------------------------------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """{group: its rows}, with the same numbers whichever tests are run."""
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "rng", np.random.default_rng(0))
        return {group.__name__: list(group(folder)) for group in GROUPS}


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory):
    """Files go to a folder of their own,
    and what was learnt of a machine without CuPy is forgotten.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield
    backend._why_no_gpu.cache_clear()


@pytest.fixture(scope="module")
def judged(rows):
    """{call: what is wrong}, and all calls."""
    wrong, tried = {}, set()
    for row in itertools.chain(*rows.values()):
        found, calls = misbehaviour(row)
        wrong |= found
        tried |= calls
    return wrong, tried


@pytest.mark.slow
def test_a_hostile_argument_is_refused_by_name_or_answered_rightly(judged):
    wrong, tried = judged
    known = known_of(tried)
    faults = [f"{call} = {name}: {what}" for (call, name), what in wrong.items() if (call, name) not in known]
    assert faults == [], f"{len(faults)} of {len(tried)} calls"


@pytest.mark.torture  # what NumPy itself refuses, and how, changes with its version
def test_every_known_gap_is_one_still(judged):
    wrong, tried = judged
    assert sorted(known_of(tried) - wrong.keys()) == [], "right now: take them out of KNOWN_GAPS"
    print(f"\n{len(tried):,} hostile calls, {len(wrong)} answered in words that are not ours")


def test_every_public_function_has_a_row_with_every_argument(rows):
    given = {}
    for row in itertools.chain(*rows.values()):
        given.setdefault(row.name, set()).update(row.args)
    lacking = sorted(public().keys() - given.keys() - INNER.keys())
    what = "write a row of good arguments for {} into tests/spec/test_hostile_arguments.py, for a head into head_rows"
    assert not lacking, what.format(", ".join(lacking))
    assert (given.keys() | INNER.keys()) - public().keys() == set(), "rows of what is not there"
    for name, args in given.items():
        parameters = inspect.signature(public()[name]).parameters.values()
        named = {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        assert named - {"self"} - args == set(), f"{name}: arguments that no row has"


def test_every_known_gap_is_of_calls_that_are_made(rows):
    made = {}
    for row in itertools.chain(*rows.values()):
        for path, _, name, _ in replacements(row):
            made.setdefault(call_id(row, path), set()).add(name)
    for names, calls in known_gaps():
        for pattern in calls:
            given = set().union(*(made[call] for call in made if fnmatchcase(call, pattern)))
            assert any(covers(names, name) for name in given), f"{' '.join(names)}: {pattern}"


def test_what_is_inner_is_offered_by_no_package():
    offered = {*vars(dgsa_np), *fast.__all__, *vars(data), *vars(attention), *vars(ops), *vars(losses)}
    steps = {"square_sum", "swap", "sum_to_shape", "sum_rows", "row_sum", "row_mean", "sigmoid", "erf"}
    assert [name for name in INNER if name in offered - steps] == []


def test_the_judgement_sees_each_way_to_misbehave(monkeypatch):
    def right(x, factor):
        if not isinstance(factor, (int, float)) or not abs(factor) < 9:
            raise TypeError(f"right: factor is {factor!r}, expected a number below 9")
        return x * float(factor)

    def wrong(x, factor):
        if isinstance(factor, dict):
            raise KeyError("wrong: factor is a dict, expected a number")
        if isinstance(factor, list):
            raise ValueError("wrong: factor is a list")
        if isinstance(factor, complex):
            raise ValueError("wrong: x is complex, expected a number")
        if factor is True:
            raise ValueError("factor is True, expected a number")
        answers = {int: x * np.nan, str: x.T, type(None): x.astype("float64")}
        return answers.get(type(factor), x)

    def rude(x, factor):
        x += 1
        if isinstance(factor, list):
            factor.append(1.0)
        return x

    monkeypatch.setattr(sys.modules[__name__], "NAMES", {"right", "wrong", "rude"})
    judged = {}
    for function in (right, wrong, rude):
        judged |= misbehaviour(row(function, x=normal(2, 3), factor=0.5, least={"factor": -1}))[0]
    found = {call: {name: what for (c, name), what in judged.items() if c == call} for call, _ in judged}
    assert "right(factor)" not in found
    assert found["wrong(factor)"].keys() >= {"none", "text", "list", "dict", "true", "complex", "negative"}
    assert found["wrong(factor)"].keys().isdisjoint({"nan", "fraction", "empty", "float64"})
    assert found["wrong(factor)"]["text"] == found["wrong(factor)"]["none"] == "returns something else"
    assert found["wrong(factor)"]["negative"] == "not finite"
    assert found["rude"] == {"": "changed a good argument"}
    assert found["rude(factor)"] == {"list": "changed its argument"}
