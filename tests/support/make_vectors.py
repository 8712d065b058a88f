"""The test vectors of dgsa_np/peers/vectors: drawn, computed by the package, and which mistakes
each of them catches.

    python tests/support/make_vectors.py            write the files that differ, and the manifest
    python tests/support/make_vectors.py --check    write nothing; status 1 for a difference

A file is not written again for its last bits, which depend on the processor. The table of flags in
docs/vectors.md is written, too.
"""

import argparse
import hashlib
import io
import json
import re
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # where support lies

import dgsa_np
from dgsa_np.attention import KINDS, multihead
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.attention.softmax import softmax_map_forward
from dgsa_np.ops.rotary import rotary_forward
from dgsa_np.params import flatten
from dgsa_np.peers.slips import SLIPS, Slip, masks, slipped
from support.make_golden import HEADS, Case, Draw, attention_parameters
from support.parity import arguments, name_gradients, pair

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "dgsa_np/peers/vectors"
PAGE = ROOT / "docs/vectors.md"
VERSION = "1"  # of names, layouts and meanings: docs/vectors.md
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}  # of the largest entry
AGREE = 1e-13  # between what is stored and what is computed now
KIND_OF = {row.head.forward.__name__.removesuffix("_forward"): kind for kind, row in MECHANISMS.items()}
SEEDS = {  # not 0 where that would be unfair to single precision, or a flag a near thing
    "layer_diff_v1_plain": 1,
    "layer_diff_v1_causal": 1,
    "layer_diff_v1_no_norm": 1,
    "layer_diff_v1_no_key": 5,
    "layer_diff_v1_rotary": 21,
    "layer_dgsa_no_key": 2,
}
NORMED = ("diff_v1", "dgsa")  # the kinds with a norm of the heads


# ------------------------------------------------------------------------------------- the vectors


def cases():
    """{name: Case}, in the order of the manifest."""
    return {case.name: case for case in [*head_cases(), *layer_cases()]}


class Coarse(Draw):
    """Odd multiples of 1/8, scaled: shorter yet than in the golden files."""

    def normal(self, *shape, scale=1.0, mean=0.0):
        return mean + scale * (np.floor(4 * self.rng.standard_normal(shape)) + 0.5) / 4


def head_cases():
    """Heads of all kinds: fewer queries than keys, and more.

    No two sizes of a vector are the same, but S and T in twicing attention.
    """
    tables = {  # mask: B, H, T, S, d, e
        "none": (1, 2, 3, 5, 4, 6),
        "causal": (2, 1, 3, 5, 4, 6),
        "no_key": (2, 3, 5, 4, 6, 7),
    }
    for function, names in HEADS.items():
        for mask, (B, H, T, S, d, e) in tables.items():
            S = T if function == "twicing_head" else S
            name = f"head_{KIND_OF[function]}_{mask}"
            draw = Coarse(SEEDS.get(name, 0), f"vector {name}")
            shapes = {"q": (B, H, T, d), "k": (B, H, S, d), "v": (B, H, S, e)}
            weight = () if (function, mask) == ("differential_head", "none") else (B, H, T)
            inputs = {given: draw.normal(*shapes.get(given[0], weight)) for given in names}
            sizes = {"B": B, "H": H, "T": T, "S": S, "d": d, "e": e}
            yield with_mask(name, function, KIND_OF[function], mask, sizes, inputs, draw)


