"""A submission's marks, and the files that teachers' systems read."""

import csv
import json
import time
from pathlib import Path
from typing import NamedTuple

from . import course as courses
from . import sandbox
from .items import known_mistakes
from .judge import case, judge


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


def grade(exercise, submission, seed, course=0) -> Marks:
    """Every item of an exercise, on arguments that the seed draws.

    An item that ends the process is failed; those after it get a process of their own, while time
    is left.
    """
    start, items = time.monotonic(), courses.items(exercise, course)
    arguments = {name: courses.arguments(item, seed) for name, item in items.items()}
    answers, left, printed = {}, dict(items), ""
    while left:
        time_left = sandbox.SECONDS - (time.monotonic() - start)
        if time_left < 0.5:
            answers |= {name: {"error": "not reached: the time of the whole file was over"} for name in left}
            break
        ran = sandbox.run(submission, left, arguments, time_left)
        printed = ran.printed or printed
        for name in list(left):
            found = ran.answers[name]
            answers[name] = found if found is not None else {"error": ran.ended}
            del left[name]
            if found is None:
                break
    marks = [mark(items[name], arguments[name], answers[name]) for name in items]
    return Marks(exercise, str(submission), seed, course, marks, printed, round(time.monotonic() - start, 2))


def mark(item, args, answer) -> Mark:
    """One item: all of its points, or none and what is wrong."""
    said = answer["error"] if "error" in answer else verdict(item, args, answer["answer"])
    return Mark(item.name, item.points, 0 if said else item.points, said or "")


def verdict(item, args, answer) -> str | None:
    if item.check:
        try:
            return item.check(answer, args)
        except (ValueError, IndexError, TypeError, AttributeError) as error:  # of an answer of another form
            return f"the answer does not have the form that was asked for: {error}"
    told = judge(answer, item.expected(*args), known_mistakes(item, args), item.tolerance)
    return told and f"{told}\ncase: {case(args)}"


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
    lines = [f"{marks.exercise}: {marks.score} of {marks.most} points (--seed {marks.seed} --course {marks.course})"]
    for m in marks.marks:
        lines.append(f"  {m.got}/{m.points}  {m.item}")
        lines += [f"        {line}" for line in m.said.splitlines()]
    if marks.printed.strip() and marks.score < marks.most:
        lines.append(f"the file printed:\n{marks.printed.strip()[-500:]}")
    return "\n".join(lines)


def write_json(path, content):
    Path(path).write_text(json.dumps(content, indent=1), encoding="utf-8")


def write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
