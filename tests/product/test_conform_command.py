"""`dgsa-np conform`: a layer from a file beside ours."""

import pytest

from dgsa_np.lab.cli import main

MINE = """
import numpy as np
from dgsa_np.attention import AttentionConfig, attention_backward, attention_forward, init_attention
from dgsa_np.peers import from_peer, gradients_to_peer, to_peer

cfg = AttentionConfig(kind="diff_v2", width=24, n_heads=3)
weights = to_peer(init_attention(cfg, np.random.default_rng(0)), cfg, "linear")

def forward(x, weights, mask):
    return attention_forward(x, from_peer(weights, "linear", "diff_v2")[0], cfg, mask=mask)

def backward(dy, cache):
    dx, grads = attention_backward(dy, cache)
    return dx, gradients_to_peer(grads, cfg, "linear")

def right():
    return (forward, backward), weights

def wrong():
    return (lambda x, weights, mask: forward(x, weights, None), backward), weights

def alone():
    return forward

def number():
    return 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")


def test_a_right_and_a_wrong_layer(mine, capsys):
    assert main(["conform", "mine.py:right", "--kind", "diff_v2", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("It conforms.\n") and "lambda_proj.weight" in said
    assert main(["conform", "mine.py:wrong", "--kind", "diff_v2"]) == 1
    said = capsys.readouterr().out
    assert "likely: the mask plays no part" in said and said.endswith("It does not conform.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("mine.py:rigth --kind diff_v2", "'mine.py' has no 'rigth'; did you mean 'right'?"),
        ("gone.py:right --kind diff_v2", "gone.py"),
        ("gone:right --kind diff_v2", "No module named 'gone'"),
        ("right --kind diff_v2", "'right', expected FILE.py:NAME or MODULE:NAME"),
        ("mine.py:right", "has several; expected one of softmax"),
        ("mine.py:right --kind dgsa", "weights lack"),
        ("mine.py:right --kind diff_v2 --width 24", "--width: the weights tell it"),
        ("mine.py:weights --kind diff_v2", "'dict' object is not callable"),
        ("mine.py:number --kind diff_v2", "conform: yours is int, expected a module, a function"),
        ("mine.py:alone --kind diff_v2", "conform: weights is NoneType, and yours is a function"),
    ],
)
def test_wrong_use_is_one_line(mine, capsys, arguments, said):
    assert main(["conform", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