def layer_case(kind, name, mask="none", layer=0, rotary=False, **switches):
    B, T, H, d = (5, 4, 2, 3) if kind in NORMED and not rotary else (3, 5, 2, 4)  # rotary: two frequencies
    C = d * H * MECHANISMS[kind].split
    name = f"layer_{kind}_{name}"
    draw = Coarse(SEEDS.get(name, 0), f"vector {name}")
    drawn = {k: v for k, v in switches.items() if k in ("head_norm", "gate")}
    inputs = {"x": draw.normal(B, T, C)} | flatten({"p": attention_parameters(draw, kind, C, H, **drawn)})
    sizes = {"B": B, "H": H, "T": T, "S": T, "d": d, "e": C // H, "C": C}
    config = {"kind": kind, "width": C, "n_heads": H, "rotary": rotary} | switches
    spec = {"config": config, "options": {"layer": layer}}
    return with_mask(name, "attention", kind, mask, sizes, inputs, draw, **spec)


def layer_cases():
    """Layers of all kinds, and each setting that a kind has."""
    for kind in KINDS:
        normed = kind in NORMED
        yield layer_case(kind, "plain")
        yield layer_case(kind, "causal", "causal", layer=3 if normed else 0)
        yield layer_case(kind, "no_key", "no_key")
        yield layer_case(kind, "rotary", rotary=True)
        if normed or kind == "softmax":
            yield layer_case(kind, "padding", "padding", **{"eps": 2.0**-4, "lambda_init": 0.375} if normed else {})
        if normed:
            yield layer_case(kind, "no_norm", layer=1, head_norm=False)
    yield layer_case("dgsa", "gate_head", "causal", gate="head")
    yield layer_case("dgsa", "inhibition", gate_on="inhibition")


def with_mask(name, function, kind, mask, sizes, inputs, draw, **spec):
    """The case, with its mask and upstream gradient drawn last."""
    B, H, T, S = (sizes[letter] for letter in "BHTS")
    if mask != "none":
        inputs["mask"] = draw.mask({"no_key": "rows"}.get(mask, mask), B, H, T, S)
    upstream = draw.normal(B, H, T, sizes["e"]) if function != "attention" else draw.normal(*inputs["x"].shape)
    return Case(name, {"function": function, "kind": kind, "mask": mask, "sizes": sizes} | spec, inputs, upstream)


def computed(case):
    """{name: array}: the output, all gradients, and what is inside the head."""
    forward, backward = pair(case.spec["function"])
    out, cache = forward(**arguments(case))
    gradients = flatten({"grad": name_gradients(case, backward(case.upstream, cache))})
    head = getattr(cache, "head", cache)
    inside = {name: getattr(head, name) for name in ("A", "A_exc", "A_inh", "gate", "lam") if hasattr(head, name)}
    if case.spec.get("config", {}).get("gate_on") == "inhibition":
        inside["gate"] = inside.pop("lam")
    inside = {name: np.array(a) for name, a in inside.items() if name not in case.inputs}
    return {out_name(case): out} | {grad_name(name): g for name, g in gradients.items()} | inside


def grad_name(name):
    """grad.x -> dx, but grad.p.W_q as it is."""
    return name if name.startswith("grad.p.") else f"d{name.removeprefix('grad.')}"


def outputs(case):
    """What is stored of it: all where there is no mask and nothing special; elsewhere neither maps
    nor the gradients of the projections, whose numbers would be most of the file.
    """
    if case.name.endswith(("_none", "_plain")):
        return computed(case)
    projections = (*MECHANISMS[case.spec["kind"]].projections, "o")
    left_out = ("A", "A_exc", "A_inh", *(f"grad.p.W_{name}" for name in projections))
    return {name: a for name, a in computed(case).items() if name not in left_out}


def is_head(case):
    return case.spec["function"] != "attention"


def out_name(case):
    return "o" if is_head(case) else "y"


def contents(case):
    """All arrays of the file of a case, by name."""
    return case.inputs | {f"d{out_name(case)}": case.upstream} | outputs(case)


# --------------------------------------------------------------------------------- what they catch

NAN_ROW = "a query without any key gives nan, where it gives 0"
ALL_KEYS = "a query without any key sees them all: a finite number stands where -inf belongs"
EMPTY = (  # no slips of slips.py, since conform does not judge such queries
    Slip("no-key-nan", NAN_ROW, map=lambda cache: np.where(cache.A.any(axis=-1, keepdims=True), cache.A, np.nan)),
    Slip("no-key-all", ALL_KEYS, **masks(lambda mask, x: mask | ~mask.any(axis=-1, keepdims=True))),
)
LAYER_SLIPS = {slip.name: slip for slip in (*SLIPS, *EMPTY)}
OF_HEADS = {
    "mask-top-left": "a causal mask lets query t see the keys up to t, not up to t + S - T",
    "softmax-over-queries": "the softmax runs over the queries, not over the keys",
    "gate-no-sigmoid": "the logit of the gate is taken for the gate",
    "gate-missing": "the gate of the output plays no part",
    "twicing-once": "twicing attention attends only once",
    "twicing-plus": "A^2 is added, not subtracted",
}
FLAGS = {name: slip.message for name, slip in LAYER_SLIPS.items()} | OF_HEADS
SCALES = {
    "scale-missing": lambda d: 1,
    "scale-d": lambda d: d,
    "scale-sqrt-2d": lambda d: (2 * d) ** 0.5,
    "scale-sqrt-half-d": lambda d: (d / 2) ** 0.5,
}
SEEN = {  # of a mask (B, H, T, S) and whether it is causal
    "mask-inverted": lambda seen, causal: ~seen,
    "mask-ignored": lambda seen, causal: seen | True,
    "mask-added": lambda seen, causal: seen | True,
    "mask-top-left": lambda seen, causal: np.tri(*seen.shape[2:], dtype=bool) if causal else seen,
    "no-key-all": lambda seen, causal: seen | ~seen.any(axis=-1, keepdims=True),
}
FUSED = {  # of both maps and their weights
    "sign-plus": lambda E, I, e, i: e * E + i * I,
    "inhibition-missing": lambda E, I, e, i: e * E,
    "inhibition-unweighted": lambda E, I, e, i: e * E - I,
    "excitation-unweighted": lambda E, I, e, i: E - i * I,
    "gate-exchanged": lambda E, I, e, i: i * E - e * I,
    "branches-swapped": lambda E, I, e, i: e * I - i * E,
    "map-cut-at-0": lambda E, I, e, i: np.maximum(e * E - i * I, 0),
    "map-sums-to-1": lambda E, I, e, i: (e * E - i * I) / (e * E - i * I).sum(axis=-1, keepdims=True),
}
HEAD_SLIPS = (*SCALES, *SEEN, "no-key-nan", *FUSED, *(name for name in OF_HEADS if name not in SEEN))


def plain_map(q, k, mask, slip, causal):
    """softmax(q k^T / sqrt(d)), (B, H, T, S)."""
    scores = q @ k.swapaxes(2, 3) / SCALES.get(slip, np.sqrt)(q.shape[3])
    seen = np.broadcast_to(True if mask is None else mask, scores.shape)
    if slip == "mask-added":
        scores = scores + seen
    if mask is not None:
        seen = SEEN.get(slip, lambda seen, causal: seen)(seen, causal)
    A, axis = seen * np.exp(scores), 2 if slip == "softmax-over-queries" else 3
    total = A.sum(axis=axis, keepdims=True)
    return A / (total if slip == "no-key-nan" else np.where(total > 0, total, 1))


def plain_head(kind, a, slip=None, causal=False):
    """o (B, H, T, e) of any head in plain NumPy, with a mistake: a third reading of the formulas.

    causal : is the mask of a that of causal attention?
    """
    pairs = [(a.get(f"q{b}", a.get("q")), a.get(f"k{b}", a.get("k"))) for b in ("_exc", "_inh")]
    maps = [plain_map(q, k, a.get("mask"), slip, causal) for q, k in pairs]
    if kind == "twicing":
        A = maps[0]
        A = A if slip == "twicing-once" else 2 * A + A @ A if slip == "twicing-plus" else 2 * A - A @ A
    elif "q" in a:
        A = maps[0] * (a["gate"][..., None] if "gate" in a and slip != "gate-missing" else 1)
    else:
        weights = 1, a["lam"][..., None] if "lam" in a else None
        if "z_gate" in a:
            z = a["z_gate"][..., None]
            g = z if slip == "gate-no-sigmoid" else 1 / (1 + np.exp(-z))
            weights = g, 1 - g
        A = FUSED.get(slip, lambda E, I, e, i: e * E - i * I)(*maps, *weights)
    return A @ a["v"]


def spoiled(case, names):
    """The output of a case with each of these mistakes, one after the other; None: without any."""
    given = arguments(case)
    for name in names:
        with np.errstate(all="ignore"):
            if is_head(case):
                yield plain_head(case.spec["kind"], case.inputs, name, case.spec["mask"] == "causal")
            else:
                layer = given["x"], given["p"], given["cfg"], given.get("mask"), given["layer"]
                yield slipped(*layer, *([LAYER_SLIPS[name]] if name else []))


def changes(case):
    """{name of a mistake: how far it moves the output, by its largest entry}"""
    names = HEAD_SLIPS if is_head(case) else LAYER_SLIPS
    out = computed(case)[out_name(case)]
    moved = {name: abs(y - out).max() / abs(out).max() for name, y in zip(names, spoiled(case, names), strict=True)}
    return {name: moved[name] for name in FLAGS if name in moved}


def flags(case):
    """The mistakes that move the output by more than single precision may."""
    return [name for name, change in changes(case).items() if not change <= TOLERANCE["float32"]]  # or nan


# ------------------------------------------------------------------------------------ the manifest


def equations(case):
    """Labels of docs/equations.md, those of the functions that take part."""
    if is_head(case):
        functions = [softmax_map_forward, pair(case.spec["function"])[0]]
    else:
        cfg = arguments(case)["cfg"]
        row = cfg.mechanism
        functions = [multihead.attention_forward, multihead.project_forward, softmax_map_forward, row.head.forward]
        functions += [row.control.forward] if row.control else []
        functions += [row.lambda_init] if row.lambda_init and cfg.lambda_init is None else []
        functions += [rotary_forward] if cfg.rotary else []
        functions += [multihead.head_norm_forward] if cfg.has_head_norm else []
    return [label for function in functions for label in re.findall(r"\[(eq:[\w-]+), ", function.__doc__ or "")]


def settings(case):
    """Of a layer, all that its function needs beside arrays."""
    if is_head(case):
        return {}
    cfg = arguments(case)["cfg"]
    names = ("n_heads", "head_norm", "lambda_init", "gate", "gate_on", "eps", "rotary")
    return {name: getattr(cfg, name) for name in names} | {"layer": case.spec["options"]["layer"]}


def axes(case, name, a):
    """The letters of an array: "B T C"; a number has none."""
    name = re.sub(r"^grad\.|^d", "", name)
    if name.startswith("p."):
        return multihead.attention_specs(arguments(case)["cfg"])[name[2:]].axes
    if name == "mask":
        return " ".join("1" if n == 1 else letter for n, letter in zip(a.shape, "BHTS", strict=True))
    known = {"x": "B T C", "y": "B T C", "q": "B H T d", "k": "B H S d", "v": "B H S e", "o": "B H T e", "A": "B H T S"}
    return known.get(name[0], "B H T") if a.ndim else ""


def entry(case, file):
    """What the manifest says of a vector."""
    given = case.inputs | {f"d{out_name(case)}": case.upstream}
    return {
        "name": case.name,
        "file": f"{case.name}.npz",
        "sha256": hashlib.sha256(file).hexdigest(),
        "level": "head" if is_head(case) else "layer",
        "kind": case.spec["kind"],
        "mask": case.spec["mask"],
        "settings": settings(case),
        "sizes": case.spec["sizes"],
        "inputs": {name: axes(case, name, a) for name, a in given.items()},
        "outputs": {name: axes(case, name, a) for name, a in outputs(case).items()},
        "dtype": "float64",
        "tolerance": TOLERANCE,
        "equations": equations(case),
        "flags": flags(case),
    }


def manifest(files):
    """files : {name: bytes}"""
    generator = {"script": "tests/support/make_vectors.py", "dgsa_np": dgsa_np.__version__, "numpy": np.__version__}
    vectors = [entry(case, files[name]) for name, case in cases().items()]
    return {"version": VERSION, "generator": generator, "flags": FLAGS, "vectors": vectors}


def packed(arrays):
    """An .npz as bytes: no times in it, and no room for large files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, a in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(a, order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return file.getvalue()


# ------------------------------------------------------------------------------ written and checked


def stored(name):
    """The arrays of a file."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def differences(case):
    """The names of arrays that are stored otherwise than they are drawn and computed now."""
    if not (FOLDER / f"{case.name}.npz").exists():
        return ["there is no file"]
    old, new = stored(case.name), contents(case)
    return [name for name in sorted(old.keys() | new.keys()) if not close(old.get(name), new.get(name))]


def close(a, b):
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(np.all(a == b) if a.dtype == bool else abs(a - b).max() <= AGREE * abs(b).max())


def in_lines(manifest):
    """JSON with a line for each part of a vector."""
    parts = [
        ",\n   ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in entry.items()) for entry in manifest["vectors"]
    ]
    flags = ",\n  ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in manifest["flags"].items())
    vectors = ",\n  ".join(f"{{{part}}}" for part in parts)
    start = json.dumps({k: v for k, v in manifest.items() if k not in ("flags", "vectors")})[:-1]
    return f'{start},\n "flags": {{\n  {flags}}},\n "vectors": [\n  {vectors}]}}\n'


def table(manifest):
    """The flags as a table of Markdown: what each means, and how many vectors bear it."""
    n = Counter(name for vector in manifest["vectors"] for name in vector["flags"])
    rows = [f"| `{name}` | {message} | {n[name]} |" for name, message in manifest["flags"].items()]
    return "\n".join(["| flag | the mistake | vectors |", "|---|---|---|", *rows]) + "\n"


def page(manifest):
    """docs/vectors.md with its table of flags."""
    return re.sub(r"^\| flag \|.*?\n(?!\|)", lambda _: table(manifest), PAGE.read_text("utf-8"), flags=re.S | re.M)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Write dgsa_np/peers/vectors, or check it.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a file differs")
    check = parser.parse_args(arguments).check
    found = {name: differences(case) for name, case in cases().items()}
    stale = [file for file in FOLDER.glob("*.npz") if file.stem not in found]
    if not check:
        for file in stale:
            file.unlink()
        for name in (name for name, what in found.items() if what):
            (FOLDER / f"{name}.npz").write_bytes(packed(contents(cases()[name])))
    files = {name: (FOLDER / f"{name}.npz").read_bytes() for name in found if (FOLDER / f"{name}.npz").exists()}
    if check:
        return report(found, stale, files)
    made = manifest(files)
    (FOLDER / "manifest.json").write_text(in_lines(made), encoding="utf-8", newline="\n")
    PAGE.write_text(page(made), encoding="utf-8", newline="\n")
    written = sum(map(bool, found.values()))
    print(f"{len(files)} vectors, {written} written, {sum(map(len, files.values())):,} bytes")
    return 0


def report(found, stale, files):
    """What --check says."""
    wrong = [f"{name}: {what}" for name, all_of_it in found.items() for what in all_of_it]
    wrong += [f"{file.name}: no such vector" for file in stale]
    if not wrong:
        new, old = manifest(files), json.loads((FOLDER / "manifest.json").read_text("utf-8"))
        wrong += [f"manifest.json: {key}" for key in new if key != "generator" and new[key] != old.get(key)]
        wrong += ["docs/vectors.md: the table of flags"] if page(new) != PAGE.read_text("utf-8") else []
    print("\n".join(wrong) or f"{len(files)} vectors, all as stored")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
