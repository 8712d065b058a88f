"""What a model costs: multiplications as counted, and times for every cell."""

import numpy as np
from support.training import TINY, planned

from dgsa_np import backend, shapes
from dgsa_np.attention import KINDS
from dgsa_np.lab.evidence import costs
from dgsa_np.model import ModelConfig, init_model, model_forward
from dgsa_np.params import tree_map


def test_multiplications_are_those_of_the_matrix_products(monkeypatch):
    class Counted(np.ndarray):
        """Counts the multiplications of the products that it takes part in."""

        total = 0

        def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
            plain = [a.view(np.ndarray) if isinstance(a, Counted) else a for a in inputs]
            if out:
                options["out"] = tuple(a.view(np.ndarray) for a in out)
            result = getattr(ufunc, method)(*plain, **options)
            if ufunc is np.matmul and not any(np.all(a == 1) for a in plain):
                Counted.total += result.size * plain[0].shape[-1]
            return result.view(Counted) if isinstance(result, np.ndarray) else result

    for module in (backend, shapes):  # which refuse subclasses
        monkeypatch.setattr(module, "owner_of", lambda a: np)
    for kind in KINDS:
        model = ModelConfig(kind=kind, width=16, n_heads=2, depth=2, patch_size=2)
        params = tree_map(lambda W: W.view(Counted), init_model(model, np.random.default_rng(0)))
        images = np.random.default_rng(1).random((1, 8, 8), "float32").view(Counted)
        Counted.total = 0
        model_forward(images, params, model)
        assert 3 * Counted.total == costs.multiplications(model), kind


def test_costs_are_measured_for_every_cell():
    runs = {kind: planned([TINY | {"kind": kind}], reference=TINY)[0] for kind in ("softmax", "dgsa")}
    told = costs.costs({kind: run.settings for kind, run in runs.items()})
    for figures in told.values():
        low, high = figures["quartiles"]
        assert 0 < low <= figures["ms"] <= high and figures["peak_MiB"] > 0
