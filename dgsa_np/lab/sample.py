"""Text from a language model, token by token."""

import numpy as np

from .. import indices, shapes
from ..backend import to_numpy
from ..model import ModelConfig, model_forward
from ..params import check_rng


def sample(params, cfg, prompt, n, rng, temperature=1.0, top_k=None):
    """Yields n tokens that follow a prompt, each drawn from softmax(logits / temperature).

    prompt      : (T,) integer tokens, T >= 1; of a longer one than cfg.max_len the end is seen
    rng         : a numpy.random.Generator
    temperature : 0 takes the likeliest token
    top_k       : draw among so many likeliest tokens; where several are equally likely, the first
                  come first; None: draw among all
    raises      : ValueError where the model is no language model

    Keys and values of the past are kept, so that a new token costs one row and not the whole
    window. A mechanism that cannot do that (twicing) reads the window again for each token. When
    cfg.max_len tokens are full, the window slides: its later half is read afresh.
    """
    shapes.instance("sample", ModelConfig, cfg=cfg)
    if cfg.task != "lm" or cfg.n_out != cfg.vocab_size:
        wanted = f"task 'lm' with one per token of its vocabulary ({cfg.vocab_size}): it says what comes next"
        raise ValueError(f"sample: cfg has task {cfg.task!r} and {cfg.n_out} outputs, expected {wanted}")
    check_rng("sample", rng)
    shapes.number("sample", low=0, temperature=temperature)
    limit = {} if top_k is None else {"top_k": top_k}
    shapes.whole("sample", n=n, **limit, **{"the length of the prompt": np.size(prompt)})
    prompt = prompt if hasattr(prompt, "dtype") else np.asarray(prompt)
    indices.indices("sample", "prompt", prompt, cfg.vocab_size, "cfg.vocab_size")
    text = np.asarray(prompt).ravel().tolist()
    new, past, seen = text[-cfg.max_len :], None, 0
    for _ in range(n):
        logits, past = model_forward(np.array([new]), params, cfg, past=past)
        seen += len(new)
        text.append(_draw(to_numpy(logits)[0, -1].astype("float64"), rng, temperature, top_k))
        yield text[-1]
        new = text[-1:]
        if seen == cfg.max_len:
            past, seen, new = None, 0, text[-max(1, cfg.max_len // 2) :]
        elif not cfg.mechanism.decodes:
            past, seen, new = None, 0, text[-(seen + 1) :]


def _draw(logits, rng, temperature, top_k):
    if not np.isfinite(logits).all():
        raise ValueError("sample: params give logits that are not finite, expected those of a trained model")
    if temperature == 0:
        return int(logits.argmax())
    if top_k is not None:
        rank = np.argsort(np.argsort(-logits, kind="stable"))
        logits = np.where(rank < top_k, logits, -np.inf)
    p = np.exp((logits - logits.max()) / temperature)
    return int(rng.choice(len(p), p=p / p.sum()))
