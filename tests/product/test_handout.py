"""What is handed out: Gradescope's zips grade in a clean folder, without this repository;
the template for GitHub Classroom has a step per exercise; what students get holds no solution.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.tiers import most_later

EXERCISES = Path(__file__).resolve().parents[2] / "notebooks" / "exercises"
sys.path.insert(0, str(EXERCISES))

from build import main  # noqa: E402
from grading import autograder, handout  # noqa: E402
from grading import course as courses  # noqa: E402

sys.path.remove(str(EXERCISES))

LINUX = sys.platform == "linux"
ROOT = LINUX and os.geteuid() == 0
BUBBLEWRAP = LINUX and shutil.which("bwrap")
NOBODY = 65534
needs_a_wall = pytest.mark.skipif(not (ROOT or BUBBLEWRAP), reason="there is no wall here: neither root nor bubblewrap")

# -------------------------------------------------------------------------------------- Gradescope


def python_with_numpy(folder, base):
    """A Python that has NumPy, and knows nothing of this repository."""
    subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "numpy.pth").write_text(f"{Path(np.__file__).parents[1]}\n")
    python = folder / "bin" / "python"
    assert subprocess.run([python, "-c", "import dgsa_np"], cwd=folder, capture_output=True).returncode == 1
    return python


class Gradescope:
    """Its folders, in a place of their own."""

    def __init__(self, folder, packed, python, user=None):
        self.root, self.python = folder / "autograder", python
        self.who = {"user": user, "group": user, "extra_groups": []} if user else {}
        shutil.unpack_archive(packed, self.root / "source")
        shutil.copyfile(self.root / "source" / "run_autograder", self.root / "run_autograder")
        (self.root / "submission").mkdir()
        (self.root / "results").mkdir()
        if user:
            subprocess.run(["chown", "-R", str(user), self.root], check=True)
        self.set_up = self.run(self.root / "source" / "setup.sh")

    def run(self, script, **environment):
        environment = {"PATH": os.defpath, "AUTOGRADER": self.root, "PYTHON": self.python} | environment
        command = ["bash", script]
        return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, **self.who)

    def results(self, files, **environment):
        """Hand in {name: text}; what is then in results.json."""
        shutil.rmtree(self.root / "submission")
        shutil.rmtree(self.root / "results")
        (self.root / "submission").mkdir()
        (self.root / "results").mkdir()
        for name, text in files.items():
            (self.root / "submission" / name).write_text(text, encoding="utf-8")
        if self.who:
            shutil.chown(self.root / "results", NOBODY)
        done = self.run(self.root / "run_autograder", **environment)
        assert done.returncode == 0 and os.listdir(self.root / "results") == ["results.json"], done.stderr
        assert "HOLE" not in done.stdout, done.stdout
        content = json.loads((self.root / "results" / "results.json").read_text())
        assert content["score"] == sum(test["score"] for test in content["tests"])
        return content


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The zip of exercise 07, course 7."""
    folder = tmp_path_factory.mktemp("zips")
    assert main(["gradescope", "--course", "7", "--exercise", "ex07", str(folder)]) == 0
    assert main(["gradescope", "--course", "7", "--exercise", "ex07", str(folder)]) == 2  # nothing is overwritten
    return folder / "gradescope-ex07-course7.zip"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    return python_with_numpy(tmp_path_factory.mktemp("python"), sys._base_executable)


@pytest.fixture(scope="module")
def there(packed, python, tmp_path_factory):
    return Gradescope(tmp_path_factory.mktemp("gradescope"), packed, python)


