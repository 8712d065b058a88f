"""Pictures of kept models: the maps and gates of one gated model on one input, clean and corrupted."""

import numpy as np

from ...checkpoint import load_checkpoint
from ...data import DataError, Vocabulary
from ...data.text import UNKNOWN
from .. import viz
from ..rollout import attention_rollout
from ..settings import settle
from .measures import NOISE, clean_and_corrupted


def section(folder, records) -> list:
    """For each data set, the first model with a token gate on both maps and head norm whose parameters were kept."""
    first = {}
    for record in records:
        settings, path = record["settings"], folder / "models" / f"{record['key']}.npz"
        usual = {"kind": "dgsa", "head_norm": True, "gate": "token", "gate_on": "both"}
        if usual.items() <= ({"gate_on": "both"} | settings).items() and settings["task"] in NOISE and path.exists():
            first.setdefault(settings["data"], (settings, path))
    blocks = [block for settings, path in first.values() for block in of_a_model(settings, path)]
    return [("h2", "Pictures"), *blocks] if blocks else []


def of_a_model(settings, path) -> list:
    name = settings["data"]
    try:
        _, model, _, data = settle(settings)
    except DataError as error:
        return [("p", f"No pictures of {name}: {error}")]
    said = f"One dgsa model trained on {name} (seed {settings['seed']}), and the first test input: an illustration."
    pictures = (of_an_image if model.task == "vision" else of_a_sentence)(load_checkpoint(path), model, data)
    slugs = ((f"{name}-{slug}", figure, f"{said} on {name}.") for slug, figure, said in pictures)
    return [("h3", f"Pictures: {name}"), ("p", said), *(("figure", *content) for content in slugs)]


def of_an_image(params, model, data):
    """Rollout under the three treatments, gates over patches, and the maps of the last layer."""
    views = clean_and_corrupted(params, model, data)
    for title, (split, layers) in views.items():
        maps, exc = [h.A for h in layers], [h.A_exc for h in layers]
        treated = {"absolute": maps, "clipped": maps, "excitatory": exc}
        rollouts = {name: attention_rollout(chosen, name)[0] for name, chosen in treated.items()}
        figure = viz.rollout_figure(grey(split), rollouts)
        slug = title.replace(" ", "-").replace(".", "")
        yield f"rollout-{slug}", figure, f"Attention rollout, {title}: |A|, A clipped at 0, and A_exc alone,"
    gates = {title: (grey(split), np.stack([h.gate[0] for h in layers])) for title, (split, layers) in views.items()}
    yield "gate-maps", viz.gate_map_figure(gates), "Gates over patches, last layer, clean and corrupted,"
    _, layers = views["clean"]
    figure = viz.head_maps_figure(layers[-1], range(model.n_heads))
    yield "head-maps", figure, "A_exc, A_inh and the fused map of every head, last layer, clean,"


def grey(split):
    image = split.inputs[0]
    return image if image.ndim == 2 else image.mean(axis=-1)


def of_a_sentence(params, model, data):
    """Words coloured by the gates of each head."""
    vocabulary, strips = Vocabulary(data.meta["unit"], data.meta["symbols"]), {}
    for title, (split, layers) in clean_and_corrupted(params, model, data).items():
        symbols = (vocabulary.symbols[token] for token in split.inputs[0][split.keep[0]])
        words = ["(rare)" if symbol == UNKNOWN else symbol for symbol in symbols]
        for h in range(model.n_heads):
            strips[f"{title}, head {h}"] = words, layers[-1].gate[0, h, : len(words)]
    yield "token-strips", viz.token_strip_figure(strips), "Words coloured by their gates, last layer,"
