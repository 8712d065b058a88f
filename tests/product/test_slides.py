"""The slides of a lecture: paired with their source, with notes, short enough, true to the data.

With -m notebooks they are run afresh. A slide is a list of cells; a cell that is skipped belongs to
none.
"""

import ast
import base64
import importlib.util
import json
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER, EVIDENCE = ROOT / "notebooks" / "slides", ROOT / "docs" / "evidence.md"
PATHS = sorted(FOLDER.glob("*.py"))
LINES, COLUMNS = 12, 70  # of a code cell, of what it prints
HEIGHT, WIDTH = 700, 960  # pixels of a slide of nbconvert

each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells(path):
    """The cells of the committed notebook."""
    return json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]


def text(cell):
    return "".join(cell["source"])


def slide_type(cell):
    return cell["metadata"].get("slideshow", {}).get("slide_type", "-")


def slides(path):
    """[[cell, ..], ..]: what is shown, and its notes."""
    found = []
    for cell in cells(path):
        if slide_type(cell) in ("slide", "subslide"):
            found.append([])
        if slide_type(cell) != "skip":
            found[-1].append(cell)
    return found


def split(slide):
    """What is shown, what is said."""
    notes = [cell for cell in slide if slide_type(cell) == "notes"]
    return [cell for cell in slide if cell not in notes], "\n\n".join(map(text, notes))


def title(slide):
    return text(slide[0]).splitlines()[0].lstrip("# ")


def printed(cell):
    return "".join("".join(output.get("text", ())) for output in cell.get("outputs", ())).splitlines()


def pictures(cell):
    return [output["data"]["image/png"] for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]


# ------------------------------------------------------------------------------ source and notebook


def test_there_are_slides_and_all_have_a_source():
    assert PATHS and [path.stem for path in PATHS] == sorted(path.stem for path in FOLDER.glob("*.ipynb"))


@each
def test_source_and_notebook_are_the_same(path):
    jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed: pip install -e '.[notebooks]'")
    source, notebook = (jupytext.read(path.with_suffix(suffix)) for suffix in (".py", ".ipynb"))
    both = [[(c.cell_type, c.source, slide_type(c)) for c in book.cells] for book in (source, notebook)]
    assert both[0] == both[1], "make notebooks"


@each
def test_the_notebook_was_run_from_top_to_bottom_in_silence(path):
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]


@each
def test_every_link_leads_somewhere(path):
    links = [link for cell in cells(path) for link in re.findall(r"\]\(([^)#]+)", text(cell)) if "://" not in link]
    assert links and [link for link in links if not (FOLDER / link).exists()] == []


# ------------------------------------------------------------------------------------- what is said


@each
def test_every_slide_has_notes_that_begin_with_their_minutes(path):
    minutes = []
    for slide in slides(path):
        said = re.match(r"\*\*(\d) minutes?\.\*\* \S", split(slide)[1])
        assert said, title(slide)
        minutes.append(int(said[1]))
    promised = int(re.search(r"(\d+) minutes", text(slides(path)[0][0]))[1])
    assert 45 <= sum(minutes) == promised <= 60


@each
def test_notes_have_no_formulas(path):
    """The speaker's view of reveal.js does not typeset, and what stands between dollars is gone."""
    assert [title(slide) for slide in slides(path) if "$" in split(slide)[1]] == []


@each
def test_a_question_is_answered_by_the_next_slide(path):
    titles = [title(slide) for slide in slides(path)]
    asked = [re.match(r"Question (\d)", one) for one in titles]
    assert [int(found[1]) for found in asked if found] == list(range(1, 8))
    assert not any(now and then for now, then in zip(asked, [*asked[1:], True], strict=True))


# ------------------------------------------------------------------------------------ what is shown


@each
def test_no_code_is_longer_or_wider_than_a_slide(path):
    for slide in slides(path):
        code = [cell for cell in slide if cell["cell_type"] == "code"]
        assert len(code) <= 1, title(slide)
        for lines in [text(cell).splitlines() for cell in code] + [printed(cell) for cell in code]:
            assert len(lines) <= LINES and max(map(len, lines), default=0) <= COLUMNS, title(slide)


