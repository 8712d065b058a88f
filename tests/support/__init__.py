"""What the tests stand on:
oracles in loops, PyTorch from the equations, a CuPy without a GPU, golden values.
"""
