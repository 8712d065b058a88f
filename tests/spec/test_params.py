"""Trees of parameters: names with dots, leaf by leaf, and what is drawn at the start."""

import numpy as np
import pytest

from dgsa_np.params import Spec, count, draw, flatten, tree_map, zeros_like


def test_flatten_gives_dotted_names_and_count_sums_the_sizes():
    blocks = [{"attention": {"W_q": np.ones((2, 3))}}, {"b": np.ones(4)}]
    tree = {"blocks": blocks, "none": None, "head": np.ones(())}
    assert list(flatten(tree)) == ["blocks.0.attention.W_q", "blocks.1.b", "head"]
    assert flatten(tree)["blocks.1.b"] is tree["blocks"][1]["b"]
    assert count(tree) == 2 * 3 + 4 + 1


def test_a_tuple_is_a_tree_for_flatten_as_for_tree_map():
    tree = {"a": (np.ones(2), np.ones(3))}
    assert count(tree) == count(tree_map(np.zeros_like, tree)) == 5


def test_tree_map_goes_leaf_by_leaf_through_several_trees():
    tree = {"a": [1, None], "b": {"c": 2}}
    other = {"a": [10, None], "b": {"c": 20}}
    assert tree_map(lambda x, y: x + y, tree, other) == {"a": [11, None], "b": {"c": 22}}
    with pytest.raises(ValueError, match="zip"):
        tree_map(lambda x, y: x, [1, 2], [1])


def test_zeros_like_keeps_shape_and_dtype_and_leaves_its_argument():
    tree = {"a": np.full((2, 3), np.nan, "float32"), "b": [np.ones(4, complex)]}
    zeros = zeros_like(tree)
    assert not zeros["a"].any() and not zeros["b"][0].any()
    described, expected = ({n: (a.shape, a.dtype) for n, a in flatten(t).items()} for t in (zeros, tree))
    assert described == expected
    assert np.isnan(tree["a"]).all() and tree["b"][0].all()


def test_draw_follows_the_law_of_each_spec():
    specs = {"W": Spec("n m", std=0.5, value=3.0), "b": Spec("m"), "gain": Spec("m", value=2.0)}
    drawn = draw(specs, {"n": 400, "m": 300}, np.random.default_rng(0), "float64")
    assert drawn["W"].shape == (400, 300) and drawn["b"].shape == drawn["gain"].shape == (300,)
    assert abs(drawn["W"].mean() - 3) < 0.01 and abs(drawn["W"].std() - 0.5) < 0.01
    assert (drawn["b"] == 0).all() and (drawn["gain"] == 2).all()