RIGHT = courses.solution("ex07", 7)
WRONG = RIGHT.replace("w_exc * dA, -w_inh * dA", "w_exc * dA, w_inh * dA")
MOST = handout.points_of("ex07", 7)
HOSTILE = """
import os
for path in ("AUTOGRADER/results/results.json", "AUTOGRADER/source/notebooks/exercises/keys/ex07.py"):
    for mode in ("r", "w"):
        try:
            print("HOLE", open(path, mode))
        except OSError:
            pass
class Yes:
    __eq__ = __le__ = __array_ufunc__ = lambda *args, **kwargs: True
gated_head_forward = gated_head_backward = lambda *args: Yes()
"""
HANDED_IN = {  # name: (files, the points it may have, what is said in each test without any)
    "right": ({"ex07.py": RIGHT}, {MOST}, ""),
    "a second download": ({"ex07 (1).py": RIGHT, "notes.txt": "late"}, {MOST}, ""),
    "another name": ({"My homework.py": f"# coding: utf-8\n# In[1]:\n{RIGHT}"}, {MOST}, ""),
    "wrong": ({"ex07.py": WRONG}, range(1, MOST), "differs, most at index"),
    "of another course": ({"ex07.py": courses.solution("ex07", 8)}, range(MOST), ""),
    "the stub": ({"ex07.py": courses.stub("ex07", 7)}, {0}, "NotImplementedError: ex07: "),
    "an empty file": ({"ex07.py": ""}, {0}, "gated_head_forward"),
    "nothing": ({}, {0}, "nothing was handed in, expected ex07.py"),
    "two": ({"a.py": RIGHT, "b.py": RIGHT}, {0}, "a.py, b.py: which one is meant? expected ex07.py"),
    "a notebook": ({"ex07.ipynb": '{"cells": []}'}, {0}, "it is a notebook"),
    "hostile": ({"ex07.py": HOSTILE}, {0}, ""),
    "it ends the process": ({"ex07.py": "import os\nos._exit(0)"}, {0}, "the file ended the process itself"),
}


def check(gradescope, name):
    files, points, said = HANDED_IN[name]
    files = {name: text.replace("AUTOGRADER", str(gradescope.root)) for name, text in files.items()}
    content = gradescope.results(files)
    assert re.fullmatch(r"ex07, seed \d+, course 7: .*", content["output"])
    assert content["score"] in points and sum(test["max_score"] for test in content["tests"]) == MOST, content
    assert all(test["output"] and said in test["output"] for test in content["tests"] if test["score"] == 0), content


@needs_a_wall
@pytest.mark.parametrize("name", most_later(HANDED_IN, now=("right", "nothing")))
def test_a_submission_is_graded_in_a_clean_folder(there, name):
    assert there.set_up.returncode == 0 and f"{MOST} of {MOST} points" in there.set_up.stdout, there.set_up.stderr
    check(there, name)


@needs_a_wall
def test_whatever_fails_there_is_a_result(there):
    """A Python that does not start; then a key that is broken."""
    key = there.root / "source" / "notebooks" / "exercises" / "keys" / "ex07.py"
    whole = key.read_text(encoding="utf-8")
    key.write_text("1 / 0")
    broken = there.results({"ex07.py": RIGHT})
    key.write_text(whole, encoding="utf-8")
    failed = {"no Python": there.results({"ex07.py": RIGHT}, PYTHON="/nowhere"), "key": broken}
    for name, content in failed.items():
        (test,) = content["tests"]
        assert content["score"] == 0 and "could not be graded" in content["output"], name
        assert test["visibility"] == "hidden" and "ZeroDivisionError" not in content["output"], name
    assert "ZeroDivisionError" in failed["key"]["tests"][0]["output"]


def test_keys_and_solutions_are_for_who_grades(there):
    """After setup.sh nobody else may enter."""
    assert (there.root / "source").stat().st_mode & 0o077 == 0
    assert (there.root / "source" / "notebooks" / "exercises" / "keys" / "ex07.py").stat().st_mode & 0o077 == 0


def python_for_all():
    """A Python that nobody can run too, with our NumPy; None if there is none."""
    load = f"import sys; sys.path.append({str(Path(np.__file__).parents[1])!r}); import numpy"
    for base in (sys._base_executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            done = subprocess.run([base, "-c", load], user=NOBODY, group=NOBODY, cwd="/", capture_output=True)
        except OSError:
            continue
        if done.returncode == 0:
            return base
    return None


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT and BUBBLEWRAP), reason="needs root, to become another user, and bubblewrap")
def test_a_user_without_rights_grades_behind_bubblewrap(packed):
    base = python_for_all()
    if base is None:
        pytest.skip("no Python here that another user can run")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        python = python_with_numpy(Path(folder, "python"), base)
        gradescope = Gradescope(Path(folder), packed, python, user=NOBODY)
        assert gradescope.set_up.returncode == 0, gradescope.set_up.stderr
        for name in HANDED_IN:
            check(gradescope, name)


