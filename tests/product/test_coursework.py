"""The grader:
right submissions pass, typical mistakes are named, hostile ones get a verdict and no mark.
"""

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.tiers import most_later

HERE = Path(__file__).resolve().parent
EXERCISES = HERE.parents[1] / "notebooks" / "exercises"
sys.path.insert(0, str(EXERCISES))

from grade import main  # noqa: E402
from grading import answers, sandbox, student, submissions, wall  # noqa: E402
from grading import course as courses  # noqa: E402
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


ROOT = sys.platform == "linux" and os.geteuid() == 0
BUBBLEWRAP = sys.platform == "linux" and shutil.which("bwrap")
TRUST = [] if ROOT or BUBBLEWRAP else ["--trust"]  # what is not hostile can be graded anywhere


def submit(folder, exercise, text, seed=0, course=0):
    path = folder / f"{exercise}.py"
    path.write_text(text, encoding="utf-8")
    return grade(exercise, path, seed, course, trust=bool(TRUST))


def hostile(text, exercise):
    """For each function that is asked for, the hostile one."""
    functions = dict.fromkeys(n for item in courses.items(exercise).values() for n in item.call.split())
    first, *others = functions
    paths = {"ROOT": ".", "KEY": f"keys/{exercise}.py", "SOLUTION": f"solutions/{exercise}.py"}
    meant = {"NAME": first, "PIPE": "3"} | {word: repr(str(EXERCISES / path)) for word, path in paths.items()}
    for word in meant:
        text = text.replace(word, meant[word])
    return text + "".join(f"\n{other} = globals().get({first!r})" for other in others)


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


# ----------------------------------------------------------------------------------------- the wall

QUICK = ("exit", "equals everything", "the solution by FileIO and a path object")
WALLS = [
    pytest.param(wall.another_user, marks=pytest.mark.skipif(not ROOT, reason="only root can become another user")),
    pytest.param(wall.bubblewrap, marks=pytest.mark.skipif(not BUBBLEWRAP, reason="bubblewrap is not installed")),
]
behind_each_wall = pytest.mark.parametrize("build", WALLS, ids=lambda build: build.__name__)


def of_all_files():
    """What a submission could change here."""
    paths = [path for folder in ("keys", "solutions", "grading") for path in (EXERCISES / folder).glob("*.py")]
    return [(path, os.stat(path).st_mtime_ns, os.stat(path).st_mode) for path in sorted(paths)]


def running(mark):
    """Processes that were started with this in their environment, and what they have started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += [path] if mark.encode() in path.read_bytes() else []
        except OSError:  # it has ended, or is another's
            continue
    return found


@behind_each_wall
@pytest.mark.parametrize("name", most_later(HOSTILE, now=QUICK))
def test_a_hostile_submission_gets_a_verdict_and_no_mark(name, build, tmp_path, monkeypatch):
    monkeypatch.setattr(wall, "chosen", lambda trust: build())
    monkeypatch.setitem(sandbox.ENVIRONMENT, "MARK", str(tmp_path))
    monkeypatch.setattr(sandbox, "SECONDS", 5)  # many wait for the end of their time
    before, start = of_all_files(), time.monotonic()
    marks = submit(tmp_path, "ex01", hostile(HOSTILE[name], "ex01"))
    assert time.monotonic() - start < sandbox.SECONDS + 5
    assert marks.score == 0 and all(mark.said for mark in marks.marks) and "HOLE" not in marks.printed, marks
    assert of_all_files() == before and os.listdir(tmp_path) == ["ex01.py"] and not running(str(tmp_path))
    assert len(json.dumps(gradescope(marks))) < 10**5


@behind_each_wall
def test_a_right_submission_passes_behind_each_wall(build, tmp_path, monkeypatch):
    monkeypatch.setattr(wall, "chosen", lambda trust: build())
    late = "from __future__ import annotations\nimport statistics\nimport numpy.polynomial\n"
    assert submit(tmp_path, "ex01", late + courses.solution("ex01")).score == 10


def test_nothing_is_run_where_the_wall_has_a_hole(tmp_path, monkeypatch, capsys):
    if TRUST:
        pytest.skip("there is no wall here")
    monkeypatch.setattr(wall, "hidden", lambda: ["/"])
    (tmp_path / "ex01.py").write_text("print('HOLE')", encoding="utf-8")
    assert main(["ex01", str(tmp_path / "ex01.py"), "--json", str(tmp_path / "out.json")]) == 2
    told = capsys.readouterr()
    assert "the wall has a hole: / can be read" in told.err and "--trust" in told.err and not told.out
    assert not (tmp_path / "out.json").exists()


def test_without_a_wall_only_what_is_trusted_is_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(wall.sys, "platform", "win32")
    (tmp_path / "ex01.py").write_text(courses.solution("ex01"), encoding="utf-8")
    command = ["ex01", str(tmp_path / "ex01.py")]
    assert main(command) == 2 and "--trust" in capsys.readouterr().err
    assert main([*command, "--trust"]) == 0


def test_a_system_without_sockets_of_unix_has_a_pipe(tmp_path, monkeypatch):
    monkeypatch.delattr(sandbox.socket, "AF_UNIX", raising=False)
    marks = submit(tmp_path, "ex01", courses.solution("ex01"))
    assert marks.score == marks.most


def test_what_runs_behind_the_wall_needs_no_other_file_of_the_grader(tmp_path):
    (tmp_path / "grading").mkdir()
    for name in wall.INSIDE:
        shutil.copyfile(EXERCISES / "grading" / f"{name}.py", tmp_path / "grading" / f"{name}.py")
    command = [*wall.python()[:-2], str(tmp_path / "grading" / "child.py"), wall.python()[-1]]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert "EOFError" in done.stderr, done.stderr  # that far it came: the task is missing


@pytest.mark.slow
@pytest.mark.skipif(bool(TRUST), reason="there is no wall here")
def test_a_submission_dies_with_the_grader(tmp_path):
    path, mark = tmp_path / "ex01.py", str(tmp_path)
    path.write_text("import time\ntime.sleep(99)", encoding="utf-8")
    code = f"""import sys
