"""The notebooks: paired with their sources, whole, every displayed equation asserted.

With -m notebooks they are run afresh.
"""

import ast
import json
import re
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
START, ONE_FILE = FOLDER / "start_here.py", FOLDER / "dgsa_in_one_file.py"
DEEP_DIVES = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
SOURCES = [START, *DEEP_DIVES]
TRAINING = ("07", "08")
LIMIT = {True: 120, False: 60}  # seconds on two cores, with training and without

INSTALL = r"""try:
    import dgsa_np  # noqa: F401
except ModuleNotFoundError:  # as on Colab: install it, from where this notebook comes
    source = ".*\[notebooks\].*
    get_ipython\(\).run_line_magic\("pip", f'install --quiet "{source}"'\)  # noqa: F821"""

each = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


def cells(path):
    """The cells of the committed notebook."""
    return json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]


def text(cell):
    return "".join(cell["source"])


def test_every_chapter_is_there():
    assert [path.stem[:2] for path in DEEP_DIVES] == [f"{i:02d}" for i in range(len(DEEP_DIVES))]
    assert [path.stem for path in DEEP_DIVES] == sorted(path.stem for path in FOLDER.glob("[0-9][0-9]_*.ipynb"))


@each
def test_source_and_notebook_are_the_same(path):
    jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed: pip install -e '.[notebooks]'")
    source, notebook = (jupytext.read(path.with_suffix(suffix)) for suffix in (".py", ".ipynb"))
    assert [(c.cell_type, c.source) for c in source.cells] == [(c.cell_type, c.source) for c in notebook.cells], (
        "make notebooks"
    )


@each
def test_the_notebook_was_run_from_top_to_bottom_in_silence(path):
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)


@each
def test_every_displayed_equation_is_asserted_within_three_cells(path):
    whole = cells(path)
    for i, cell in enumerate(whole):
        if cell["cell_type"] == "markdown" and "$$" in text(cell):
            near = [text(c) for c in whole[i + 1 : i + 4] if c["cell_type"] == "code"]
            assert any("assert " in code for code in near), text(cell)


@each
def test_the_first_cell_says_what_it_is_for(path):
    first = text(cells(path)[0])
    assert first.startswith("# Start here" if path == START else f"# {path.stem[:2]} ")
    assert [word for word in ("You will do", "You will learn", "You need", "Time") if word not in first] == []


@pytest.mark.parametrize("path", DEEP_DIVES, ids=lambda path: path.stem)
def test_a_deep_dive_says_where_the_whole_idea_is(path):
    first, *_ = path.read_text(encoding="utf-8").split("\n# %%")
    assert "Deep dive; the whole idea in 45 minutes is in [start_here](start_here.ipynb)" in first


def definitions(path):
    """{name: what it is}, of the functions and constants at the top of a source, comments apart."""
    named = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            named[node.name] = ast.dump(node)
        elif isinstance(node, ast.Assign):
            named |= {ast.unparse(target): ast.dump(node.value) for target in node.targets}
    return named


def test_start_here_builds_the_one_file():
    built, there = definitions(START), definitions(ONE_FILE)
    assert [name for name in there if built.get(name) != there[name]] == []


def test_start_here_takes_45_minutes():
    """By what its sections say; and at 200 words a minute, 90 seconds for each code cell."""
    whole = cells(START)
    prose = "\n".join(text(cell) for cell in whole if cell["cell_type"] == "markdown")
    said = [int(minutes) for minutes in re.findall(r"^## .* \((\d+) minutes\)$", prose, flags=re.MULTILINE)]
    assert len(said) == len(re.findall("^## ", prose, flags=re.MULTILINE)) and 2 + sum(said) <= 45
    assert len(prose.split()) / 200 + 1.5 * sum(cell["cell_type"] == "code" for cell in whole) <= 45


@each
def test_it_installs_itself_on_colab(path):
    """The second cell is the same in all: where from is one line of it, which make address writes
    (test_address.py).
    """
    assert re.fullmatch(INSTALL, text(cells(path)[1]))


@pytest.mark.notebooks
@each
def test_it_runs_in_a_fresh_kernel_in_its_time(path):
    jupytext, nbclient = pytest.importorskip("jupytext"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    started, limit = time.perf_counter(), LIMIT[path.stem[:2] in TRAINING]
    nbclient.NotebookClient(jupytext.read(path), timeout=limit, resources={"metadata": {"path": FOLDER}}).execute()
    seconds = time.perf_counter() - started
    print(f"\n{path.stem}: {seconds:.0f} s")
    assert seconds < limit
