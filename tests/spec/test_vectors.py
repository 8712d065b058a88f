"""The test vectors in dgsa_np/peers/vectors: the numbers are right, the manifest is true, and every
mistake in slips.py is caught by one of them.
"""

import hashlib
import json
import re
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from support import make_vectors, oracles
from support.compare import error
from support.make_golden import evaluate
from support.make_vectors import FLAGS, FOLDER, PAGE, cases, stored
from support.parity import VACUOUS, need_torch

from dgsa_np.attention import KINDS, AttentionConfig, attention_backward, attention_forward
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.ops.axes import split_heads
from dgsa_np.params import flatten
from dgsa_np.peers.slips import SLIPS

ROOT = Path(__file__).parents[2]
MANIFEST = json.loads((FOLDER / "manifest.json").read_text("utf-8"))
VECTORS = {vector["name"]: vector for vector in MANIFEST["vectors"]}
arrays_of = cache(stored)  # nobody writes to them

each = pytest.mark.parametrize("name", VECTORS)


def fits(value, schema, root):
    """Where a value breaks a JSON schema, of the words that ours uses; one that it does not know is
    an error.
    """
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    types["null"] = type(None)
    simple = {
        "type": lambda said: any(
            isinstance(value, types[t]) and (t == "boolean" or type(value) is not bool)
            for t in ([said] if isinstance(said, str) else said)
        ),
        "enum": lambda said: value in said,
        "pattern": lambda said: re.search(said, value),
        "minimum": lambda said: value >= said,
        "minItems": lambda said: len(value) >= said,
        "required": lambda said: set(said) <= set(value),
        "propertyNames": lambda said: not [b for name in value for b in fits(name, said, root)],
    }
    aside = ("$schema", "title", "description", "$defs", "properties", "additionalProperties", "items")
    for word in schema:  # the type comes first
        if word not in aside and not simple[word](schema[word]):
            return [f"{value!r:.60}: {word} {schema[word]}"]
    broken = []
    if isinstance(value, list) and "items" in schema:
        return [b for item in value for b in fits(item, schema["items"], root)]
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        broken += [f"{name}: not known" for name in value if name not in known and others is False]
        return broken + [b for name, v in value.items() for b in fits(v, known.get(name, others or {}), root)]
    return []


def ours(vector, arrays, dtype="float64"):
    """All that the manifest promises, by the package, from nothing but a manifest and a file."""
    a = {name: v.astype(dtype) if v.dtype == "float64" else v for name, v in arrays.items()}
    given = {name: a[name] for name in vector["inputs"]}
    if vector["level"] == "head":
        head, do = MECHANISMS[vector["kind"]].head, given.pop("do")
        out, cache = head.forward(**given)
        names = [f"d{name}" for name in given if name != "mask"]
        found = {"o": out} | dict(zip(names, head.backward(do, cache), strict=True))
    else:
        settings = dict(vector["settings"])
        layer = settings.pop("layer")
        cfg = AttentionConfig(vector["kind"], vector["sizes"]["C"], **settings)
        p = {name[2:]: value for name, value in given.items() if name.startswith("p.")}
        out, cache = attention_forward(given["x"], p, cfg, mask=given.get("mask"), layer=layer)
        dx, grads = attention_backward(given["dy"], cache)
        found, cache = {"y": out, "dx": dx} | flatten({"grad": {"p": grads}}), cache.head
    names = ("A", "A_exc", "A_inh", "gate", "lam")
    inside = {name: np.asarray(getattr(cache, name)) for name in names if hasattr(cache, name)}
    if "gate" in vector["outputs"] and "gate" not in inside:
        inside["gate"] = inside["lam"]
    found |= inside
    return {name: found[name] for name in vector["outputs"]}


# ------------------------------------------------------------------------------------- the numbers


@each
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_package_computes_every_vector(name, dtype):
    vector, arrays = VECTORS[name], arrays_of(name)
    for tensor, a in ours(vector, arrays, dtype).items():
        want = arrays[tensor]
        assert a.shape == want.shape and a.dtype == dtype
        assert abs(want).max() > VACUOUS, tensor
        room = 1 if dtype == "float64" else 4  # for whoever sums in another order
        assert error(a, want) <= vector["tolerance"][dtype] / room, tensor


def test_a_wrong_number_is_seen():
    vector, arrays = VECTORS["layer_dgsa_plain"], dict(arrays_of("layer_dgsa_plain"))
    arrays["p.W_o"] = arrays["p.W_o"] * (1 + 1e-11)
    assert error(ours(vector, arrays)["y"], arrays["y"]) > vector["tolerance"]["float64"]


