"""Differential Gated Self-Attention in NumPy and CuPy, every gradient written by hand.

    import dgsa_np

    cfg = dgsa_np.AttentionConfig(kind="dgsa", width=64, n_heads=4)
    y, cache = dgsa_np.attention_forward(x, dgsa_np.init_attention(cfg, rng), cfg)
    dgsa_np.gradcheck.check_pair(forward, backward, args)

The modules below, and the names that most programs begin with, are imported when they are first
asked for. Whatever else there is lies in the modules: dgsa_np.train.train, dgsa_np.data.load.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "AttentionConfig",
    "ModelConfig",
    "TrainConfig",
    "attention",
    "attention_backward",
    "attention_forward",
    "attention_map",
    "backend",
    "causal_mask",
    "check_pair",
    "checkpoint",
    "data",
    "fast",
    "gated_head_backward",
    "gated_head_forward",
    "gradcheck",
    "init_attention",
    "init_model",
    "loss_and_grads",
    "losses",
    "model",
    "model_backward",
    "model_forward",
    "ops",
    "optim",
    "params",
    "shapes",
    "train",
]

MODULE_OF = {  # where the names come from that are no modules themselves
    "AttentionConfig": "attention",
    "ModelConfig": "model",
    "TrainConfig": "train",
    "attention_backward": "attention",
    "attention_forward": "attention",
    "attention_map": "attention",
    "causal_mask": "attention",
    "check_pair": "gradcheck",
    "gated_head_backward": "attention",
    "gated_head_forward": "attention",
    "init_attention": "attention",
    "init_model": "model",
    "loss_and_grads": "model",
    "model_backward": "model",
    "model_forward": "model",
}

if TYPE_CHECKING:  # for editors and type checkers, which see the names without importing anything
    from . import (
        attention,
        backend,
        checkpoint,
        data,
        fast,
        gradcheck,
        losses,
        model,
        ops,
        optim,
        params,
        shapes,
        train,
    )
    from .attention import (
        AttentionConfig,
        attention_backward,
        attention_forward,
        attention_map,
        causal_mask,
        gated_head_backward,
        gated_head_forward,
        init_attention,
    )
    from .gradcheck import check_pair
    from .model import ModelConfig, init_model, loss_and_grads, model_backward, model_forward
    from .train import TrainConfig
else:

    def __getattr__(name):
        """A module or a name of __all__, when it is asked for."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f".{MODULE_OF.get(name, name)}", __name__)
        return getattr(module, name) if name in MODULE_OF else module


def __dir__():
    return [*__all__, "__version__"]
