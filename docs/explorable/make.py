"""What the explorable page shows: data.js, from a tiny gated transformer.

    python docs/explorable/make.py            data.js from model.ckpt
    python docs/explorable/make.py --train    trains first, as `python -m dgsa_np demo` does

Another processor rounds otherwise, and a model trained there is another model: so it is kept.
"""

import json
import sys
from base64 import b64encode
from pathlib import Path

import numpy as np

from dgsa_np.attention import attention_gate
from dgsa_np.checkpoint import load_checkpoint, save_checkpoint
from dgsa_np.data import Split, corrupt
from dgsa_np.fast import choose_step
from dgsa_np.lab.demo import MODEL, TRAIN
from dgsa_np.lab.experiments import equal_models
from dgsa_np.lab.settings import settle
from dgsa_np.model import model_forward
from dgsa_np.train import evaluate, predict, train

HERE = Path(__file__).parent
WEIGHTS, DATA = HERE / "model.ckpt", HERE / "data.js"
DIGITS = 0, 2, 3, 4, 5, 7, 8  # the first test image of each; an eighth is one that the model misreads
DAMAGE = {  # kind: its levels, and what they mean
    "gaussian": ((0.1, 0.3, 0.5), "standard deviation of the noise, grey levels 0 to 1"),
    "occlusion": ((0.25, 0.375, 0.5), "side of the black square, as a part of the image's side"),
    "brightness": ((0.1, 0.3, 0.5), "added to every pixel, grey levels 0 to 1"),
}
UNIT = 1000  # weights, gates and probabilities are stored as so many parts of 1


def setting():
    """The configuration and the data of the demo's gated model."""
    _, reference, _, data = settle(MODEL)
    return equal_models(reference, ("dgsa",))["dgsa"], data


def chosen(params, cfg, test) -> np.ndarray:
    """The rows of the eight test images."""
    wrong = predict(params, test, cfg).argmax(axis=-1) != test.targets
    return np.array([np.flatnonzero(test.targets == digit)[0] for digit in DIGITS] + [np.flatnonzero(wrong)[0]])


def states(images) -> list:
    """[(kind, level, images)]: clean, then each kind of damage at each level, unclipped."""
    damaged = [
        (kind, level, corrupt(images, kind, level, np.random.default_rng(seed)))
        for seed, (kind, (levels, _)) in enumerate(DAMAGE.items())
        for level in levels
    ]
    return [("clean", 0, images), *damaged]


def seen(images, params, cfg) -> dict:
    """What the model makes of images (B, 8, 8).

    returns maps  : (B, layers, 2, H, T, T), excitatory before inhibitory
            gates : (B, layers, H, T)
            probabilities : (B, classes)
    """
    logits, cache = model_forward(images, params, cfg)
    heads = [block.attention.head for block in cache.blocks]
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return {
        "maps": np.stack([np.stack([head.A_exc, head.A_inh], axis=1) for head in heads], axis=1),
        "gates": np.stack([attention_gate(block.attention) for block in cache.blocks], axis=1),
        "probabilities": odds / odds.sum(axis=-1, keepdims=True),
    }


def thousandths(p) -> np.ndarray:
    """Rows that sum to 1, in whole thousandths that sum to 1000: what is cut most is rounded up."""
    exact = p.astype("float64") / p.sum(axis=-1, keepdims=True, dtype="float64") * UNIT
    whole = np.floor(exact).astype(int)
    missing = UNIT - whole.sum(axis=-1, keepdims=True)
    rank = (whole - exact).argsort(axis=-1, kind="stable").argsort(axis=-1)
    return whole + (rank < missing)


def packed(numbers) -> str:
    """Whole numbers from 0 to 1023, ten bits each, the highest bit first, in base64."""
    bits = numbers.reshape(-1, 1) >> np.arange(9, -1, -1) & 1
    return b64encode(np.packbits(bits.astype("uint8"))).decode()


def stored(params) -> dict:
    """All that data.js holds."""
    cfg, data = setting()
    rows = chosen(params, cfg, data.test)
    per_state = [(images, seen(images, params, cfg)) for _, _, images in states(data.test.inputs[rows])]
    whole = [(kind, level, corrupted) for kind, level, corrupted in states(data.test.inputs)]
    return {
        "sizes": {"images": len(rows), "layers": cfg.depth, "heads": cfg.n_heads, "patches": cfg.n_tokens},
        "labels": data.test.targets[rows].tolist(),
        "kinds": {kind: {"levels": levels, "unit": unit} for kind, (levels, unit) in DAMAGE.items()},
        "accuracy": [  # of the model on the whole test split, in the order of the states
            round(evaluate(params, Split(images, data.test.targets), cfg)["accuracy"], 4) for _, _, images in whole
        ],
        "test_images": len(data.test.targets),
        # (state, image, pixel), in 1000 grey levels, for the eye alone: cut to 0 .. 1000
        "pixels": packed(np.stack([(images.clip(0, 1) * UNIT).round().astype(int) for images, _ in per_state])),
        # (state, image, layer, excitatory and inhibitory, head, query, key)
        "maps": packed(np.stack([thousandths(found["maps"]) for _, found in per_state])),
        # (state, image, layer, head, query)
        "gates": packed(np.stack([(found["gates"] * UNIT).round().astype(int) for _, found in per_state])),
        # (state, image, class)
        "probabilities": packed(np.stack([thousandths(found["probabilities"]) for _, found in per_state])),
    }


def written(data) -> str:
    """data.js: a script, since a page that is opened as a file may not read others."""
    entries = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in data.items())
    return f"// Written by make.py.\nconst DATA = {{\n{entries}\n}};\n"


def main():
    if "--train" in sys.argv[1:]:
        cfg, data = setting()
        save_checkpoint(WEIGHTS, train(cfg, TRAIN, data, progress=True, step=choose_step(cfg, TRAIN)).params)
    data = stored(load_checkpoint(WEIGHTS))
    DATA.write_text(written(data), encoding="utf-8")
    print(f"{DATA}: {DATA.stat().st_size:,} bytes; accuracy clean and damaged {data['accuracy']}")


if __name__ == "__main__":
    main()