def loops(vector, arrays):
    """The output, and the two softmax maps where there are such, as loops over numbers."""
    a = {name: v.tolist() for name, v in arrays.items() if name in vector["inputs"]}
    kind, mask, letters = vector["kind"], a.get("mask"), vector["sizes"]
    if vector["level"] == "head":
        if "lam" in a:
            a["lam"] = np.broadcast_to(arrays["lam"], [letters[n] for n in "BHT"]).tolist()
        head = oracles.HEADS[kind][0]
        given = [v for name, v in a.items() if name not in ("do", "mask")]
        found, branches = {"o": head(*given, mask)}, a
    else:
        settings = dict(vector["settings"])
        layer = settings.pop("layer")
        cfg = AttentionConfig(kind, letters["C"], **settings)
        p = {name[2:]: value for name, value in a.items() if name.startswith("p.")}
        found = {"y": oracles.attention(a["x"], p, cfg, mask, layer)}
        branches = {n: oracles.project(a["x"], p[f"W_{n}"], cfg.n_heads) for n in cfg.mechanism.projections}
    for side in ("exc", "inh"):
        if f"A_{side}" in vector["outputs"]:
            keys = branches.get(f"k_{side}", branches.get("k"))
            found[f"A_{side}"] = oracles.softmax_map(branches[f"q_{side}"], keys, mask)
    return {name: np.array(value) for name, value in found.items()}


@each
def test_loops_over_numbers_compute_the_same(name):
    vector, arrays = VECTORS[name], arrays_of(name)
    for tensor, a in loops(vector, arrays).items():
        assert error(a, arrays[tensor]) <= vector["tolerance"]["float64"], tensor


@pytest.mark.parametrize("name", [name for name, vector in VECTORS.items() if "A" in vector["outputs"]])
def test_the_map_is_what_the_values_are_multiplied_by(name):
    vector, a = VECTORS[name], arrays_of(name)
    if vector["level"] == "head":
        assert error(a["A"] @ a["v"], a["o"]) < 1e-14
        return
    h = a["A"] @ split_heads(a["x"] @ a["p.W_v"], vector["settings"]["n_heads"])
    if "p.w_norm" in a:
        factor = 0.2 if vector["kind"] == "dgsa" else 0.8
        h = factor * a["p.w_norm"] * h / np.sqrt((h * h).mean(-1, keepdims=True) + vector["settings"]["eps"])
    assert error(h.swapaxes(1, 2).reshape(a["x"].shape) @ a["p.W_o"], a["y"]) < 1e-14


@each
def test_a_head_in_plain_numpy_computes_the_same(name):
    """The one that mistakes are made in; of layers, that is slips.slipped."""
    case = cases()[name]
    out = arrays_of(name)[make_vectors.out_name(case)]
    assert error(next(make_vectors.spoiled(case, [None])), out) < 1e-13


@pytest.mark.peers
@each
def test_autograd_of_pytorch_computes_the_same(name):
    need_torch()
    case, arrays = cases()[name], arrays_of(name)
    results = evaluate(case)
    results = {make_vectors.grad_name(n): a for n, a in results.items() if n != "out"} | {"out": results["out"]}
    results[make_vectors.out_name(case)] = results.pop("out")
    assert {n for n in arrays if n[0] == "d" or n.startswith("grad.")} - results.keys() <= {"dy", "do"}
    for tensor in results.keys() & arrays.keys():
        assert error(results[tensor], arrays[tensor]) <= VECTORS[name]["tolerance"]["float64"], tensor


# ------------------------------------------------------------------------------------ the manifest


def test_the_manifest_fits_the_schema():
    schema = json.loads((FOLDER / "schema.json").read_text("utf-8"))
    assert fits(MANIFEST, schema, schema) == []
    assert schema["$defs"]["vector"]["properties"]["kind"]["enum"] == [*KINDS], "the kinds of schema.json"
    settings = schema["$defs"]["settings"]["properties"].keys()
    assert all(v["settings"].keys() == (settings if v["level"] == "layer" else set()) for v in VECTORS.values())


@pytest.mark.parametrize(
    "key, value",
    [("level", "model"), ("sha256", "0"), ("flags", [1]), ("sizes", {"B": 1}), ("tolerance", 1e-12), ("more", 1)],
)
def test_a_manifest_that_breaks_the_schema_is_seen(key, value):
    schema = json.loads((FOLDER / "schema.json").read_text("utf-8"))
    assert len(fits(MANIFEST | {"vectors": [MANIFEST["vectors"][0] | {key: value}]}, schema, schema)) >= 1


def test_the_folder_holds_what_the_manifest_says():
    files = {path.name for path in FOLDER.iterdir() if path.is_file()}
    assert files == {v["file"] for v in VECTORS.values()} | {"__init__.py", "manifest.json", "schema.json"}
    assert len(VECTORS) == len(MANIFEST["vectors"])
    assert sum((FOLDER / name).stat().st_size for name in files) < 440_000


@each
def test_a_file_is_what_the_manifest_says(name):
    vector = VECTORS[name]
    assert hashlib.sha256((FOLDER / vector["file"]).read_bytes()).hexdigest() == vector["sha256"]
    arrays, sizes = arrays_of(name), vector["sizes"]
    said = vector["inputs"] | vector["outputs"]
    assert said.keys() == arrays.keys() and vector["file"] == f"{name}.npz"
    letters = sizes | {"1": 1, "2d": 2 * sizes["d"], "H*d": sizes["H"] * sizes["d"]}
    for tensor, axes in said.items():
        assert arrays[tensor].shape == tuple(letters[letter] for letter in axes.split()), tensor
        assert arrays[tensor].dtype == ("bool" if tensor == "mask" else "float64")
        assert tensor == "mask" or tensor in vector["outputs"] or (arrays[tensor].astype("f") == arrays[tensor]).all()
    assert ("mask" in arrays) == (vector["mask"] != "none")
    mask = np.broadcast_to(arrays.get("mask", True), [sizes[letter] for letter in "BHTS"])
    assert mask.any(axis=3).all() == (vector["mask"] != "no_key")


