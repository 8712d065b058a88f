"""Every figure of a notebook says in words what is seen in it, for those who do not see it.

The words are in the header of the cell, in py:percent mystnb={"image": {"alt": "..."}}: MyST-NB
writes them into the page.
"""

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
PATHS = [FOLDER / "start_here.py", *sorted(FOLDER.glob("[0-9][0-9]_*.py"))]
NOT_A_PICTURE_OF = r"(a |an |the |this )?(plot|figure|picture|image|graph|chart|diagram)s?\b"

each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def code_cells(path):
    """Those of the committed notebook."""
    whole = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
    return [cell for cell in whole if cell["cell_type"] == "code"]


def figures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell["outputs"])


def alt(cell):
    return cell["metadata"].get("mystnb", {}).get("image", {}).get("alt")


@each
def test_a_cell_has_a_text_if_it_has_a_figure_and_one_figure_at_most(path):
    for cell in code_cells(path):
        assert figures(cell) == (alt(cell) is not None), "".join(cell["source"])


@each
def test_the_text_says_what_is_seen(path):
    texts = [text for text in map(alt, code_cells(path)) if text]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert len(text) > 60 and text[0].isupper() and text.endswith("."), text
        assert not re.match(NOT_A_PICTURE_OF, text, flags=re.IGNORECASE), text
        assert "$" not in text and "\\" not in text, f"{text}: it is read out, not typeset"


@each
def test_the_text_is_that_of_the_source(path):
    headers = re.findall(r"^# %% mystnb=(.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    in_source = [json.loads(header)["image"]["alt"] for header in headers]
    assert in_source == [text for text in map(alt, code_cells(path)) if text], "make notebooks"
