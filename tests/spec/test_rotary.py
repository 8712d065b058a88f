"""Rotary positions: products know distances alone, turns are undone, and order matters."""

import numpy as np
import pytest
from support.compare import rel
from support.problems import B, H, S, T, kinds, layer, normals, seeds

from dgsa_np.attention import attention_forward
from dgsa_np.ops import rotary_backward, rotary_forward


@seeds
@pytest.mark.parametrize("shift", [1, 37, 1000])
def test_rotary_products_depend_on_the_distance_alone(seed, shift):
    q, k = normals(seed, (B, H, T, 6), (B, H, S, 6))

    def scores(first):
        turned_q, _ = rotary_forward(q, np.arange(T) + first)
        turned_k, _ = rotary_forward(k, np.arange(S) + first)
        return turned_q @ turned_k.swapaxes(-1, -2)

    assert rel(scores(shift), scores(0)) < 1e-12
    assert rel(q @ k.swapaxes(-1, -2), scores(0)) > 1e-3
    one_q, one_k = (np.broadcast_to(a[:, :, :1], (B, H, S, 6)) for a in (q, k))
    table = rotary_forward(one_q, range(S))[0] @ rotary_forward(one_k, range(S))[0].swapaxes(-1, -2)
    assert rel(table[..., 1:, 1:], table[..., :-1, :-1]) < 1e-13  # the same number along each diagonal


@seeds
def test_rotary_turns_pairs_and_backward_turns_them_back(seed):
    x, dy = normals(seed, (B, H, T, 6), (B, H, T, 6))
    y, cache = rotary_forward(x, np.array([0, 2, 5, 90]))
    assert y[:, :, 0].tobytes() == x[:, :, 0].tobytes()  # position 0
    for before, after in ((x, y), (dy, rotary_backward(dy, cache))):
        pairs, turned = (a.reshape(B, H, T, 3, 2) for a in (before, after))
        assert rel((turned**2).sum(axis=-1), (pairs**2).sum(axis=-1)) < 1e-14
        assert rel(turned[:, :, 1:], pairs[:, :, 1:]) > 1e-2
    assert rel(rotary_backward(y, cache), x) < 1e-15
    assert np.array_equal(rotary_backward(dy, cache), rotary_forward(dy, -np.array([0, 2, 5, 90]))[0])


@seeds
@kinds
def test_with_rotary_the_order_of_the_tokens_matters(kind, seed):
    x, p, cfg, _ = layer(kind, seed, rotary=True)
    order = np.arange(T)[::-1]
    y, _ = attention_forward(x, p, cfg)
    assert rel(attention_forward(x[:, order], p, cfg)[0], y[:, order]) > 1e-4