def test_the_vectors_cover_what_the_page_promises():
    have = {(v["level"], v["kind"], v["mask"]) for v in VECTORS.values()}
    lacking = set(product(("head", "layer"), KINDS, ("none", "causal", "no_key"))) - have
    assert not lacking, f"run tests/support/make_vectors.py, which makes vectors of {sorted(lacking)}"
    layers = [v for v in VECTORS.values() if v["level"] == "layer"]
    assert {v["kind"] for v in layers if v["settings"]["rotary"]} == {*KINDS}
    for key, value in {"head_norm": False, "gate": "head", "gate_on": "inhibition", "layer": 3}.items():
        assert any(v["settings"][key] == value for v in layers), key
    for vector in VECTORS.values():
        aside = ("e", "S") if vector["level"] == "layer" else ("e",)  # S is T, e may be d
        distinct = [n for letter, n in vector["sizes"].items() if letter not in aside]
        if vector["kind"] != "twicing":
            assert len(set(distinct)) == len(distinct), vector["name"]
    heads = [v["sizes"] for v in VECTORS.values() if v["level"] == "head" and v["kind"] != "twicing"]
    assert {np.sign(n["T"] - n["S"]) for n in heads} == {-1, 1}


def test_the_equations_have_their_rows():
    rows = re.findall(r"^\| `(eq:[\w-]+)`", (ROOT / "docs/equations.md").read_text("utf-8"), re.MULTILINE)
    assert {label for v in VECTORS.values() for label in v["equations"]} <= {*rows}


# --------------------------------------------------------------------------------------- the flags


def test_every_mistake_has_its_name_and_is_caught():
    assert len({slip.name for slip in SLIPS}) == len(SLIPS) and MANIFEST["flags"] == FLAGS
    caught = {flag for vector in VECTORS.values() for flag in vector["flags"]}
    assert caught == {*FLAGS}  # also: no flag without a message


@pytest.mark.slow
def test_files_flags_and_the_table_of_the_page_are_what_is_computed_now(capsys):
    assert make_vectors.main(["--check"]) == 0, capsys.readouterr().out


@pytest.mark.slow
def test_no_flag_hangs_on_a_rounding_error():
    """A change is three times the tolerance of single precision, or a third of it."""
    for case in cases().values():
        near = {flag: c for flag, c in make_vectors.changes(case).items() if 3e-6 < c < 3e-5}
        assert near == {}, case.name


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_can_get_wrong_a_vector_of_this_kind_catches(kind):
    """Mistakes that change a layer of this kind, whatever its settings, mask and depth."""
    wrong = set()
    switches = product(
        (False, True), (True, False), ("token", "head"), ("both", "inhibition"), ("none", "causal", "no_key")
    )
    for seed, (rotary, head_norm, gate, gate_on, mask) in enumerate(switches):
        if kind == "dgsa" or (gate, gate_on) == ("token", "both"):
            options = {"rotary": rotary, "head_norm": head_norm, "gate": gate, "gate_on": gate_on}
            wrong |= {*make_vectors.flags(make_vectors.layer_case(kind, str(seed), mask, seed % 3, **options))}
    flags = {flag for v in VECTORS.values() if v["kind"] == kind and v["level"] == "layer" for flag in v["flags"]}
    assert wrong - flags == set()


# ---------------------------------------------------------------------------------------- the page


def test_the_reader_of_the_page_prints_what_the_page_says(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    page, namespace = PAGE.read_text("utf-8"), {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        exec(compile(block, "vectors.md", "exec"), namespace)
    assert capsys.readouterr().out == re.search(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[1]
    namespace["check"](ours)
    assert capsys.readouterr().out == "".join(f"{name} right\n" for name in VECTORS)


def test_the_reader_of_the_page_names_mistakes_and_damage(monkeypatch, capsys, tmp_path):
    namespace = {}
    exec(re.search(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)[1], namespace)
    namespace["FOLDER"] = FOLDER
    for flag in ("depth-from-1", "mask-added", "rotary-half-split", "eps-1e-05"):
        with np.errstate(all="ignore"):
            namespace["check"](lambda v, a, flag=flag: {"y": next(make_vectors.spoiled(cases()[v["name"]], [flag]))},
                               level="layer", kind="diff_v1")  # fmt: skip
        assert f"perhaps {flag}: {FLAGS[flag]}" in capsys.readouterr().out
    for path in FOLDER.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with open(tmp_path / "head_softmax_none.npz", "r+b") as file:
        file.write(b"?")
    namespace["FOLDER"] = tmp_path
    with pytest.raises(AssertionError, match="damaged"):
        namespace["check"](ours)
