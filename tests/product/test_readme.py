"""The README is one screen, its example gives what it shows, and its commands exist."""

import re
from pathlib import Path

import pytest

from dgsa_np.gradcheck import GradientError

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE, SHOWN = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL).groups()


def test_it_is_one_screen():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    lines = [line for line in prose.splitlines() if not line.startswith(("    ", "|"))]
    assert len(" ".join(lines).split()) <= 750


def test_the_example_ends_in_the_message_that_is_shown():
    with pytest.raises(GradientError) as said:
        exec(compile(EXAMPLE, "README.md", "exec"), {})
    assert str(said.value) == SHOWN.rstrip("\n")


def test_the_example_without_its_mistake_passes():
    assert EXAMPLE.count("return dS @ k, ") == 1
    exec(compile(EXAMPLE.replace("return dS @ k, ", "return dS @ k / 3, "), "README.md", "exec"), {})


def test_the_commands_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^    make (\w+)", README, re.MULTILINE)
    assert targets == ["demo", "test"]
    for target in targets:
        assert f"\n{target}:" in makefile
