"""The tests themselves: each file stands alone, and what two of them share is in tests/support."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def imported(path):
    """The names in the imports of a file, in functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [getattr(node, "module", None) or "", *(name.name for name in node.names)]
            yield from (part for name in names for part in name.split("."))


@pytest.mark.slow
def test_no_file_imports_a_test_file():
    files = list(TESTS.rglob("*.py"))
    tests = {file.stem for file in files if file.name.startswith("test_")}
    found = {file.name: tests.intersection(imported(file)) for file in files}
    assert {name: modules for name, modules in found.items() if modules} == {}, "what they share is for tests/support"
