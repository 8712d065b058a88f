"""The pages in docs/:
links lead somewhere, code runs, quotations are true, tables follow the code.
"""

import re
from pathlib import Path

import pytest

from dgsa_np.attention import KINDS
from dgsa_np.lab.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
FIRST = "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "notebooks/README.md", "dgsa_np/lab/README.md"
READ_FIRST = [ROOT / name for name in FIRST]
COURSEWORK = [*(ROOT / "notebooks/exercises").glob("*.md"), *(ROOT / "notebooks/exercises/texts").glob("*.md")]
WRAPPED = [*READ_FIRST[:3], *PAGES]

pages = pytest.mark.parametrize("page", [*READ_FIRST, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))


def read(page):
    return page.read_text(encoding="utf-8")


def without_code(page):
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)


def blocks(page, language="python"):
    return re.findall(rf"^```{language}\n(.*?)^```$", read(page), re.DOTALL | re.MULTILINE)


# -------------------------------------------------------------------------------------------- links


def anchors(page):
    """What # may name: the headings of a page, as a web page spells them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page):
    """The targets inside the repository that are not there."""
    broken = []
    for target, _, heading in re.findall(r"\]\(([^)#]*)(#([^)]*))?\)", without_code(page)):
        place = page.parent / target if target else page
        if "://" not in target and (not place.exists() or (heading and heading not in anchors(place))):
            broken.append(f"{target}#{heading}")
    return broken


@pages
def test_every_link_leads_somewhere(page):
    assert broken_links(page) == []


def test_every_link_of_the_coursework_leads_somewhere():
    assert {page.name: broken_links(page) for page in COURSEWORK if broken_links(page)} == {}


def test_a_broken_link_is_seen(tmp_path):
    (tmp_path / "there.md").write_text("# A heading, `here`\n")
    page = tmp_path / "page.md"
    page.write_text("[a](there.md) [b](there.md#a-heading-here) [c](gone.md) [d](there.md#gone) [e](https://x.org)")
    assert broken_links(page) == ["gone.md#", "there.md#gone"]


def test_the_map_names_every_page_and_every_module():
    here = read(ROOT / "docs/README.md")
    for page in PAGES:
        assert page.name == "README.md" or f"]({page.name})" in here, page.name
    for folder in ("dgsa_np", "dgsa_np/ops", "dgsa_np/attention", "dgsa_np/lab", "dgsa_np/fast", "dgsa_np/peers"):
        for module in (ROOT / folder).glob("[!_]*.py"):
            assert re.search(rf"\b{module.name}\b", here), f"{folder}/{module.name}"


# -------------------------------------------------------------------------------- code and commands


@pytest.mark.slow
def test_the_examples_run():
    namespace = {}
    for block in blocks(ROOT / "docs/check_your_own.md"):
        exec(compile(block, "check_your_own.md", "exec"), namespace)


def test_the_quoted_lines_are_those_of_the_code():
    page = ROOT / "docs/conventions.md"
    source = re.search(r"From `(dgsa_np/[\w/]+\.py)`", read(page))[1]
    for block in blocks(page):
        assert block in read(ROOT / source)


@pages
def test_the_commands_exist(page):
    makefile = read(ROOT / "Makefile")
    for target in re.findall(r"(?:^    |`)make ([\w-]+)", read(page), re.MULTILINE):
        assert re.search(rf"^[\w. /-]*\b{target}\b[\w. /-]*:", makefile, re.MULTILINE), f"make {target}"
    for command in re.findall(r"python -m dgsa_np (\w+)", read(page)):
        assert command in COMMANDS


@pages
def test_every_file_that_is_named_exists(page):
    for path in re.findall(r"`((?:dgsa_np|tests|docs|notebooks)/[\w./-]+\.\w+)`", read(page)):
        assert (ROOT / path).exists(), path


def test_the_table_of_kinds_has_the_kinds():
    table = re.search(r"^\| `kind` \|.*?\n\n", read(ROOT / "docs/mechanisms.md"), re.DOTALL | re.MULTILINE)[0]
    found = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)[1:]
    assert found == [*KINDS], "the table of docs/mechanisms.md has a row for each kind, in the order of mechanisms.py"


# -------------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize("page", WRAPPED, ids=lambda page: page.name)
def test_prose_is_at_most_100_columns_wide(page):
    """Tables, pictures, formulas and indented code may be wider, and a single long word."""
    prose = [line for line in without_code(page).splitlines() if not re.match(r"\||!\[|    |\$\$", line)]
    assert [line for line in prose if len(line) > 100 and " " in line.strip()] == []
