"""A planted bug for every student: each is really wrong, reports are marked as they deserve;
sheets of predictions, and the bank of oral questions.
"""

import csv
import functools
import os
import random
import re
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from support.tiers import most_later

EXERCISES = Path(__file__).resolve().parents[2] / "notebooks" / "exercises"
sys.path.insert(0, str(EXERCISES))

from build import main  # noqa: E402
from grading import bugs, names, predictions  # noqa: E402
from grading.mutations import KINDS, MUTATIONS, OTHER_WORDS  # noqa: E402

sys.path.remove(str(EXERCISES))

NAMES = ["Ada Lovelace", "Grace Hopper", "Émilie du Châtelet", "Ὑπατία", "李清照", "O'Neil", 'J. R. "Bob" {x}',
         "a\\1b", "Sofja Kowalewskaja", "Emmy Noether"]  # fmt: skip
CLASS = [f"{first} {last}" for first in ("Ann", "Bo", "Cy", "Di", "Ed", "Flo") for last in "ABCDEFGHIJ"]
SILENT = ("where(mask, -np.inf, S)", "softmax(S_inh)", *(m.wrong for m in MUTATIONS if m.place == "scale"))
truth = functools.cache(bugs.truth)
ids = [f"{m.place}: {m.kind}" for m in MUTATIONS]


def planted(mutation, text=bugs.PAIR):
    return bugs.with_line(text, mutation.place, mutation.wrong)


def in_other_words():
    text = bugs.PAIR
    for place, words in OTHER_WORDS.items():
        text = bugs.with_line(text, place, words)
    return text


def number(text):
    return bugs.loaded(text)["number"]()


# --------------------------------------------------------------------------------- the mutations


def test_the_pair_is_right_also_in_other_words():
    for text in (bugs.PAIR, in_other_words()):
        assert bugs.called_wrong(bugs.loaded(text)) == set()
        assert abs(number(text) - number(bugs.PAIR)) < 1e-12
    assert len(MUTATIONS) > 30 and {m.kind for m in MUTATIONS} == {*KINDS}
    assert {m.place for m in MUTATIONS} < {*bugs.PLACES} and len({*bugs.PLACES}) == len(bugs.PLACES)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=ids)
def test_a_mutation_changes_one_line_and_what_quotes_it(mutation):
    for text in (bugs.PAIR, in_other_words()):
        old, new = text.splitlines(), planted(mutation, text).splitlines()
        changed = [(a.strip(" #"), b.strip(" #"), a) for a, b in zip(old, new, strict=True) if a != b]
        assert len({pair[:2] for pair in changed}) == 1
        assert sum(not line.lstrip().startswith("#") for _, _, line in changed) == 1


@pytest.mark.parametrize("mutation", most_later(MUTATIONS, now=MUTATIONS[::6]), ids=ids)
def test_a_mutation_is_wrong_and_check_pair_sees_it_but_for_a_few(mutation):
    for text in (planted(mutation), planted(mutation, in_other_words())):
        assert abs(number(text) - number(bugs.PAIR)) > 1e-4
    seen = bugs.called_wrong(bugs.loaded(text))
    assert bool(seen) != mutation.wrong.endswith(SILENT), seen


def test_where_check_pair_is_silent_the_formula_speaks():
    """A forbidden key has a weight, or the maps are others than those of the formula."""
    right = bugs.loaded(bugs.PAIR)
    *args, mask = right["arguments"]()
    o, cache = right["gated_head_forward"](*args, mask)
    assert all((A[~(mask | (A < -1))] == 0).all() for A in cache[6:8])
    for mutation in MUTATIONS:
        if mutation.wrong.endswith(SILENT):
            o_wrong, cache_wrong = bugs.loaded(planted(mutation))["gated_head_forward"](*args, mask)
            seen_though_forbidden = any((A[~(mask | (A < -1))] != 0).any() for A in cache_wrong[6:8])
            assert abs(o_wrong - o).max() > 0.01 and seen_though_forbidden == (mutation.kind == "mask")


def test_all_mutations_differ():
    numbers = sorted(number(planted(mutation)) for mutation in MUTATIONS)
    assert min(b - a for a, b in pairwise(numbers)) > 1e-6


# --------------------------------------------------------------------------------- who gets which


def test_a_class_of_sixty_gets_bugs_of_many_kinds():
    drawn = [bugs.mutation(7, name) for name in CLASS]
    assert len({*drawn}) > 25 and max(drawn.count(m) for m in drawn) <= 6
    assert sum(a == b for a, b in pairwise(drawn)) <= 4
    assert len({m.kind for m in drawn}) == len(KINDS)
    texts = [bugs.bug_file(7, name) for name in CLASS]
    lines = [{*text.splitlines()} for text in texts]
    assert min(len(a - b) for a, b in pairwise(lines)) > 4  # a look at another's tells little


