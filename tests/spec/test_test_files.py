"""The tests themselves: each file stands alone, and what two of them share is in tests/support."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILES = [path.relative_to(TESTS) for path in sorted(TESTS.rglob("*.py"))]


def imported(path):
    """The names of the modules that a file imports, in functions too."""
    for node in ast.walk(ast.parse((TESTS / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module or "", *(name.name for name in node.names)]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_file_imports_a_test_file(path):
    tests = {file.stem for file in FILES if file.name.startswith("test_")}
    found = {part for name in imported(path) for part in name.split(".")} & tests
    assert not found, f"{path} imports {sorted(found)}: put what they share into tests/support"
