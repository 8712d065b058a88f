"""Text from a language model:
what is drawn, how, and that the cache of keys and values changes nothing.
"""

import itertools

import numpy as np
import pytest
from support.planting import assert_caught
from support.problems import ODD, TOKENS

from dgsa_np.attention import KINDS
from dgsa_np.lab import sample as sample_module
from dgsa_np.lab.sample import sample
from dgsa_np.model import ModelConfig, init_model, model_forward
from dgsa_np.params import tree_map


def language_model(kind="dgsa", **switches):
    cfg = ModelConfig(kind=kind, task="lm", vocab_size=11, max_len=8, width=16, n_heads=2, depth=2, **switches)
    rng = np.random.default_rng(0)
    return tree_map(lambda a: a + 0.3 * rng.standard_normal(a.shape), init_model(cfg, rng, "float64")), cfg


def draw(params, cfg, prompt=(1, 2, 3), n=20, seed=0, **options):
    return list(sample(params, cfg, prompt, n, np.random.default_rng(seed), **options))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rotary", [False, True])
def test_the_logits_that_are_drawn_from_are_those_of_the_full_forward(kind, rotary, monkeypatch):
    """Token by token, with the past kept, across the slide of the window."""
    params, cfg = language_model(kind, rotary=rotary)
    seen = []

    def spy(logits, *options):
        seen.append(logits)
        return original(logits, *options)

    original = sample_module._draw
    monkeypatch.setattr(sample_module, "_draw", spy)
    text = [1, 2, 3, *draw(params, cfg)]
    start = 0
    for i, logits in enumerate(seen):
        end = 3 + i
        if end - start > cfg.max_len:  # the window slides: the later half is read afresh
            start = end - cfg.max_len // 2
        whole, _ = model_forward(np.array([text[start:end]]), params, cfg)
        assert abs(logits - whole[0, -1]).max() <= 1e-12 * abs(whole).max()


def test_equal_seeds_draw_equal_text_and_others_do_not():
    params, cfg = language_model()
    assert draw(params, cfg, seed=1) == draw(params, cfg, seed=1) != draw(params, cfg, seed=2)


def test_temperature_zero_and_top_k_one_take_the_likeliest():
    params, cfg = language_model()
    greedy = draw(params, cfg, n=5, temperature=0)
    assert greedy == draw(params, cfg, n=5, top_k=1) == draw(params, cfg, n=5, temperature=0, seed=7)
    text = [1, 2, 3]
    for token in greedy:
        assert token == model_forward(np.array([text]), params, cfg)[0][0, -1].argmax()
        text.append(token)


def test_draws_follow_the_probabilities():
    params, cfg = language_model()
    logits = model_forward(np.array([[1, 2, 3]]), params, cfg)[0][0, -1]
    for options in ({}, {"temperature": 0.5}, {"top_k": 3}):
        p = np.exp(logits / options.get("temperature", 1))
        p = np.where(logits >= np.sort(logits)[-options.get("top_k", 11)], p, 0)
        rng, again = np.random.default_rng(0), np.random.default_rng(0)
        how = options.get("temperature", 1.0), options.get("top_k")
        drawn = [sample_module._draw(logits, rng, *how) for _ in range(2000)]
        assert drawn[:20] == [next(sample(params, cfg, [1, 2, 3], 1, again, **options)) for _ in range(20)]
        assert abs(np.bincount(drawn, minlength=11) / 2000 - p / p.sum()).max() < 0.04


def test_a_long_prompt_is_seen_by_its_end():
    params, cfg = language_model()
    long = list(itertools.islice(itertools.cycle([4, 9, 1]), 30))
    assert draw(params, cfg, long, n=1, temperature=0) == draw(params, cfg, long[-8:], n=1, temperature=0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0"),
        ({"n": 0}, "n is 0"),
        ({"prompt": []}, "the length of the prompt is 0"),
    ],
)
def test_wrong_wishes_are_refused(wrong, words):
    params, cfg = language_model()
    with pytest.raises(ValueError, match=words):
        draw(params, cfg, **wrong)


def test_a_token_outside_the_vocabulary_and_a_classifier_are_refused():
    params, cfg = language_model()
    with pytest.raises(IndexError, match="prompt holds 11, expected 0 <= prompt < 11"):
        draw(params, cfg, [11])
    cfg = ModelConfig(width=16, n_heads=2)
    with pytest.raises(ValueError, match="task 'vision' and 10 outputs, expected task 'lm'"):
        draw(init_model(cfg, np.random.default_rng(0)), cfg)


@pytest.mark.slow
def test_top_k_draws_among_exactly_k_of_equals_the_first():
    cfg = ModelConfig(task="lm", **TOKENS | {"n_out": 11})
    params = init_model(cfg, np.random.default_rng(0), "float64")
    params["head"]["W"][:] = 0

    def drawn(bias, k, temperature=1.0):
        params["head"]["b"] = np.array(bias, float)
        return set(sample(params, cfg, [1], 120, np.random.default_rng(0), temperature, k))

    assert [drawn([0] * 11, k) for k in (1, 3)] == [{0}, {0, 1, 2}]
    assert drawn([0, 5, 0, 5, 5, 0, 9, 0, 0, 0, 0], 3) == {6, 1, 3} and drawn([0] * 11, 1, 0.01) == {0}
    assert drawn([0] * 11, 11) == drawn([0] * 11, 12) == drawn([0] * 11, 10**6) == drawn([0] * 11, None) == {*range(11)}
    for odd in ODD:
        for k in (None, 2):
            with pytest.raises(ValueError, match="logits that are not finite"):
                drawn([0] * 10 + [odd], k)


# ------------------------------------------------------------------------------------- planted bugs

BUGS = {  # what is wrong: (the test that catches it, the change)
    "top-k by threshold": (
        test_top_k_draws_among_exactly_k_of_equals_the_first,
        (sample_module._draw, "rank < top_k", "logits >= np.sort(logits)[-min(top_k, logits.size)]"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_planted_bugs_are_caught(name):
    assert_caught(*BUGS[name])
