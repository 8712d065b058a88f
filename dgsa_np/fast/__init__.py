"""The same training step, sooner: on memory that stands still, on a CPU shared by threads.

Nothing in this folder is needed to understand what is computed.
"""

from .step import choose_step, is_fast, loss_and_grads_threaded, make_step

__all__ = ["choose_step", "is_fast", "loss_and_grads_threaded", "make_step"]
