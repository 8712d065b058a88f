"""The grader:
right submissions pass, typical mistakes are named, hostile ones get a verdict and no mark.
"""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.tiers import most_later

HERE = Path(__file__).resolve().parent
EXERCISES = HERE.parents[1] / "notebooks" / "exercises"
sys.path.insert(0, str(EXERCISES))

from grading import course as courses  # noqa: E402
from grading import sandbox, student  # noqa: E402
from grading.marks import grade, gradescope  # noqa: E402

sys.path.remove(str(EXERCISES))


def data_of(name):
    spec = importlib.util.spec_from_file_location(f"coursework_{name}", HERE / "coursework" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exchanged(text, exchanges):
    for old, new in exchanges:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the solution"
        text = text.replace(old, new)
    return text


def submit(folder, exercise, text, seed=0, course=0):
    path = folder / f"{exercise}.py"
    path.write_text(text, encoding="utf-8")
    return grade(exercise, path, seed, course)


def hostile(text, exercise):
    """For each function that is asked for, the hostile one."""
    functions = dict.fromkeys(n for item in courses.items(exercise).values() for n in item.call.split())
    first, *others = functions
    text = text.replace("NAME", first).replace("KEY", repr(str(EXERCISES / "keys" / f"{exercise}.py")))
    also = "".join(f"\n{other} = globals().get({first!r})" for other in others)
    return text.replace("ROOT", repr(str(EXERCISES))) + also


DATA = {exercise: data_of(exercise) for exercise in courses.EXERCISES}
RIGHT = [(e, name) for e, data in DATA.items() for name in list(data.RIGHT)[:5]]  # all: make grader-torture
WRONG = [(e, name) for e, data in DATA.items() for name in [*list(data.WRONG)[:12], *getattr(data, "MEMORY", ())]]
HOSTILE = data_of("hostile").HOSTILE
FIRST = [next(pair for pair in pairs if pair[0] == e) for pairs in (RIGHT, WRONG) for e in courses.EXERCISES[::4]]


@pytest.mark.parametrize("exercise", courses.EXERCISES)
def test_there_is_enough_to_judge_the_grader_by(exercise):
    assert len(DATA[exercise].RIGHT) >= 5 and len(DATA[exercise].WRONG) >= 12 and len(HOSTILE) >= 8
    assert 8 <= sum(item.points for item in courses.items(exercise).values()) <= 12


@pytest.mark.parametrize(("exercise", "name"), most_later(RIGHT, now=FIRST))
def test_a_right_submission_passes(exercise, name, tmp_path):
    for seed, course in ((1, 0), (2, 7)):
        text = exchanged(courses.solution(exercise, course), DATA[exercise].RIGHT[name])
        marks = submit(tmp_path, exercise, text, seed, course)
        assert marks.score == marks.most, marks


@pytest.mark.parametrize(("exercise", "name"), most_later(WRONG, now=FIRST))
def test_a_mistake_is_named(exercise, name, tmp_path):
    exchanges, hint = (DATA[exercise].WRONG | getattr(DATA[exercise], "MEMORY", {}))[name]
    marks = submit(tmp_path, exercise, exchanged(courses.solution(exercise), exchanges), 3)
    assert marks.score < marks.most and any(hint in mark.said for mark in marks.marks), marks


QUICK = ("exit", "equals everything", "reads the key")


@pytest.mark.parametrize("name", most_later(HOSTILE, now=QUICK))
def test_a_hostile_submission_gets_a_verdict_and_no_mark(name, tmp_path):
    key, start = (EXERCISES / "keys" / "ex01.py").read_bytes(), time.monotonic()
    marks = submit(tmp_path, "ex01", hostile(HOSTILE[name], "ex01"))
    assert marks.score == 0 and all(mark.said for mark in marks.marks), marks
    assert time.monotonic() - start < 15 and (EXERCISES / "keys" / "ex01.py").read_bytes() == key


def test_an_answer_that_unpacks_to_more_than_is_allowed_is_not_read(tmp_path):
    path, places = tmp_path / "item0.answer.npz", {"dict": {"answer": {"array": "a0"}}}
    np.savez_compressed(path, places=json.dumps(places), a0=np.zeros(10**7))
    assert "more than" in sandbox.answer(path)["error"]


@pytest.mark.slow
def test_a_stub_fails_every_item_by_its_name(tmp_path):
    for exercise in courses.EXERCISES:
        for mark in submit(tmp_path, exercise, courses.stub(exercise)).marks:
            assert f"NotImplementedError: {exercise}: " in mark.said


def test_the_stubs_and_notebooks_that_students_get_are_fresh_and_hold_no_solution():
    for exercise in courses.EXERCISES:
        assert (EXERCISES / f"{exercise}.py").read_text(encoding="utf-8") == courses.stub(exercise), "make stubs"
        notebook = json.loads((EXERCISES / f"{exercise}.ipynb").read_text(encoding="utf-8"))
        assert [c["source"] for c in notebook["cells"]] == [c["source"] for c in student.student_cells(exercise)]
        whole, given = courses.solution(exercise), courses.SOLUTION.sub("", courses.solution(exercise))
        secret = [line.strip() for line in whole.splitlines() if len(line.strip()) > 25 and line not in given]
        assert secret and not any(line in courses.stub(exercise) for line in secret), exercise
        assert not any(line in json.dumps(notebook) for line in secret if "=" in line), exercise


@pytest.mark.slow
def test_the_students_loop(tmp_path):
    """Stub, a typical mistake, the solution; in a tree of its own."""
    student.write_tree(tmp_path / "student")
    seen = "".join(p.read_text(errors="replace") for p in (tmp_path / "student").rglob("*") if p.is_file())
    assert "BEGIN SOLUTION" not in seen and "course choice" not in seen

    def loop(text):
        (tmp_path / "student" / "ex01.py").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-m", "ex01", "-p", "no:cacheprovider"]
        return subprocess.run(command, cwd=tmp_path / "student", capture_output=True, text=True)

    empty = loop(courses.stub("ex01"))
    assert "NotImplementedError: ex01: softmax" in empty.stdout and empty.returncode == 1
    mistaken = loop(exchanged(courses.solution("ex01"), DATA["ex01"].WRONG["mask ignored"][0]))
    for part in ("the mask is not used", "differs, most at index", "expected", "case: "):
        assert part in mistaken.stdout
    assert loop(courses.solution("ex01")).returncode == 0
    with pytest.raises(FileExistsError):
        student.write_tree(tmp_path / "student")


def test_a_seed_replays_a_dispute(tmp_path):
    wrong = exchanged(courses.solution("ex01"), DATA["ex01"].WRONG["over the queries"][0])
    first, second, other = (submit(tmp_path, "ex01", wrong, seed) for seed in (5, 5, 6))
    assert first.marks == second.marks != other.marks


@pytest.mark.slow
def test_copying_the_default_course_does_not_answer_another(tmp_path):
    for exercise in courses.EXERCISES:
        course = next((n for n in range(1, 99) if courses.constants(exercise, n) != courses.constants(exercise)), None)
        if course is not None:
            marks = submit(tmp_path, exercise, courses.solution(exercise), 1, course)
            assert marks.score < marks.most, f"{exercise}, course {course}"


def test_the_gradescope_file_has_the_published_form(tmp_path):
    wrong = exchanged(courses.solution("ex01"), DATA["ex01"].WRONG["mask ignored"][0])
    content = json.loads(json.dumps(gradescope(submit(tmp_path, "ex01", wrong))))
    assert content["score"] == sum(t["score"] for t in content["tests"])
    assert {t["status"] for t in content["tests"]} == {"passed", "failed"}
    known = {"score", "max_score", "status", "name", "output", "output_format", "number", "tags", "visibility"}
    assert all(t.keys() <= known and 0 <= t["score"] <= t["max_score"] for t in content["tests"])
    known = {"score", "execution_time", "output", "visibility", "stdout_visibility", "tests", "leaderboard"}
    assert content.keys() <= known and isinstance(content["execution_time"], float)


def run_grader(*arguments):
    command = [sys.executable, str(EXERCISES / "grade.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_says_how_it_went_by_its_exit_status(tmp_path):
    right, wrong, out = tmp_path / "right.py", tmp_path / "wrong.py", tmp_path / "results.json"
    right.write_text(courses.solution("ex01"), encoding="utf-8")
    wrong.write_text(courses.stub("ex01"), encoding="utf-8")
    assert run_grader("ex01", right, "--json", out).returncode == 0
    assert json.loads(out.read_text())["score"] == 10
    failed = run_grader("ex01", wrong)
    assert failed.returncode == 1 and "--seed" in failed.stdout
    assert "NotImplementedError: ex01: softmax" in failed.stdout
    missing = run_grader("ex01", tmp_path / "nowhere.py")
    assert missing.returncode == 2 and "nowhere.py: there is no such file" in missing.stderr
    assert run_grader("ex99", right).returncode == 2 and run_grader().returncode == 2


def test_a_class_is_a_table(tmp_path):
    for name, text in {"ann": courses.solution("ex01"), "bob": courses.stub("ex01")}.items():
        (tmp_path / "class" / name).mkdir(parents=True)
        (tmp_path / "class" / name / "ex01.py").write_text(text, encoding="utf-8")
    done = run_grader("--all", tmp_path / "class", "--csv", tmp_path / "marks.csv", "--seed", 4)
    assert done.returncode == 1
    assert (tmp_path / "marks.csv").read_text().splitlines() == ["student,ex01 (of 10),sum", "ann,10,10", "bob,0,0"]
    assert run_grader("--all", tmp_path / "nothing").returncode == 2


@pytest.mark.torture
@pytest.mark.parametrize("exercise", courses.EXERCISES)
def test_every_submission_on_twenty_seeds(exercise, tmp_path):
    data, text = DATA[exercise], courses.solution(exercise)
    for seed in range(100, 120):
        for name, exchanges in data.RIGHT.items():
            assert (marks := submit(tmp_path, exercise, exchanged(text, exchanges), seed)).score == marks.most, name
        for name, (exchanges, hint) in data.WRONG.items():
            marks = submit(tmp_path, exercise, exchanged(text, exchanges), seed)
            assert marks.score < marks.most and any(hint in mark.said for mark in marks.marks), (name, seed, marks)
    print(f"{exercise}: {len(data.RIGHT)} right and {len(data.WRONG)} wrong submissions, 20 seeds each")


@pytest.mark.torture
@pytest.mark.parametrize("exercise", courses.EXERCISES)
def test_no_hostile_submission_gets_a_point_anywhere(exercise, tmp_path):
    longest = 0
    for name, text in HOSTILE.items():
        start = time.monotonic()
        marks = submit(tmp_path, exercise, hostile(text, exercise))
        longest = max(longest, time.monotonic() - start)
        assert marks.score == 0 and longest < 15, (name, marks)
    print(f"{exercise}: {len(HOSTILE)} hostile submissions, no point, the slowest verdict after {longest:.1f} s")
