"""What every student gets another version of: the commands bug, mark-bug, predict and answers."""

import os
import sys
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from . import bugs, names, predictions, submissions
from .course import HERE
from .marks import shown, write_csv

REPORT = "REPORT.md"
MOST = 2**16  # bytes of a report


def bug(args) -> int:
    """bug.py, how to find what is wrong with it, and the report to fill in."""
    how = (HERE / "personal" / "bug.md").read_text(encoding="utf-8")
    return write(args, lambda student: {
        "bug.py": bugs.bug_file(args.course, student),
        "README.md": how,
        REPORT: bugs.report_form(student),
    })  # fmt: skip


def predict(args) -> int:
    """A sheet of predictions."""
    return write(args, lambda student: {"predict.md": predictions.sheet(args.course, student)})


def answers(args) -> int:
    """What the cells of the sheets give, for the teacher: a row per student."""
    for student in students(args):
        values = predictions.answers(predictions.sheet(args.course, student))
        print(student, *(f"{value:.4g}" for value in values), sep=", ")
    return 0


def mark_bug(args) -> int:
    """Marks of one report, FOLDER/REPORT.md, or of a class, FOLDER/STUDENT/REPORT.md."""
    folder = args.folder or Path("bug")
    alone = os.path.lexists(folder / REPORT)
    places = [folder] if alone else submissions.students(folder).values() if folder.is_dir() else []
    reports = [place / REPORT for place in places]
    if not any(map(os.path.lexists, reports)):
        raise ValueError(f"{folder}: there is no {REPORT} in it, nor in a folder of it")
    if args.student and not alone:
        raise ValueError(f"--student names one report, and {folder} holds many, expected a folder with a {REPORT}")
    rows = [marked(path, args) for path in reports]
    of_one = defaultdict(list)
    for _, student, *_ in rows:
        of_one[names.known_as(student)] += [student] if student else []
    for spelled in of_one.values():
        if len(spelled) > 1:
            print(f"{len(spelled)} reports say that they are of {spelled[0]}")
    if args.csv:
        write_csv(args.csv, [["folder", "student", *bugs.POINTS, "sum"], *rows])
    return 0 if all(row[-1] == sum(bugs.POINTS.values()) for row in rows) else 1


def marked(path, args) -> list:
    """The row of one report, printed as well; one that cannot be read has no points."""
    folder = shown(Path(os.path.abspath(path)).parent.name, lines=False)
    try:
        report = read(path)
        student = names.checked(args.student) if args.student else bugs.student_of(report)
    except ValueError as error:
        print(f"{folder}: {error}\n")
        return [folder, "", *(0 for _ in bugs.POINTS), 0]
    right = bugs.truth(args.course, student)
    marks, file = bugs.mark(report, right), ""
    with suppress(ValueError):  # it need not be there; nothing in it is run
        file = read(path.with_name("bug.py"))
    print(bugs.as_text(report, right, f"{folder}: {student}, course {args.course}", marks, file), "\n")
    return [folder, student, *(m.got for m in marks), sum(m.got for m in marks)]


def read(path) -> str:
    """The text of a report, or of bug.py; raises ValueError for what is none."""
    if os.path.islink(path.parent):
        raise ValueError(f"{path.parent.name} is a link, expected a folder")
    return submissions.content_of(path, MOST, "a report").decode("utf-8-sig", errors="replace").replace("\0", "")


# ----------------------------------------------------------------------------- students and folders


def students(args) -> list:
    """Those of --class, or the one of --student."""
    if bool(args.class_) == bool(args.student):
        raise ValueError("expected --student NAME or --class FILE")
    return names.of_class(args.class_) if args.class_ else [names.checked(args.student)]


def write(args, files_of) -> int:
    """Files for one student into FOLDER, for a class into FOLDER/STUDENT/."""
    folder, known = args.folder or Path(args.what), students(args)
    if folder.exists():
        raise ValueError(f"{folder} exists already, expected a new folder: nothing is overwritten")
    for place, student in (names.folders(known) if args.class_ else {".": known[0]}).items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        for name, text in files_of(student).items():
            (folder / place / name).write_text(text, encoding="utf-8")
    print(f"written to {folder}/")
    return 0


COMMANDS = {"bug": bug, "mark-bug": mark_bug, "predict": predict, "answers": answers}


def run(args) -> int:
    """The status of a command: 2, and the reason, if it could not be done."""
    try:
        return COMMANDS[args.what](args)
    except (ValueError, OSError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 2