def test_the_same_name_gets_the_same_bug_and_another_one_in_another_course():
    for name in NAMES:
        assert bugs.mutation(7, name) == bugs.mutation(7, f"  {name.title()} ")
        assert bugs.bug_file(7, name) == bugs.bug_file(7, name) != bugs.bug_file(8, name)
    assert sum(bugs.mutation(7, name) != bugs.mutation(8, name) for name in CLASS) > 50


# --------------------------------------------------------------------------------------- reports


def filled(student, course=7, **fields):
    """The right report, but for the fields that are given; None takes the line away."""
    right = truth(course, student)
    said = {"place": right.bug.place, "kind": right.bug.kind, "wrong": ", ".join(right.wrong) or "none",
            "number": f"{right.number:.12g}", "line": right.after, "why": "Because.\nAnd so."} | fields  # fmt: skip
    form = bugs.report_form(student)
    for field, text in said.items():
        form = form.replace(f"\n{field}:", "" if text is None else f"\n{field}: {text}", 1)
    return form


def points(report, student, course=7):
    return {m.field: m.got for m in bugs.mark(report, truth(course, student))}


def said(report, student, course=7):
    return {m.field: m.said for m in bugs.mark(report, truth(course, student)) if m.said}


FULL = {"place": 4, "kind": 2, "wrong": 2, "number": 2}


@pytest.mark.parametrize("student", NAMES)
def test_ten_bugs_solved_and_mis_solved(student):
    right = truth(7, student)
    assert points(filled(student), student) == FULL
    other_place = next(place for place in bugs.PLACES if place != right.bug.place)
    other_kind = next(kind for kind in KINDS if kind not in (right.bug.kind, right.bug.also))
    other_wrong = "v, z_gate" if right.wrong != {"v", "z_gate"} else "none"
    wrong = {"place": other_place, "kind": other_kind, "wrong": other_wrong, "number": f"{right.number_before:.12g}"}
    for field, text in wrong.items():
        assert points(filled(student, **{field: text}), student) == FULL | {field: 0}
        assert list(said(filled(student, **{field: text}), student)) == [field]
    assert points(filled(student, **wrong), student) == dict.fromkeys(FULL, 0)
    assert "as it was given out" in said(filled(student, **wrong), student)["number"]
    assert points(filled(student, course=8), student) != FULL


@pytest.mark.parametrize(("field", "text", "message"), [
    ("place", "dAinh", "is dA_inh meant?"),
    ("place", "dA_inh, dA_exc", "'dA_inh, dA_exc' is not known"),
    ("place", "", "is empty"),
    ("place", None, "is empty, or the line is gone"),
    ("place", "dA\nplace: dv", "stands twice"),
    ("kind", "sing", "is sign meant?"),
    ("kind", "everything", "expected one of sign, factor"),
    ("wrong", "q_exk", "is q_exc meant?"),
    ("wrong", "none, v", "stand alone"),
    ("wrong", "-", "'-' is not known"),
    ("number", "1,5", "is no number"),
    ("number", "x" * 9999, "is no number"),
    ("number", "nan", "is not finite"),
    ("number", "1e999", "is not finite"),
    ("number", "12345", "is not the number"),
])  # fmt: skip
def test_a_report_that_cannot_be_right_is_told_why(field, text, message):
    told = said(filled("Ada Lovelace", **{field: text}), "Ada Lovelace")
    assert list(told) == [field] and message in told[field] and len(told[field]) < 400


def test_words_may_be_dressed_as_code_and_capitals_do_not_matter():
    right = truth(7, "Ada Lovelace").bug
    dressed = filled("Ada Lovelace", place=f"`{right.place}`", kind=f"**{right.kind.title()}**")
    assert points(dressed, "Ada Lovelace") == FULL


@pytest.mark.parametrize("spelled", ["{} and {}", "`{}`, `{}`", "{}/{}.", "{}\n{}"])
def test_what_stands_between_names_does_not_matter(spelled):
    student = next(name for name in CLASS if truth(7, name).wrong == {"q_inh", "k_inh"})
    for pair in (("q_inh", "k_inh"), ("K_INH", "q_inh")):
        assert points(filled(student, wrong=spelled.format(*pair)), student) == FULL