sys.path.insert(0, {str(EXERCISES)!r})
from grading import marks, sandbox
sandbox.ENVIRONMENT["MARK"] = {mark!r}
marks.grade("ex01", {str(path)!r}, 0)"""
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"TMPDIR": mark}) as grader:
        wait_until(lambda: running(mark))
        time.sleep(2)  # until the submission itself runs
        grader.kill()
    wait_until(lambda: not running(mark))


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_comes_from_a_process_is_bounded_before_it_is_read():
    large = b'["item0", null, false, [["<f8", [1000000000000]]]]\n'
    assert "cannot be read" in answers.received(large + bytes(80))["item0"]["error"]
    assert len(answers.received(b'["item0", "said", true, []]\n' * 10**5)) == 1
    pipe = io.BytesIO()
    answers.send(pipe, "item0", (np.arange(3.0), np.float32(2)))
    answers.send(pipe, "item1", error="said")
    found = answers.received(pipe.getvalue())
    assert [a.tolist() for a in found["item0"]["answer"]] == [[0, 1, 2], 2] and found["item1"] == {"error": "said"}


# ------------------------------------------------------------------------------------------ marking


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


SOFTMAX = "def softmax(scores, mask=None):\n    "
MISTAKEN = [  # (what stands in ex01.py after two lines, what is said of it, and of where it is)
    (SOFTMAX + "return scores[0, 0]", "shape: returned (7, 4), expected", ""),
    (SOFTMAX + "return scores @ scores", "ValueError: matmul", "line 4: return scores @ scores"),
    (SOFTMAX + "return score", "name 'score' is not defined", "line 4: return score"),
    (SOFTMAX + "scores -= 1\n    return scores", "it writes into an argument", "line 4: scores -= 1"),
    (SOFTMAX + "np.exp(scores)", "is a return missing?", ""),
    (SOFTMAX + "return (scores", "SyntaxError: '(' was never closed (ex01.py, line 4)", ""),
    ("def sotfmax(scores): ...", "there is no function softmax", ""),
    ("import nowhere", "No module named 'nowhere'", "line 3: import nowhere"),
    ("def softmax(scores): return scores", "differs, most at index", ""),
    (SOFTMAX + "exit()", "SystemExit", "line 4: exit()"),
    (SOFTMAX + "while True: pass", "no answer after 3 seconds", "line 4: while True: pass"),
]


@pytest.mark.slow
def test_the_students_loop(tmp_path):
    """Stub, all kinds of mistakes, the solution; in a tree of its own, called from elsewhere."""
    student.write_tree(tmp_path / "student")
    seen = "".join(p.read_text(errors="replace") for p in (tmp_path / "student").rglob("*") if p.is_file())
    assert "BEGIN SOLUTION" not in seen and "course choice" not in seen

    conftest = tmp_path / "student" / "conftest.py"
    conftest.write_text(exchanged(conftest.read_text(encoding="utf-8"), [("SECONDS = 20", "SECONDS = 3")]))
    for path in sorted((tmp_path / "student" / "cases").glob("*.npz"))[1:]:
        path.unlink()  # to be quicker

    def loop(text, *options):
        """The lines about ex01 that are printed, the last with the count."""
        (tmp_path / "student" / "ex01.py").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", *options, "-m", "ex01", "-p", "no:cacheprovider", "student"]
        environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert not done.stderr, done.stderr
        return done.stdout.splitlines()[1:]

    *right, last = loop(courses.solution("ex01"))
    assert not right and last.startswith("7 passed")
    *empty, in_order, last = loop(courses.stub("ex01"))
    assert len(empty) == 6 and in_order.endswith("comes when every item gives an answer")
    assert all(line.startswith("ex01: ") and line.endswith(": NotImplementedError: ex01: softmax") for line in empty)
    assert last.startswith("6 failed, 1 skipped")
    mask_ignored = exchanged(courses.solution("ex01"), DATA["ex01"].WRONG["mask ignored"][0])
    assert "ex01: a mask: the mask is not used" in loop(mask_ignored)
    told = "\n".join(loop(mask_ignored, "-vv"))
    assert all(part in told for part in ("the mask is not used", "differs, most at index", "expected", "case: "))
    for body, said, where in MISTAKEN:
        first, *more, stopped, _ = lines = loop(f"import numpy as np\n\n{body}\n", "-x")
        assert "stopping after 1" in stopped
        assert first.startswith("ex01: a softmax over the last axis: ") and said in first, lines
        assert more == ([f"    ex01.py, {where}"] if where else []), lines
    with pytest.raises(FileExistsError):
        student.write_tree(tmp_path / "student")


@pytest.mark.slow
def test_exercise_13_trains_two_mechanisms_with_each_seed_and_judges(capsys, monkeypatch):
    from dgsa_np import train

    space = {"__name__": "ex13"}
    exec(exchanged(courses.solution("ex13"), [("rng.integers(len(rules), size=n)", "drew(rules, rng, n)")]), space)
    space["drew"] = lambda rules, rng, n: drawn.append(rules) or rng.integers(len(rules), size=n)
    drawn = []
    first, second = space["compare"](1.0, seeds=[3, 4], steps=300)
    assert (first > 2 * 100 / 7).all() and (second > 2 * 100 / 7).all()  # twice what chance gives
    *runs, told = capsys.readouterr().out.splitlines()
    assert len(runs) == 4 and runs[0].startswith("seed 3  dgsa    accuracy") and "sign flips p = " in told
    rules = [set(map(tuple, some.tolist())) for some in drawn]
    pairs = list(zip(rules[::2], rules[1::2], strict=True))
    assert all(not trained & tested and len(trained | tested) == 42 for trained, tested in pairs)
    assert rules[0] == rules[2] != rules[4]  # both mechanisms have those of the seed

    def fails(*arguments, **options):
        raise train.NonFiniteError

    monkeypatch.setattr(train, "train", fails)
    assert np.isnan(space["trained"]("dgsa", 0))


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


def run_grader(*arguments, **environment):
    command = [sys.executable, str(EXERCISES / "grade.py"), *map(str, arguments), *TRUST]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


def test_the_command_says_how_it_went_by_its_exit_status(tmp_path, capsys):
    right, wrong, out = tmp_path / "right.py", tmp_path / "wrong.py", tmp_path / "results.json"
    right.write_text(courses.solution("ex01"), encoding="utf-8")
    wrong.write_text(courses.stub("ex01"), encoding="utf-8")
    assert run_grader("ex01", right, "--json", out).returncode == 0
    assert json.loads(out.read_text())["score"] == 10
    assert main(["ex01", str(wrong), *TRUST]) == 1
    told = capsys.readouterr().out
    assert "--seed" in told and "NotImplementedError: ex01: softmax" in told
    assert main(["ex01", str(tmp_path / "nowhere.py")]) == 2
    assert "nowhere.py: there is no such file" in capsys.readouterr().err
    assert main(["--all", str(tmp_path / "nowhere")]) == main(["--all", str(tmp_path)]) == 2
    for usage in (["ex99", str(right)], []):
        with pytest.raises(SystemExit, match="2"):
            main(usage)


def odd_files(right):
    """{student: (what makes the path of ex01.py, what is said of it)}; of a right one nothing."""
    future = b"from __future__ import annotations\nfrom dataclasses import dataclass\n"
    contents = {
        "byte-order mark": (b"\xef\xbb\xbf" + right, ""),
        "cookie": (b"# coding: latin-1\n# Andr\xe9\n" + right, ""),
        "dataclass": (future + right + b"\n\n@dataclass\nclass Cache:\n    A: object\n", ""),
        "bytes": (bytes(range(256)), "cannot be run: "),
        "unknown cookie": (b"# coding: nonsense\n", "unknown encoding"),
        "long": (b"#" * 2**21, "more than 1048576 bytes"),
        "notebook": (b'{"cells": []}', "it is a notebook"),
        "surrogates": (b"def softmax(*args):\n    raise ValueError('\\udcff\\u2260')", r"\udcff\u2260"),
    }
    made = {name: (partial(Path.write_bytes, data=data), said) for name, (data, said) in contents.items()}
    return made | {
        "folder": (Path.mkdir, "is a folder"),
        "link": (lambda path: path.symlink_to(EXERCISES / "solutions" / "ex01.py"), "is a link"),
        "link to nothing": (lambda path: path.symlink_to("nowhere"), "is a link"),
        "pipe": (os.mkfifo, "is a pipe"),
        "second download": (lambda path: path.with_name("ex01 (1).py").write_bytes(right), ""),
        "downloads": (lambda path: [path.with_name(f"ex01 ({i}).py").touch() for i in (1, 2)], "which one is meant?"),
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_one_student_is_one_student(tmp_path):
    """Whatever a file is, the class is graded, on a console that lacks most characters too."""
    made = odd_files(courses.solution("ex01").encode())
    for name, (make, _) in made.items():
        (tmp_path / "class" / name).mkdir(parents=True)
        make(tmp_path / "class" / name / "ex01.py")
    (tmp_path / "class" / "empty").mkdir()
    (tmp_path / "class" / "gone").symlink_to("nowhere")
    (tmp_path / "class" / "linked").symlink_to(tmp_path / "class" / "second download")
    (tmp_path / "class" / "notes.txt").touch()
    done = run_grader("--all", tmp_path / "class", "--csv", tmp_path / "marks.csv", PYTHONIOENCODING="cp1252")
    assert done.returncode == 1 and not done.stderr
    rows = [line.split(",") for line in (tmp_path / "marks.csv").read_text().splitlines()]
    assert {student: points for student, points, _ in rows[1:]} == {
        name: "0" if said else "10" for name, (_, said) in made.items()
    } | {"empty": "", "gone": "", "linked": ""}
    told = dict(part.split(" ex01: ", 1) for part in done.stdout.split("\n\n") if " ex01: " in part)
    assert all(said in told[name] for name, (_, said) in made.items())


def test_a_file_in_a_closed_folder_is_one_that_cannot_be_read(monkeypatch):
    def closed(*args, **options):
        raise PermissionError(13, "Permission denied")

    for name in ("stat", "lstat", "open"):
        monkeypatch.setattr(os, name, closed)
    with pytest.raises(ValueError, match=r"ex01\.py cannot be read: Permission denied"):
        submissions.read("closed/ex01.py")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_no_file_gets_a_json_with_the_reason(tmp_path):
    os.mkfifo(tmp_path / "ex01.py")
    assert main(["ex01", str(tmp_path / "ex01.py"), "--json", str(tmp_path / "out.json")]) == 1
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["score"] == 0 and all("is a pipe" in test["output"] for test in content["tests"])


def test_a_class_is_a_table(tmp_path, capsys):
    for name, text in {"ann": courses.solution("ex01"), "bob": courses.stub("ex01")}.items():
        (tmp_path / "class" / name).mkdir(parents=True)
        (tmp_path / "class" / name / "ex01.py").write_text(text, encoding="utf-8")
    (tmp_path / "class" / "ann" / "ex01 (1).py").touch()
    assert main(["--all", str(tmp_path / "class"), "--csv", str(tmp_path / "marks.csv"), "--seed", "4", *TRUST]) == 1
    assert (tmp_path / "marks.csv").read_text().splitlines() == ["student,ex01 (of 10),sum", "ann,10,10", "bob,0,0"]
    assert "not graded: ex01 (1).py" in capsys.readouterr().out


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
