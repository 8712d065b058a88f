"""The same step sooner, and nothing that is needed to understand it: kernels of chains on a GPU, threads on a CPU."""
