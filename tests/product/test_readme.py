"""What the README shows is in the repository, and runs."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_quoted_lines_are_those_of_the_code():
    code = [line.strip() for line in (ROOT / "dgsa_np/attention/gated.py").read_text(encoding="utf-8").splitlines()]
    for block in BLOCKS[:2]:
        assert [line for line in block.splitlines() if line not in code] == []


def test_the_example_runs():
    exec(compile(BLOCKS[2], "README.md", "exec"), {})


def test_every_link_leads_somewhere():
    pages = [path for folder in ("docs", "notebooks", "notebooks/exercises") for path in (ROOT / folder).glob("*.md")]
    for page in (ROOT / "README.md", *pages, *(ROOT / "notebooks/exercises/texts").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_commands_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
