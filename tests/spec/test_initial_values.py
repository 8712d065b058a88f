"""Where parameters start: projections, gates and lambdas, the same in both precisions."""

import numpy as np
import pytest

from dgsa_np.attention import KINDS, AttentionConfig, init_attention
from dgsa_np.params import flatten


@pytest.mark.parametrize("kind", KINDS)
def test_float32_parameters_are_the_float64_ones_rounded(kind):
    cfg = AttentionConfig(kind=kind, width=12, n_heads=3)
    wide = flatten(init_attention(cfg, np.random.default_rng(7), "float64"))
    narrow = flatten(init_attention(cfg, np.random.default_rng(7)))
    assert wide.keys() == narrow.keys()
    for name, a in narrow.items():
        assert a.dtype == np.float32 and np.array_equal(a, wide[name].astype("float32")), name


def test_lambda_vectors_start_small_and_projections_at_one_over_the_fan_in():
    p = init_attention(AttentionConfig(kind="diff_v1", width=2048, n_heads=1), np.random.default_rng(0))
    for name, std in {"lambda_q_exc": 0.1, "lambda_k_inh": 0.1, "W_q_exc": 2048**-0.5, "W_o": 2048**-0.5}.items():
        assert abs(p[name].std() / std - 1) < 0.06 and abs(p[name].mean()) < 0.1 * std, name


def test_gates_start_where_they_are_told():
    p = init_attention(AttentionConfig(width=16, n_heads=2, gate_bias=-0.3), np.random.default_rng(0), "float64")
    assert (p["W_gate"] == 0).all() and (p["b_gate"] == -0.3).all() and (p["w_norm"] == 1).all()
