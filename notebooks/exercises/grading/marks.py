"""A submission's marks, and the files that teachers' systems read."""

import csv
import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import course as courses
from . import sandbox, submissions
from .items import known_mistakes
from .judge import case, judge

SAID = 2000  # characters of a message at most


class Mark(NamedTuple):
    item: str
    points: int
    got: int
    said: str  # what is wrong; "" where nothing is


class Marks(NamedTuple):
    exercise: str
    file: str
    seed: int
    course: int
    marks: list
    printed: str
    seconds: float

    @property
    def score(self):
        return sum(mark.got for mark in self.marks)

    @property
    def most(self):
        return sum(mark.points for mark in self.marks)


def grade(exercise, submission, seed, course=0, trust=False) -> Marks:
    """Every item of an exercise, on arguments that the seed draws.

    submission : a path; what cannot be read gets no point and the reason
    trust      : run it without a wall; else NoWall is raised where there is none
    """
    try:
        source = submissions.read(submission)
    except ValueError as error:
        return refused(exercise, submission, seed, course, str(error))
    start, items = time.monotonic(), courses.items(exercise, course)
    arguments = {name: courses.arguments(item, seed) for name, item in items.items()}
    answers, printed = answers_of(source, items, arguments, start + sandbox.SECONDS, trust)
    marks = [mark(items[name], arguments[name], answers[name]) for name in items]
    return Marks(exercise, str(submission), seed, course, marks, printed, round(time.monotonic() - start, 2))


def refused(exercise, submission, seed, course, reason) -> Marks:
    """No point, and why."""
    marks = [Mark(item.name, item.points, 0, shown(reason)) for item in courses.items(exercise, course).values()]
    return Marks(exercise, str(submission), seed, course, marks, "", 0.0)


def answers_of(source, items, arguments, until, trust):
    """{item: what it answered}, and what the file printed.

    An item that ends the process is failed; those after it get a process of their own, while time
    is left. A file that ends it by itself is not run again.
    """
    answers, printed = {}, ""
    while left := {name: item for name, item in items.items() if name not in answers}:
        seconds = until - time.monotonic()
        if seconds < 0.5:
            late = "not reached: the time of the whole file was over"
            return answers | {name: {"error": late} for name in left}, printed
        ran = sandbox.run(source, left, arguments, seconds, trust)
        printed = ran.printed or printed
        answers |= ran.answers
        unanswered = [name for name in left if name not in answers]
        answers |= {name: {"error": ran.ended} for name in (unanswered[:1] if ran.loaded else unanswered)}
    return answers, printed


def mark(item, args, answer) -> Mark:
    """One item: all of its points, or none and what is wrong."""
    if "error" in answer:
        said = answer["error"] or "an error without a text"
    else:
        said = verdict(item, args, answer["answer"])
    return Mark(item.name, item.points, 0 if said else item.points, shown(said or ""))


def verdict(item, args, answer) -> str | None:
    if isinstance(answer, tuple) and not answer:
        return "returned no result"
    right, mistakes = (None, ()) if item.check else (item.expected(*args), known_mistakes(item, args))
    try:
        with np.errstate(all="ignore"):
            told = item.check(answer, args) if item.check else judge(answer, right, mistakes, item.tolerance)
    except Exception as error:  # whatever the numbers of an attacker may raise
        return f"the answer does not have the form that was asked for: {error or type(error).__name__}"
    return told and (told if item.check else f"{told}\ncase: {case(args)}")


# ------------------------------------------------------------------------------------------- output


def gradescope(marks) -> dict:
    """results.json of Gradescope's autograder."""
    tests = [
        {"name": m.item, "score": m.got, "max_score": m.points, "output": m.said,
         "status": "passed" if m.got == m.points else "failed"}
        for m in marks.marks
    ]  # fmt: skip
    said = f"{marks.exercise}, seed {marks.seed}, course {marks.course}: a dispute can be replayed with them"
    return {"score": marks.score, "output": said, "execution_time": marks.seconds, "tests": tests}


def as_text(marks) -> str:
    """What a student reads."""
    name = Path(marks.file).name
    of = "" if name == f"{marks.exercise}.py" else f", {shown(name, lines=False)}"
    score = f"{marks.exercise}: {marks.score} of {marks.most} points"
    lines = [f"{score} (--seed {marks.seed} --course {marks.course}){of}"]
    for m in marks.marks:
        lines.append(f"  {m.got}/{m.points}  {m.item}")
        lines += [f"        {line}" for line in m.said.splitlines()]
    if marks.printed.strip() and marks.score < marks.most:
        printed = shown(marks.printed.strip()[-500:])
        lines += ["  the file printed:", *(f"        {line}" for line in printed.splitlines())]
    return "\n".join(lines)


def shown(text, lines=True) -> str:
    """A student's text, cut; what a terminal would obey, or a file cannot hold, is spelled out."""
    text = text if len(text) <= SAID else f"{text[:SAID]} ..."
    return "".join(c if c.isprintable() or (lines and c == "\n") else ascii(c)[1:-1] for c in text)


def write_json(path, content):
    Path(path).write_text(json.dumps(content, indent=1), encoding="utf-8")


def write_csv(path, rows):
    """What students chose, names among it, stays text: a spreadsheet takes =1+1 for a formula."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([list(map(no_formula, row)) for row in rows])


def no_formula(cell):
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell
