"""Language models: no token sees a later one, and decoding with a past is one forward over all."""

import numpy as np
import pytest
from support.compare import rel
from support.problems import B, T, kinds, layer, rotary_or_not, token_model

from dgsa_np.attention import KINDS, attention_backward, attention_forward, causal_mask
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.model import model_backward, model_forward


@kinds
@rotary_or_not
@pytest.mark.parametrize("t", [1, 4])
def test_later_tokens_do_not_reach_earlier_logits(kind, rotary, t):
    params, cfg, tokens = token_model(kind, "lm", rotary=rotary)
    changed = tokens.copy()
    changed[:, t:] += 5
    logits, other = (model_forward(inputs, params, cfg)[0] for inputs in (tokens, changed))
    assert logits[:, :t].tobytes() == other[:, :t].tobytes()
    assert (logits[:, t:] != other[:, t:]).any(axis=-1).all()


@kinds
@rotary_or_not
@pytest.mark.parametrize("t", [1, 4])
def test_earlier_losses_pass_no_gradient_to_later_tokens(kind, rotary, t):
    params, cfg, tokens = token_model(kind, "lm", rotary=rotary)
    tokens[:, t:] = np.arange(6, 6 + tokens.shape[1] - t)  # of which no earlier token is one
    logits, cache = model_forward(tokens, params, cfg)
    dlogits = np.random.default_rng(1).standard_normal(logits.shape)
    whole = model_backward(dlogits, cache)["embed"]
    dlogits[:, t:] = 0
    early = model_backward(dlogits, cache)["embed"]
    assert not early["tokens"][6:].any() and not early["positions"][t:].any()
    assert early["tokens"][np.unique(tokens[:, :t])].all() and early["positions"][:t].all()
    assert whole["tokens"][np.unique(tokens[:, t:])].all() and whole["positions"][t:6].all()
    assert not whole["positions"][6:].any()


DECODING = [kind for kind in KINDS if MECHANISMS[kind].decodes]


def decode(tokens, params, cfg, chunks):
    """The logits of consecutive chunks, each with the cache of those before; and the last cache."""
    past, start, logits = None, 0, []
    for n in chunks:
        some, past = model_forward(tokens[:, start : start + n], params, cfg, past=past)
        logits.append(some)
        start += n
    return np.concatenate(logits, axis=1), past


@pytest.mark.parametrize("kind", DECODING)
@rotary_or_not
@pytest.mark.parametrize("chunks", [(5, 1), (1,) * 6, (2, 3, 1)], ids=str)
def test_decoding_in_chunks_is_one_forward_over_all(kind, rotary, chunks):
    for seed in range(2):
        params, cfg, tokens = token_model(kind, "lm", seed, rotary=rotary)
        whole, cache = model_forward(tokens, params, cfg)
        logits, last = decode(tokens, params, cfg, chunks)
        assert rel(logits, whole) < 1e-12
        for block, expected in zip(last.blocks, cache.blocks, strict=True):
            seen, all_seen = block.attention.heads, expected.attention.heads
            assert max(rel(seen[name], all_seen[name]) for name in seen if name[0] in "kv") < 1e-12


def test_what_attends_once_decodes():
    assert {"softmax", "diff_v1", "dgsa", "diff_v2", "output_gate"} <= set(DECODING)
    assert "twicing" not in DECODING


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in DECODING])
def test_a_kind_whose_maps_are_square_does_not_decode(kind):
    params, cfg, tokens = token_model(kind, "lm")
    with pytest.raises(ValueError, match=rf"past with x .* and kind '{kind}', expected None: its maps are square"):
        decode(tokens, params, cfg, (5, 1))


@pytest.mark.parametrize("kind", DECODING)
def test_a_backward_refuses_a_cache_with_a_past(kind):
    params, cfg, tokens = token_model(kind, "lm")
    logits, last = decode(tokens, params, cfg, (4, 2))
    with pytest.raises(ValueError, match="attention_backward: forward was given a past"):
        model_backward(np.ones_like(logits[:, -2:]), last)
    x, p, cfg, dy = layer(kind, 0)
    _, past = attention_forward(x, p, cfg)
    _, cache = attention_forward(x, p, cfg, past=past)
    with pytest.raises(ValueError, match="attention_backward: forward was given a past"):
        attention_backward(dy, cache)


@pytest.mark.parametrize("kind", DECODING)
@rotary_or_not
def test_a_layer_that_decodes_sees_its_past_and_a_causal_mask_of_both(kind, rotary):
    x, p, cfg, _ = layer(kind, 0, rotary=rotary)
    whole, _ = attention_forward(x, p, cfg, causal_mask(T))
    first, past = attention_forward(x[:, :1], p, cfg)
    rest, _ = attention_forward(x[:, 1:], p, cfg, causal_mask(T - 1, T), past=past)
    assert rel(np.concatenate([first, rest], axis=1), whole) < 1e-12


def test_a_past_is_for_language_models_and_fits_what_follows():
    params, cfg, tokens = token_model("dgsa", "text")
    _, cache = model_forward(tokens, params, cfg)
    with pytest.raises(ValueError, match="past is given with task 'text'"):
        model_forward(tokens, params, cfg, past=cache)
    params, cfg, tokens = token_model("dgsa", "lm")
    _, cache = model_forward(tokens[:, :4], params, cfg)
    with pytest.raises(ValueError, match="expected the AttentionCache of the tokens before x, by the same cfg"):
        model_forward(tokens[:1, 4:], params, cfg, past=cache)
    with pytest.raises(ValueError, match=r"keep is \(2, 2\), expected \(2, 6\)"):
        model_forward(tokens[:, 4:], params, cfg, np.ones((B, 2), bool), past=cache)


@rotary_or_not
def test_decoding_remembers_dropped_tokens_by_the_whole_keep(rotary):
    params, cfg, tokens = token_model("dgsa", "lm", rotary=rotary)
    keep = np.ones((B, 6), bool)
    keep[0, 1] = keep[1, 4] = False
    whole, _ = model_forward(tokens, params, cfg, keep)
    _, past = model_forward(tokens[:, :4], params, cfg, keep[:, :4])
    rest, _ = model_forward(tokens[:, 4:], params, cfg, keep, past)
    assert abs(rest - whole[:, 4:]).max() <= 1e-12 * abs(whole).max()
