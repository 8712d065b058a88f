"""`dgsa-np gradcheck`: it fails loudly on a wrong gradient."""

import numpy as np

from dgsa_np.lab.cli import main


def test_gradcheck_fails_loudly_on_a_wrong_gradient(monkeypatch, capsys):
    from dgsa_np import ops
    from dgsa_np.lab import cases

    wrong = cases.Case(
        "silu", "", ops.silu_forward, lambda dy, cache: -ops.silu_backward(dy, cache), (np.ones((2, 3)),), {}
    )
    monkeypatch.setattr(cases, "all_cases", lambda seed: [wrong, wrong._replace(backward=ops.silu_backward)])
    assert main(["gradcheck"]) == 1
    said = capsys.readouterr().out
    assert "the sign is wrong" in said and "Wrong: 1 pairs." in said
    monkeypatch.setattr(cases, "all_cases", lambda seed: [wrong._replace(backward=ops.silu_backward)])
    assert main(["gradcheck"]) == 0
