"""What a type checker shows to a user, and which mistakes it sees before anything runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "support" / "typed_program.py"
MISTAKES = {
    'dgsa_np.AttentionConfig(kidn="dgsa")': 'Unexpected keyword argument "kidn" for "AttentionConfig"',
    "dgsa_np.AttentionConfig(kind=3)": 'Argument "kind" to "AttentionConfig" has incompatible type "int"',
    "dgsa_np.ModelConfig(depht=2)": 'Unexpected keyword argument "depht" for "ModelConfig"',
    "dgsa_np.attention_forward(x, p)": 'Missing positional argument "cfg" in call to "attention_forward"',
    "dgsa_np.attention_forward(x, cfg, p)": 'Argument 3 to "attention_forward" has incompatible type',
    "y, cache, p = dgsa_np.attention_forward(x, p, cfg)": "Need more than 2 values to unpack",
    "dgsa_np.attention_forward(x, p, cfg)[1].haed": '"AttentionCache" has no attribute "haed"',
    "dgsa_np.init_attention(cfg, 0)": 'Argument 2 to "init_attention" has incompatible type "int"',
    "dgsa_np.train(cfg)": "Module not callable",
    "dgsa_np.atention": 'Module has no attribute "atention"',
    "dgsa_np.fast.loss_and_grads": 'Module has no attribute "loss_and_grads"',
    "cfg.width = 3": 'Property "width" defined in "AttentionConfig" is read-only',
}
SETTING = """
import numpy as np
import dgsa_np
cfg = dgsa_np.AttentionConfig()
p = dgsa_np.init_attention(cfg, np.random.default_rng(0))
x = np.zeros((1, 2, 64))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """A function: what mypy says of a user's program, and nothing of the package itself."""
    pytest.importorskip("mypy", reason="mypy is not installed: pip install mypy")
    remembered = tmp_path_factory.mktemp("mypy")
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--cache-dir", remembered]
    options = {"env": os.environ | {"MYPYPATH": str(ROOT)}, "capture_output": True, "text": True}
    return lambda program: subprocess.run([*command, program], **options)


def test_every_result_has_the_type_that_a_user_is_shown(mypy):
    said = mypy(PROGRAM)
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_mistake_is_seen(mypy, tmp_path):
    program = tmp_path / "mistakes.py"
    program.write_text(SETTING + "\n".join(MISTAKES), encoding="utf-8")
    said = mypy(program).stdout
    first = len(SETTING.splitlines()) + 1
    for line, (mistake, message) in enumerate(MISTAKES.items(), first):
        assert f"mistakes.py:{line}: error: {message}" in said, f"{mistake}\n{said}"
    assert f"Found {len(MISTAKES)} errors" in said