@pytest.mark.slow
@needs_a_wall
def test_every_exercise_has_a_zip_that_marks_its_solution(python, tmp_path):
    assert main(["gradescope", "--course", "7", "--seed", "5", str(tmp_path / "zips")]) == 0
    for exercise in courses.EXERCISES:
        packed = tmp_path / "zips" / f"gradescope-{exercise}-course7.zip"
        there = Gradescope(tmp_path / exercise, packed, python)
        most = handout.points_of(exercise, 7)
        assert there.set_up.returncode == 0 and f"{most} of {most} points (--seed 5" in there.set_up.stdout, exercise


def test_a_zip_holds_two_scripts_and_one_exercise(packed):
    with zipfile.ZipFile(packed) as file:
        modes = {info.filename: info.external_attr >> 16 for info in file.infolist() if not info.is_dir()}
        settings = json.loads(file.read("notebooks/exercises/autograder.json"))
        needed = file.read("requirements.txt").decode()
    assert modes["setup.sh"] & modes["run_autograder"] & 0o111
    held = [Path(name).name for name in modes if "/keys/" in name or "/solutions/" in name]
    assert held == ["ex07.py", "ex07.py"] and settings == {"exercise": "ex07", "course": 7, "seed": None}
    assert re.fullmatch(r"numpy >= \d+\.\d+\n", needed)


def test_which_file_is_meant(tmp_path):
    def meant(*names):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        return autograder.meant(folder, "ex07").relative_to(folder).as_posix()

    assert meant("ex07.py", "ex07 (1).py", "ex06.py") == "ex07.py"
    assert meant("EX07_final.py", "helper.py") == "EX07_final.py"
    assert meant("Untitled.PY", "readme.txt", ".DS_Store") == "Untitled.PY"
    assert meant("student/ex07.py", "student/ex06.py", "__MACOSX/x") == "student/ex07.py"
    assert meant("ex07.ipynb") == "ex07.ipynb"
    for names in (["ex07 (1).py", "ex07 (2).py"], ["a.py", "b.py"], ["a.txt", "b.txt"]):
        with pytest.raises(ValueError, match=f"{re.escape(', '.join(names))}: which one is meant"):
            meant(*names)


# -------------------------------------------------------------------------------- GitHub Classroom


def test_the_workflow_has_a_step_with_its_points_for_each_exercise():
    text = handout.workflow(7)
    assert re.findall(r"command: python -m pytest -m (ex\d\d)", text) == courses.EXERCISES
    points = dict(zip(courses.EXERCISES, map(int, re.findall(r"max-score: (\d+)", text)), strict=True))
    assert points == {exercise: handout.points_of(exercise, 7) for exercise in courses.EXERCISES}


def test_the_workflow_is_yaml_that_github_reads():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    content = yaml.safe_load(handout.workflow(7))
    assert content["on"] == ["push", "workflow_dispatch", "repository_dispatch"]
    (job,) = content["jobs"].values()
    checkout, python, *steps, report = job["steps"]
    assert isinstance(python["with"]["python-version"], str)  # 3.10 is not 3.1
    for exercise, step in zip(courses.EXERCISES, steps, strict=True):
        assert step["id"] == step["with"]["test-name"] == exercise
        assert step["uses"] == "education/autograding-command-grader@v1"
        assert step["with"].keys() == {"test-name", "setup-command", "command", "timeout", "max-score"}
        assert "numpy==" in step["with"]["setup-command"]
    assert report["with"]["runners"].split(",") == courses.EXERCISES
    results = {f"{e.upper()}_RESULTS": f"${{{{ steps.{e}.outputs.result }}}}" for e in courses.EXERCISES}
    assert report["env"] == results and report["uses"] == "education/autograding-grading-reporter@v1"


@pytest.mark.slow
def test_the_command_of_a_step_marks_an_exercise(tmp_path):
    folder = tmp_path / "classroom"
    assert main(["classroom", "--course", "7", str(folder)]) == 0
    assert main(["classroom", "--course", "7", str(folder)]) == 2
    assert (folder / ".github" / "workflows" / "classroom.yml").read_text() == handout.workflow(7)
    (folder / "ex07.py").write_text(RIGHT, encoding="utf-8")
    commands = {e: [sys.executable, "-m", "pytest", "-m", e, "-p", "no:cacheprovider"] for e in ("ex06", "ex07")}
    status = {e: subprocess.run(c, cwd=folder, capture_output=True).returncode for e, c in commands.items()}
    assert status == {"ex06": 1, "ex07": 0}