def test_a_file_that_was_corrected_and_not_reported_is_shown_to_the_teacher(tmp_path, capsys):
    one = ["--student", "Ada Lovelace", "--course", "7", str(tmp_path / "bug")]
    assert main(["bug", *one]) == 0
    right, path = truth(7, "Ada Lovelace"), tmp_path / "bug" / "bug.py"
    for line, note in {
        right.before: "as it was given out",
        right.after: "known to be right",
        f"{right.bug.place} = 0": "in other words than ours: look",
        "pass": None,  # the line is gone
    }.items():
        path.write_text(bugs.bug_file(7, "Ada Lovelace").replace(right.before, line), encoding="utf-8")
        assert main(["mark-bug", *one]) == 1
        shown = re.findall(r"  in bug.py: (.*)  \((.*)\)", capsys.readouterr().out)
        assert shown == ([(line, note)] if note else [])


def test_a_second_word_counts_where_it_describes_the_bug_as_well():
    lost = next(m for m in MUTATIONS if m.also == "factor")
    right = truth(7, "Ada Lovelace")._replace(bug=lost)
    assert [bugs.said_of_kind(kind, right) for kind in (lost.kind, "factor", "Factor")] == ["", "", ""]
    assert "is not the kind" in bugs.said_of_kind("sign", right)


def test_noise_never_ends_in_a_traceback():
    rng, form = random.Random(0), filled("Ada Lovelace")
    right = truth(7, "Ada Lovelace")
    for _ in range(300):
        letters = list(form)
        for _ in range(rng.randrange(1, 40)):
            letters[rng.randrange(len(letters))] = rng.choice(":\n#*`,e9-ß\ud800\x1b ")
        marks = bugs.mark("".join(letters), right)
        assert all(m.got in (0, m.points) for m in marks)
        assert bugs.as_text("".join(letters), right, "Ada", marks).replace("\n", "").isprintable()


# -------------------------------------------------------------------------------------- commands


