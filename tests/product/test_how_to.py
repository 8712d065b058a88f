"""The page on adding a mechanism:
its Python runs, prints what is shown, and quotes what is there.
"""

import contextlib
import io
import re
from pathlib import Path

from dgsa_np.attention.mechanisms import Mechanism

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how_to_add_a_mechanism.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def run_page():
    """What each block printed, in one namespace, beside the text block that follows it."""
    namespace, printed = {"__name__": "how_to"}, []
    for language, body in FENCES:
        if language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(body, "how_to_add_a_mechanism.md", "exec"), namespace)
            if out.getvalue():
                printed.append(out.getvalue())
    return printed


def test_the_blocks_run_and_print_what_the_page_shows():
    assert run_page() == [body for language, body in FENCES if language == "text"]


def quotations():
    """The path and the lines of every block that begins with the path of a file."""
    for _, body in FENCES:
        first, _, rest = body.partition("\n")
        if match := re.fullmatch(r"# (\w[\w/]+\.py)", first):
            yield ROOT / match[1], rest


def test_the_quoted_lines_are_those_of_the_code():
    found = list(quotations())
    assert [path.name for path, _ in found] == ["twicing.py", "mechanisms.py"]
    for path, body in found:
        source, place = path.read_text(encoding="utf-8"), 0
        for run in re.split(r"^ *\.\.\.\n", body, flags=re.MULTILINE):  # ... is what the page leaves out
            assert run in source[place:], f"{path.name} does not say, or not in this order:\n{run}"
            place = source.index(run, place) + len(run)


def test_the_table_has_every_field_of_a_mechanism():
    section = PAGE[PAGE.index("## 7.") : PAGE.index("## 8.")]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(Mechanism._fields)


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"`((?:dgsa_np|tests|docs)/[\w./]+)`", PAGE))
    assert len(named) > 8
    for path in named:
        assert (ROOT / path).exists(), path