def height(slide):
    """About how many pixels of a slide are taken, with the larger letters of make slides."""
    total = 40
    for cell in split(slide)[0]:
        if cell["cell_type"] == "code":
            total += 25 * len(text(cell).splitlines()) + 28 + 25 * len(printed(cell))
            for picture in pictures(cell):
                wide, high = struct.unpack(">II", base64.b64decode(picture)[16:24])
                total += high * min(1, 0.95 * WIDTH / wide) + 10
            continue
        for block in re.split(r"\n\s*\n", text(cell)):
            lines = block.splitlines()
            if block.startswith("#"):
                total += 70 * len(lines)
            elif block.startswith("$$"):
                total += 50 * block.count(r"\\") + (50 if "aligned" in block else 100)
            elif block.startswith("|"):
                total += 42 * (len(lines) - 1) + 30
            else:
                items = re.split(r"\n(?=- |\d\. )", block)
                shown = [re.sub(r"\]\(\S+\)|[$\\{}]", "", item) for item in items]
                total += sum((45 if len(items) > 1 else 37) * -(-len(item) // 60) for item in shown) + 20
    return total


@each
def test_no_slide_is_higher_than_the_screen(path):
    assert {title(slide): height(slide) for slide in slides(path) if height(slide) > HEIGHT} == {}


@each
def test_every_displayed_equation_is_asserted_within_three_cells(path):
    whole = cells(path)
    for i, cell in enumerate(whole):
        if cell["cell_type"] == "markdown" and "$$" in text(cell):
            near = [text(c) for c in whole[i + 1 : i + 4] if c["cell_type"] == "code"]
            assert any("assert " in code for code in near), text(cell)


@each
def test_every_figure_says_in_words_what_is_seen(path):
    found = []
    for cell in cells(path):
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt")
        assert len(pictures(cell)) == (alt is not None), text(cell)
        found += [alt] if alt else []
    assert found and len(set(found)) == len(found)
    for alt in found:
        assert len(alt) > 60 and alt[0].isupper() and alt.endswith("."), alt
        assert "$" not in alt and "\\" not in alt, alt


# ------------------------------------------------------------------------------------- the evidence


def test_the_differences_are_those_of_the_evidence():
    """Row by row, as they stand in the table of docs/evidence.md."""
    page = EVIDENCE.read_text(encoding="utf-8")
    body = ast.parse((FOLDER / "the_gate.py").read_text(encoding="utf-8")).body
    (rows,) = [n.value for n in body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "EVIDENCE"]
    for study, data, contrast, middle, low, high, verdict in ast.literal_eval(rows):
        start = f"| {study} | {data} | {contrast} | {middle:+.2f} | [{low:+.2f}, {high:+.2f}] |"
        (line,) = [line for line in page.splitlines() if line.startswith(start)]
        assert line.rstrip("| ").endswith(verdict.replace("better", "**better**")), line


def test_no_other_figure_of_the_evidence_is_made_up():
    """On the two slides about it, every number with a point stands in docs/evidence.md."""
    page = EVIDENCE.read_text(encoding="utf-8").replace("\n", " ")
    titles = "Question 7: which line to publish?", "What is left of it"
    about = [slide for slide in slides(FOLDER / "the_gate.py") if title(slide) in titles]
    numbers = {n for slide in about for cell in slide for n in re.findall(r"\d+\.\d+(?: ± \d\.\d)?", text(cell))}
    assert len(about) == 2 and len(numbers) > 10
    assert sorted(n for n in numbers if not re.search(rf"(?<![\d.]){re.escape(n)}(?![\d])", page)) == []


# ----------------------------------------------------------------------------------- run and render


@pytest.mark.notebooks
@each
def test_it_runs_in_a_fresh_kernel_in_its_time(path):
    jupytext, nbclient = pytest.importorskip("jupytext"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    started = time.perf_counter()
    nbclient.NotebookClient(jupytext.read(path), timeout=60, resources={"metadata": {"path": FOLDER}}).execute()
    assert time.perf_counter() - started < 60


@pytest.mark.slow
@each
def test_nbconvert_makes_slides_of_it(path, tmp_path):
    if not importlib.util.find_spec("nbconvert"):
        pytest.skip("nbconvert is not installed: pip install -e '.[notebooks]'")
    made = {}
    for name, options in {
        "plain": [],
        "large": ["--template", "lecture", f"--TemplateExporter.extra_template_basedirs={FOLDER}"],
    }.items():
        run = [sys.executable, "-m", "nbconvert", "--to", "slides", path.with_suffix(".ipynb"), *options]
        subprocess.run([*run, "--output-dir", tmp_path / name], check=True, capture_output=True)
        made[name] = (tmp_path / name / f"{path.stem}.slides.html").read_text(encoding="utf-8")
        assert made[name].count("<section") == 2 * len(slides(path))  # reveal.js nests what may go down
        assert made[name].count('<aside class="notes">') == len(slides(path))
        assert "ModuleNotFoundError" not in made[name]  # of a cell that is skipped
    alts = re.findall(r'<img alt="([^"]*)"', made["large"]) or re.findall(r'<img [^>]*?alt="([^"]*)"', made["large"])
    assert len(alts) == sum(len(pictures(cell)) for cell in cells(path)) and all(len(alt) > 60 for alt in alts)