def test_a_class_is_written_filled_in_and_marked(tmp_path, capsys):
    (tmp_path / "names.txt").write_text("\n".join(NAMES[:4]) + "\n\n", encoding="utf-8-sig")
    folder, table = tmp_path / "bugs", tmp_path / "marks.csv"
    assert main(["bug", "--class", str(tmp_path / "names.txt"), "--course", "7", str(folder)]) == 0
    assert len([*folder.glob("*/bug.py")]) == len([*folder.glob("*/README.md")]) == 4
    for place, name in names.folders(NAMES[:4]).items():
        (folder / place / "REPORT.md").write_text(filled(name), encoding="utf-8")
    assert main(["mark-bug", "--course", "7", str(folder), "--csv", str(table)]) == 0
    assert capsys.readouterr().out.count("10 of 10 points") == 4

    ada, grace, emilie = (folder / place / "REPORT.md" for place in [*names.folders(NAMES[:4])][:3])
    other = f"{truth(7, 'Ada Lovelace').bug.place} = 1"
    ada.write_text(filled("Ada Lovelace", kind="axis", line=other), encoding="utf-8")
    (folder / "Grace_Hopper" / "bug.py").unlink()
    grace.write_bytes(b"\xff\xfe\x00 nothing")
    emilie.write_text(filled("Ada Lovelace", line="x = 1"), encoding="utf-8")
    assert main(["mark-bug", "--course", "7", str(folder), "--csv", str(table)]) == 1
    out = capsys.readouterr().out
    assert "8 of 10 points" in out and "in other words than ours" in out and "Because. And so." in out
    assert "x = 1  (another line than the wrong one)" in out
    assert "no line `student: NAME`" in out and "2 reports say that they are of Ada Lovelace" in out
    rows = [*csv.reader(table.read_text(encoding="utf-8").splitlines())]
    assert len(rows) == 5 and sorted(row[-1] for row in rows[1:]) == sorted(["0", "10", "10", "8"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_one_report_is_one_report(tmp_path, capsys):
    """Whatever lies there, every student has a line and a row."""
    folder, table = tmp_path / "bugs", tmp_path / "marks.csv"
    of_ada, of_eve = filled("Ada Lovelace"), filled("=1+1 Eve")
    reports = {"ada": of_ada, "copied": of_ada.replace("Ada Lovelace", "ADA  lovelace"), "eve": of_eve,
               "waits": of_ada, "pipe": None, "nothing": None, "a\x1b[2J": of_ada, "-2+3": of_ada}  # fmt: skip
    with suppress(OSError):  # a file system may not take such a name
        (folder / "M\udcfcller").mkdir(parents=True)
        reports["M\udcfcller"] = of_ada
    for name, text in reports.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        if text:
            (folder / name / "REPORT.md").write_text(text, encoding="utf-8")
    os.mkfifo(folder / "pipe" / "REPORT.md")
    os.mkfifo(folder / "waits" / "bug.py")
    (folder / "linked").symlink_to(folder / "ada")
    assert main(["mark-bug", "--course", "7", str(folder), "--csv", str(table)]) == 1
    out = capsys.readouterr().out
    assert f"{len(reports) - 3} reports say that they are of" in out and "\x1b" not in out
    for said in ("REPORT.md is a pipe", "linked is a link", "REPORT.md cannot be read"):
        assert said in out
    rows = {row[0]: row[1:] for row in csv.reader(table.read_text(encoding="utf-8").splitlines())}
    assert len(rows) == len(reports) + 2 and {rows[name][-1] for name in ("pipe", "nothing", "linked")} == {"0"}
    assert rows["eve"][0] == "'=1+1 Eve" and rows["'-2+3"][-1] == "10" and rows["a\\x1b[2J"][-1] == "10"


def test_the_bug_of_one_student(tmp_path, capsys):
    one = ["--student", "Ada Lovelace", "--course", "7", str(tmp_path / "bug")]
    assert main(["bug", *one]) == 0 and main(["bug", *one]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert (tmp_path / "bug" / "bug.py").read_text(encoding="utf-8") == bugs.bug_file(7, "Ada Lovelace")
    assert main(["mark-bug", *one]) == 1 and "0 of 10" in capsys.readouterr().out


@pytest.mark.parametrize(("argv", "message"), [
    (["bug", "{}/new"], "expected --student NAME or --class FILE"),
    (["bug", "--student", " ", "{}/new"], "is no name"),
    (["bug", "--student", "a\x1bb", "{}/new"], "is no name"),
    (["bug", "--class", "{}/twice", "{}/new"], "stands twice"),
    (["bug", "--class", "{}/alike", "{}/new"], "needs the folder"),
    (["bug", "--class", "{}/empty", "{}/new"], "is empty"),
    (["bug", "--class", "{}/gone", "{}/new"], "No such file"),
    (["mark-bug", "{}/gone"], "there is no REPORT.md"),
])  # fmt: skip
def test_wrong_calls_are_told_why(tmp_path, capsys, argv, message):
    for name, text in {"twice": "Ada\nada \n", "alike": "Jo.\nJo!\n", "empty": "\n"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert main([word.format(tmp_path) for word in argv]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "new").exists()


# ------------------------------------------------------------------------------------ predictions


def on_paper(a, b, c):
    """The twelve answers, by formula."""
    return [
        b / (1 + a + b), a / (a + b), a * b / (1 + a) ** 2, 3 * a**2 + 1, 3 * a**2 - 1, b / (a + b - 1),
        (a - 1) / (a + 1), a * (b + c) / (1 + a) ** 2, b, 1 / (a + b) - 1, b / 3**0.5, a / (a + b),
    ]  # fmt: skip


def test_the_answers_of_a_sheet_are_those_on_paper():
    for name in NAMES:
        sheet = predictions.sheet(7, name)
        assert f"Student: {name}\n" in sheet and len(re.findall(r"^\*\*\d+\.\*\*", sheet, re.MULTILINE)) == 12
        answers = predictions.answers(sheet)
        assert answers == pytest.approx(on_paper(*predictions.constants(7, name)), rel=1e-9)
    assert len({predictions.constants(7, name) for name in CLASS}) > 40
    assert predictions.constants(7, "Ada") != predictions.constants(8, "Ada")


def test_sheets_are_written_and_the_teacher_gets_the_answers(tmp_path, capsys):
    (tmp_path / "names.txt").write_text("Ada Lovelace\nGrace Hopper\n", encoding="utf-8")
    known = ["--class", str(tmp_path / "names.txt"), "--course", "7"]
    assert main(["predict", *known, str(tmp_path / "sheets")]) == 0
    sheet = (tmp_path / "sheets" / "Ada_Lovelace" / "predict.md").read_text(encoding="utf-8")
    assert sheet == predictions.sheet(7, "Ada Lovelace")
    capsys.readouterr()
    assert main(["answers", *known]) == 0
    first = capsys.readouterr().out.splitlines()[0].split(", ")
    assert first == ["Ada Lovelace", *(f"{value:.4g}" for value in predictions.answers(sheet))]


# ----------------------------------------------------------------------------------- oral questions


def test_forty_questions_along_six_weeks_each_with_a_short_answer():
    bank = (EXERCISES.parents[1] / "docs" / "oral_questions.md").read_text(encoding="utf-8")
    asked = re.findall(r"^\*\*(\d+)\. (.+?)\*\*\s(.+?)(?=\n\n|\Z)", bank, re.MULTILINE | re.DOTALL)
    assert [int(n) for n, _, _ in asked] == [*range(1, 41)]
    assert all(100 < len(answer) < 450 for _, _, answer in asked)
    assert re.findall(r"^## Week (\d): ", bank, re.MULTILINE) == list("123456")
