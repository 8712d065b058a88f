"""A planted bug of one's own: personal/pair.py with one line wrong, and the marks of the report.

Nothing that a student wrote is run: a report is words and a number, and the number can be had only
by who has run the corrected file.
"""

import difflib
import math
import re
from typing import NamedTuple

from dgsa_np.gradcheck import GradientError, compare_pair

from .course import HERE
from .mutations import KINDS, MUTATIONS, OTHER_WORDS, Mutation
from .names import checked, draw

PAIR = (HERE / "personal" / "pair.py").read_text(encoding="utf-8")
PLACES = re.findall(r"^    (\w+) = ", PAIR.split("def arguments")[0], re.MULTILINE)
ARGUMENTS = ("q_exc", "k_exc", "q_inh", "k_inh", "v", "z_gate")
TEMPERATURES = (0.6, 0.7, 0.8, 1.25, 1.4, 1.6)
POINTS = {"place": 4, "kind": 2, "wrong": 2, "number": 2}
TO_READ = ("line", "input", "why")  # not marked by machine
CLOSE = 1e-6  # so near to the right number must be what a student writes


# ------------------------------------------------------------------------------- a student's files


def mutation(course, student) -> Mutation:
    """The bug of a student."""
    return MUTATIONS[draw(course, student, "bug") % len(MUTATIONS)]


def right_file(course, student) -> str:
    """The pair with the student's numbers, and some lines in other words."""
    text = with_line(PAIR, "STUDENT", repr(student))
    text = with_line(text, "SEED", str(draw(course, student, "seed") % 10**6))
    text = with_line(text, "TEMPERATURE", str(TEMPERATURES[draw(course, student, "temperature") % len(TEMPERATURES)]))
    for place, words in OTHER_WORDS.items():
        if draw(course, student, place) % 2:
            text = with_line(text, place, words)
    return text


def bug_file(course, student) -> str:
    """The same with one line wrong."""
    bug = mutation(course, student)
    return with_line(right_file(course, student), bug.place, bug.wrong)


def with_line(text, place, right_side) -> str:
    """The text with another `place = ...`, also where the backward quotes it."""
    return re.sub(rf"^( *(?:# )?{place} = ).*$", lambda line: line[1] + right_side, text, flags=re.MULTILINE)


def line_of(text, place) -> str:
    """The first line `place = ...` of a text."""
    return re.search(rf"^ *({place} = .*)$", text, re.MULTILINE)[1]


def report_form(student) -> str:
    """What a student fills in."""
    kinds = "\n".join(f"  - `{kind}`: {meaning}" for kind, meaning in KINDS.items())
    form = (HERE / "personal" / "report.md").read_text(encoding="utf-8")
    return form.format(student=student, places=", ".join(f"`{place}`" for place in PLACES), kinds=kinds)


# ------------------------------------------------------------------------------- what is true of it


class Truth(NamedTuple):
    bug: Mutation
    before: str  # the wrong line
    after: str  # the right one
    wrong: set  # the arguments that check_pair calls wrong; or "stops"
    number_before: float
    number: float


def truth(course, student) -> Truth:
    """What a report should say. It runs the two files, which are ours."""
    bug, right, wrong = mutation(course, student), right_file(course, student), bug_file(course, student)
    numbers = [loaded(text)["number"]() for text in (wrong, right)]
    return Truth(bug, line_of(wrong, bug.place), line_of(right, bug.place), called_wrong(loaded(wrong)), *numbers)


def loaded(text) -> dict:
    """The names of a file of ours, once it is run."""
    names = {"__name__": "bug"}
    exec(compile(text, "bug.py", "exec"), names)
    return names


def called_wrong(file) -> set:
    """The arguments whose gradients check_pair calls wrong; {"stops"} where it does not compare."""
    pair = file["gated_head_forward"], file["gated_head_backward"]
    try:
        results = compare_pair(*pair, file["arguments"](), n_directions=2)  # as all of its elements do
    except GradientError:  # an argument was changed, or a second call gave something else
        return {"stops"}
    return {result.argument for result in results if not result.ok}


# ------------------------------------------------------------------------------------------- marks


class Mark(NamedTuple):
    field: str
    points: int
    got: int
    said: str  # what is wrong; "" where nothing is


def fields(report) -> dict:
    """{field: what stands behind its colon}, up to the next field or heading.

    A field that stands twice has a None: nobody can say which is meant.
    """
    known = "|".join(("student", *POINTS, *TO_READ))
    found = {}
    for name, value in re.findall(rf"^({known}):(.*?)(?=^(?:{known}):|^## |\Z)", report, re.MULTILINE | re.DOTALL):
        found[name] = None if name in found else value.strip().strip("`*").strip()
    return found


