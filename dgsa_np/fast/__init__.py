"""The same step sooner, and nothing that is needed to understand it.

Kernels of chains on a GPU, threads on a CPU.
"""

from typing import TYPE_CHECKING

__all__ = ["loss_and_grads_threaded"]

if TYPE_CHECKING:
    from .parallel import loss_and_grads_threaded
else:

    def __getattr__(name):
        """Imported when it is asked for: the optimiser needs fused.py alone, and no model."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from .parallel import loss_and_grads_threaded

        return loss_and_grads_threaded
