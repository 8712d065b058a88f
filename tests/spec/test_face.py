"""`import dgsa_np`, and the names that it offers."""

import ast
import importlib
import pickle
import types
from pathlib import Path

import numpy as np
import pytest

import dgsa_np

FACES = ("dgsa_np", "dgsa_np.attention", "dgsa_np.data", "dgsa_np.fast", "dgsa_np.gradcheck", "dgsa_np.ops")


def names_for_type_checkers(path):
    """What a file imports for type checkers: {name: module, or "" for a module itself}."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    (block,) = (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    return {name.name: node.module or "" for node in block.body for name in node.names}


def test_editors_and_python_see_the_same_names():
    seen = names_for_type_checkers(dgsa_np.__file__)
    assert sorted(seen) == sorted(dgsa_np.__all__)
    assert {name: module for name, module in seen.items() if module} == dgsa_np.MODULE_OF


def test_every_name_is_what_its_module_has():
    for name in dgsa_np.__all__:
        if name in dgsa_np.MODULE_OF:
            home = importlib.import_module(f"dgsa_np.{dgsa_np.MODULE_OF[name]}")
            assert getattr(dgsa_np, name) is getattr(home, name)
        else:
            assert isinstance(getattr(dgsa_np, name), types.ModuleType)
    assert {*dgsa_np.__all__, "__version__"} == set(dir(dgsa_np))


@pytest.mark.parametrize("face", FACES)
def test_every_name_on_offer_is_there(face):
    module = importlib.import_module(face)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_a_first_program():
    cfg = dgsa_np.AttentionConfig(kind="dgsa", width=16, n_heads=2)
    p = dgsa_np.init_attention(cfg, np.random.default_rng(0), "float64")
    x = np.random.default_rng(1).standard_normal((2, 5, 16))
    y, cache = dgsa_np.attention_forward(x, p, cfg, dgsa_np.causal_mask(5))
    dx, grads = dgsa_np.attention_backward(np.ones_like(y), cache)
    assert y.shape == dx.shape == x.shape and grads.keys() == p.keys()
    assert dgsa_np.attention_map(cache).shape == cache.head.A_exc.shape == (2, 2, 5, 5)
    silu = dgsa_np.ops.silu_forward, dgsa_np.ops.silu_backward
    assert all(result.ok for result in dgsa_np.gradcheck.check_pair(*silu, (x,)))


@pytest.mark.parametrize("name", ["atention", "load", "__wrapped__"])
def test_any_other_name_is_an_error_as_of_every_module(name):
    with pytest.raises(AttributeError, match=f"module 'dgsa_np' has no attribute '{name}'"):
        getattr(dgsa_np, name)
    with pytest.raises(AttributeError, match=f"module 'dgsa_np.fast' has no attribute '{name}'"):
        getattr(dgsa_np.fast, name)


def test_what_the_face_gives_can_be_pickled():
    for name in dgsa_np.MODULE_OF:
        assert pickle.loads(pickle.dumps(getattr(dgsa_np, name))) is getattr(dgsa_np, name)