def student_of(report) -> str:
    """Whose report it says it is; raises ValueError if it does not."""
    name = fields(report).get("student")
    if not name:
        raise ValueError("the report has no line `student: NAME`, or two of them; say whose it is with --student")
    return checked(name)


def mark(report, right) -> list:
    """A Mark for each field that a program can judge."""
    given = fields(report)
    said = {field: said_of(field, given.get(field, ""), right) for field in POINTS}
    return [Mark(field, points, 0 if said[field] else points, said[field]) for field, points in POINTS.items()]


def said_of(field, value, right) -> str:
    """What is wrong with a field; "" where nothing is."""
    if value is None:
        return "stands twice, expected once"
    if not value:
        return "is empty, or the line is gone"
    judge = {"place": said_of_place, "kind": said_of_kind, "wrong": said_of_wrong, "number": said_of_number}[field]
    return judge(value, right)


def said_of_place(place, right) -> str:
    if place not in PLACES:
        return unknown(place, PLACES)
    return "" if place == right.bug.place else f"{place} is not the place: {right.bug.place} is"


def said_of_kind(kind, right) -> str:
    if kind.lower() not in KINDS:
        return unknown(kind, KINDS)
    accepted = {right.bug.kind, right.bug.also}
    return "" if kind.lower() in accepted else f"{kind.lower()} is not the kind: {right.bug.kind} is"


def said_of_wrong(names, right) -> str:
    given = set(re.findall(r"\w+", names.lower())) - {"and"}  # whatever stands between them
    words = (*ARGUMENTS, "none", "stops")
    if not given:
        return unknown(names, words)
    for name in sorted(given):
        if name not in words:
            return unknown(name, words)
    if len(given) > 1 and given & {"none", "stops"}:
        return "`none` and `stops` stand alone"
    return "" if given - {"none"} == right.wrong else f"check_pair says: {', '.join(sorted(right.wrong)) or 'none'}"


def said_of_number(number, right) -> str:
    try:
        given = float(number)
    except ValueError:
        return f"{number[:40]!r} is no number, expected one like 1.23456789"
    if not math.isfinite(given):
        return f"{number[:40]!r} is not finite"
    if near(given, right.number_before):
        return "that is the number of the file as it was given out: its bug is still there"
    return "" if near(given, right.number) else "is not the number of the corrected file"


def near(a, b) -> bool:
    return abs(a - b) <= CLOSE * max(1, abs(b))


def unknown(word, words) -> str:
    meant = difflib.get_close_matches(word, words, 1)
    return f"{word[:40]!r} is not known{f', is {meant[0]} meant?' if meant else ''}; expected one of {', '.join(words)}"


# ------------------------------------------------------------------------------------------ output


def as_text(report, right, title, marks, file="") -> str:
    """The marks, the truth, and for the teacher what no program can judge.

    file : bug.py as it was handed in; "" if it was not
    """
    given = fields(report)
    lines = [f"{title}: {sum(m.got for m in marks)} of {sum(POINTS.values())} points"]
    lines += [f"  {m.got}/{m.points}  {m.field}{': ' if m.said else ''}{m.said}" for m in marks]
    lines += [f"  it was    {right.before}", f"  right is  {right.after}"]
    for field in TO_READ:
        note = known(given[field], right) if field == "line" and given.get(field) else ""
        lines.append(f"  {field}: {printable(given.get(field) or '(nothing)')}{note}")
    handed_in = re.search(rf"^ *({right.bug.place} = .*)$", file, re.MULTILINE)
    if handed_in:
        lines.append(f"  in bug.py: {printable(handed_in[1])}{known(handed_in[1], right)}")
    return "\n".join(lines)


def known(line, right) -> str:
    """Is the corrected line one that we know to be right? Others may be right, too."""
    place, bare = right.bug.place, "".join(line.split())
    if not bare.startswith(f"{place}="):
        return "  (another line than the wrong one)"
    if bare == "".join(right.before.split()):
        return "  (as it was given out)"
    ours = right.after, line_of(PAIR, place), f"{place} = {OTHER_WORDS.get(place, right.after)}"
    right_ones = ["".join(words.split()) for words in ours]
    return "  (known to be right)" if bare in right_ones else "  (in other words than ours: look)"


def printable(text) -> str:
    """On one line, cut, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text[:1000].split()))
