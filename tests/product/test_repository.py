"""The repository as a stranger meets it: workflows, templates, citation, a paper for a journal."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
PAPER = ROOT / "docs" / "paper" / "paper.md"


def read(path):
    return path.read_text(encoding="utf-8")


def yaml_of(text):
    return pytest.importorskip("yaml", reason="PyYAML is not installed; the extra notebooks brings it").safe_load(text)


# ---------------------------------------------------------------------------------------- workflows


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_and_no_more_unless_a_job_says_so(path):
    workflow = yaml_of(read(path))
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "uses" in job or {"runs-on", "timeout-minutes", "steps"} <= set(job), name
    write = {name for name, job in workflow["jobs"].items() if "write" in (job.get("permissions") or {}).values()}
    assert write == ({"docs", "upload", "release"} if path.stem == "publish" else set())
    assert "secrets." not in read(path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_actions_by_major_version_and_what_there_is(path):
    text = read(path)
    for action in re.findall(r"uses: (\S+)", text):
        known = action.startswith("./") or re.fullmatch(r"actions/[\w-]+@v\d+|pypa/[\w-]+@release/v1", action)
        assert known and (not action.startswith("./") or (ROOT / action).is_file()), action
    makefile = read(ROOT / "Makefile")
    for target in re.findall(r"run: make ([\w-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    for script in re.findall(r"run: bash (\S+)", text):
        assert (ROOT / script).is_file()


def test_the_fast_tests_run_on_three_systems_from_the_lowest_versions_to_the_newest():
    matrix = yaml_of(read(GITHUB / "workflows" / "ci.yml"))["jobs"]["test"]["strategy"]["matrix"]
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    versions = matrix["versions"] + [row["versions"] for row in matrix["include"]]
    assert all((ROOT / "tests" / f"{name}.txt").is_file() for name in versions)
    lowest = re.search(r"^python_requires = >=(.*)$", read(ROOT / "setup.cfg"), re.MULTILINE)[1]
    assert {row["python"]: row["versions"] for row in matrix["include"]}[lowest] == "floors"
    said = re.findall(r"Python :: (3\.\d+)$", read(ROOT / "setup.cfg"), re.MULTILINE)
    numbers = [tuple(map(int, version.split("."))) for version in [*said, *matrix["python"]]]
    assert said[0] == lowest and max(numbers) == numbers[-1]


# ---------------------------------------------------------------------------------------- templates


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_a_template_of_an_issue_is_a_form(path):
    form = yaml_of(read(path))
    if path.stem == "config":
        assert set(form) == {"blank_issues_enabled"}
        return
    assert {"name", "description", "body"} <= set(form)
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert all(part["type"] in kinds and part["attributes"] for part in form["body"])
    asked = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(asked) == len(set(asked)) >= 2
    for page in re.findall(r"\b((?:docs|notebooks|tests)/[\w/]+\.\w+)", read(path)):
        assert (ROOT / page).exists(), page


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", GITHUB / "pull_request_template.md"], ids=lambda p: p.name)
def test_what_a_contributor_reads_names_what_there_is(page):
    text, makefile = read(page), read(ROOT / "Makefile")
    for target in re.findall(r"`make ([\w-]+)", text):
        assert re.search(rf"^[\w. /-]*\b{target}\b[\w. /-]*:", makefile, re.MULTILINE), f"make {target}"
    for path in re.findall(r"`((?:\.github|dgsa_np|tests|docs|notebooks)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path


# -------------------------------------------------------------------------------- citation, a paper


def test_the_citation_is_complete_but_for_a_doi():
    citation = yaml_of(read(ROOT / "CITATION.cff"))
    needed = {"cff-version", "message", "title", "abstract", "type", "license", "version", "authors", "keywords"}
    assert needed <= set(citation) and citation["cff-version"] == "1.2.0"
    assert citation["authors"] == [{"name": "The dgsa_np developers"}]
    (paper,) = citation["references"]
    assert paper["url"].endswith("2505.24054") and [a["family-names"] for a in paper["authors"]] == [
        "Lygizou", "Farsang", "Grosu",
    ]  # fmt: skip


def body():
    return read(PAPER).split("\n---\n", 1)[1]


def test_the_paper_has_what_the_journal_asks_for():
    front = yaml_of(read(PAPER).split("\n---\n", 1)[0].removeprefix("---"))
    assert {"title", "tags", "authors", "affiliations", "date", "bibliography"} <= set(front)
    assert "TO BE FILLED IN" in read(PAPER)  # who answers for it is not known to the repository
    headings = re.findall(r"^# (.*)$", body(), re.MULTILINE)
    assert headings[:3] == ["Summary", "Statement of need", "Learning objectives"] and headings[-1] == "References"
    assert 900 <= len(re.sub(r"!\[.*\n", "", body()).split()) <= 1250


def test_the_papers_references_and_figures_are_there():
    bibliography = set(re.findall(r"^@\w+\{(\w+),", read(PAPER.with_name("paper.bib")), re.MULTILINE))
    assert set(re.findall(r"@(\w+\d{4}\w+)", body())) == bibliography and "lygizou2025differential" in bibliography
    for target in re.findall(r"\]\(([^)]+)\)", body()):
        assert (PAPER.parent / target).is_file(), target


def test_the_papers_figures_are_those_of_trust_and_evidence():
    pages = "\n".join(read(ROOT / "docs" / name) for name in ("trust.md", "evidence.md")) + read(ROOT / "README.md")
    part = body().split("# How it has been checked")[1].split("# Acknowledgements")[0]
    part = re.sub(r"@\w+|\.\./\S+", "", part)
    for figure in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e-\d+)?", part):
        assert re.search(rf"(?<![\d.]){re.escape(figure.rstrip(','))}(?![\d])", pages), figure