# ----------------------------------------------------------------------- what students must not get


def secret_lines():
    """Lines of keys, and those of solutions that no stub has; long enough to mean something."""
    keys = [path.read_text(encoding="utf-8") for path in (EXERCISES / "keys").glob("*.py")]
    solutions = [courses.solution(exercise, course) for exercise in courses.EXERCISES for course in (0, 7)]
    given = "".join(courses.stub(exercise, course) for exercise in courses.EXERCISES for course in (0, 7))
    lines = {line.strip() for text in [*keys, *solutions] for line in text.splitlines() if "=" in line}
    return {line for line in lines if len(line) > 25 and line not in given}


def texts(packed):
    """{name: text} of a zip; of the stored cases, what is no array."""
    with zipfile.ZipFile(packed) as file:
        found = {name: file.read(name) for name in file.namelist() if not name.endswith("/")}
    for name in [name for name in found if name.endswith(".npz")]:
        with np.load(io.BytesIO(found[name]), allow_pickle=False) as arrays:
            assert all(arrays[key].dtype.kind in "fiubc" for key in arrays.files if key != "places"), name
            found[name] = str(arrays["places"]).encode()
    return {name: content.decode() for name, content in found.items()}


def cells_of(notebook, kind="code"):
    return ["".join(cell["source"]) for cell in json.loads(notebook)["cells"] if cell["cell_type"] == kind]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["release", "classroom", "nbgrader"])
def test_every_link_in_what_is_handed_out_leads_somewhere(what, tmp_path):
    assert main([what, "--course", "7", str(tmp_path / "made")]) == 0
    if what == "release":
        shutil.unpack_archive(tmp_path / "made.zip", tmp_path / "made")
    found = []
    for page in [path for path in (tmp_path / "made").rglob("*") if path.suffix in (".md", ".ipynb")]:
        text = page.read_text(encoding="utf-8")
        for said in cells_of(text, "markdown") if page.suffix == ".ipynb" else [text]:
            links = re.findall(r"\]\(([^)]*)\)|(?:src|href)=\"([^\"]*)\"", said)
            found += [(page, link or source) for link, source in links]
    assert len({link for page, link in found if page.name.startswith("ex")}) > 5
    lost = [(page.name, link) for page, link in found if "://" not in link and not (page.parent / link).is_file()]
    assert not lost


@pytest.mark.slow
def test_a_release_holds_no_solution_and_no_key(tmp_path):
    assert main(["release", "--course", "7", str(tmp_path / "release")]) == 0
    found, secret = texts(tmp_path / "release.zip"), secret_lines()
    of_an_exercise = {f"{part}{e}.{end}" for e in courses.EXERCISES
                      for part, end in (("", "py"), ("", "ipynb"), ("cases/", "npz"))}  # fmt: skip
    harness = {f"harness/{name}.py" for name in ("__init__", "call", "items", "judge", "pack", "run", "twice")}
    public = {f"read/{path.name}": path for path in EXERCISES.parent.glob("*.ipynb") if f"read/{path.name}" in found}
    ours = {"README.md", "pytest.ini", "conftest.py", "test_exercises.py"}
    assert found.keys() == of_an_exercise | harness | {*public} | ours
    for name, path in public.items():
        assert cells_of(found.pop(name)) == cells_of(path.read_text(encoding="utf-8"))  # each has stood there before
    for exercise in courses.EXERCISES:
        assert found[f"{exercise}.py"] == courses.stub(exercise, 7)
    assert len(secret) > 300
    judged = (EXERCISES / "keys" / "ex11.py").read_text(encoding="utf-8")  # its pairs are what students judge
    for name, text in found.items():
        spelled = text.replace("\\n", "\n").replace('\\"', '"')  # notebooks and cases are JSON
        given = judged if name == "cases/ex11.npz" else ""
        leaked = {line for line in secret if line in spelled and line not in given}
        assert not leaked, (name, leaked)
        assert not re.search(r"BEGIN SOLUTION|course choice", text), name
