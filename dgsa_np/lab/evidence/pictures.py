"""Pictures of kept models: maps and gates of a gated model on one input, clean and corrupted."""

import numpy as np

from ...checkpoint import load_checkpoint
from ...data import DataError, Vocabulary
from ...data.text import UNKNOWN
from ...train import right_parameters
from .. import viz
from ..rollout import attention_rollout
from ..runs import belonging
from ..settings import settle
from .measures import NOISE, clean_and_corrupted
from .sections import Part, drawn


def section(folder, records) -> tuple:
    """For each data set the first kept model with a token gate on both maps and head norm."""
    first: dict = {}
    for record in records:
        settings, path = record["settings"], folder / "models" / f"{record['key']}.npz"
        usual = {"kind": "dgsa", "head_norm": True, "gate": "token", "gate_on": "both"}
        if usual.items() <= ({"gate_on": "both"} | settings).items() and settings["task"] in NOISE and path.exists():
            first.setdefault(settings["data"], (record, path))
    parts = tuple(of_a_model(*chosen) for chosen in first.values())
    return (Part("Pictures", parts=parts),) if first else ()


def of_a_model(record, path) -> Part:
    settings = record["settings"]
    name = settings["data"]
    title = f"Pictures: {name}"
    try:
        _, model, _, data = settle(settings)
    except DataError as error:
        return Part(title, (f"No pictures of {name}: {error}",))
    if data.meta["sha256"] != record["data_sha256"]:
        return Part(title, (f"No pictures of {name}: the data are no longer those of the run.",))
    params = load_checkpoint(path)
    with belonging(path):
        right_parameters("report", "params", {"params": params, "model": model})
    views = clean_and_corrupted(params, model, data)
    pictures = of_an_image(views) if model.task == "vision" else of_a_sentence(views, data.meta)
    return Part(
        title,
        (f"One dgsa model trained on {name} (seed {settings['seed']}), and the first test input: an illustration.",),
        figures=tuple(drawn(f"{name}-{what}", figure, f"{shown} on {name}.") for what, figure, shown in pictures),
    )


def of_an_image(views):
    """Rollout under the three treatments, gates over patches, and the maps of the last layer."""
    gates = {}
    for how, (split, layers) in views.items():
        maps, image = [head.A for head in layers], split.inputs[0]
        image = image if image.ndim == 2 else image.mean(axis=-1)  # grey
        gates[how] = image, np.stack([head.gate[0] for head in layers])
        rollouts = {
            "absolute": attention_rollout(maps, "absolute")[0],
            "clipped": attention_rollout(maps, "clipped")[0],
            "excitatory": attention_rollout([head.A_exc for head in layers], "excitatory")[0],
        }
        name, said = how.replace(" ", "-").replace(".", ""), "|A|, A clipped at 0, and A_exc alone"
        yield f"rollout-{name}", viz.rollout_figure(image, rollouts), f"Attention rollout, {how}: {said},"
    yield "gate-maps", viz.gate_map_figure(gates), "Gates over patches, last layer, clean and corrupted,"
    _, (*_, last) = views["clean"]
    figure = viz.head_maps_figure(last, range(last.A.shape[1]))
    yield "head-maps", figure, "A_exc, A_inh and the fused map of every head, last layer, clean,"


def of_a_sentence(views, meta):
    """Words coloured by the gates of each head."""
    vocabulary, strips = Vocabulary(meta["unit"], meta["symbols"]), {}
    for how, (split, (*_, last)) in views.items():
        symbols = (vocabulary.symbols[token] for token in split.inputs[0][split.keep[0]])
        words = ["(rare)" if symbol == UNKNOWN else symbol for symbol in symbols]
        for h, gate in enumerate(last.gate[0]):
            strips[f"{how}, head {h}"] = words, gate[: len(words)]
    yield "token-strips", viz.token_strip_figure(strips), "Words coloured by their gates, last layer,"
