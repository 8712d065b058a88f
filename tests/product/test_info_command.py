"""`dgsa-np info`: versions, devices, and the parts of a model."""

import numpy as np
import pytest
from support.commands import assert_parts_add_up, say

from dgsa_np.lab.cli import main


def test_info_tells_versions_devices_and_parameters(capsys):
    assert main(["info", "--kind", "softmax"]) == 0
    said = capsys.readouterr().out
    assert f"NumPy {np.__version__}" in said and "197,130 parameters" in said


@pytest.mark.parametrize("task", ["vision", "text", "lm"])
@pytest.mark.parametrize("kind", ["dgsa", "diff_v2"])
def test_info_tells_the_parts_of_a_model(kind, task, capsys):
    argv = ["info", "--task", task, "--kind", kind, "--vocab-size", "50"]
    status, said, _ = say(argv, capsys)
    assert status == 0 and f"{kind}, {task}: width 64" in said
    assert_parts_add_up(said)
    assert ("tokens 50x64" in said) == (task != "vision") and ("W 64x50, b 50" in said) == (task == "lm")
    assert ("W_lambda 64x4" in said) == (kind == "diff_v2")
