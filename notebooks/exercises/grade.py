"""Grade submissions: python notebooks/exercises/grade.py ex07 FILE, or --all FOLDER for a class.

Exit status: 0 all items pass, 1 some fail, 2 could not grade.
"""

import argparse
import os
import secrets
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from grading import course as courses
from grading import submissions
from grading.marks import as_text, grade, gradescope, refused, shown, write_csv, write_json


def main(argv=None) -> int:
    args = parse(argv)
    seed = secrets.randbits(31) if args.seed is None else args.seed
    try:
        return grade_class(args, seed) if args.all else grade_one(args, seed)
    except OSError as error:
        print(f"grade: cannot grade: {error}", file=sys.stderr)
        return 2


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = f"{courses.EXERCISES[0]} to {courses.EXERCISES[-1]}"
    parser.add_argument("exercise", nargs="?", choices=courses.EXERCISES, metavar="EXERCISE", help=known)
    parser.add_argument("file", nargs="?", type=Path, help="the submission")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="a whole class, FOLDER/STUDENT/exNN.py")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write Gradescope's results.json here")
    parser.add_argument("--csv", type=Path, metavar="OUT", help="with --all: write the table here")
    parser.add_argument("--seed", type=int, help="of the arguments; without it a fresh one, which is printed")
    parser.add_argument("--course", type=int, default=0, help="the course's number (default: 0)")
    parser.add_argument("--trust", action="store_true", help="run it without a wall, as yourself")
    args = parser.parse_args(argv)
    if bool(args.all) == bool(args.exercise and args.file):
        parser.error("expected EXERCISE and FILE, or --all FOLDER")
    return args


def grade_one(args, seed) -> int:
    if not os.path.lexists(args.file):
        raise FileNotFoundError(f"{args.file}: there is no such file, expected the student's {args.exercise}.py")
    marks = grade(args.exercise, args.file, seed, args.course, args.trust)
    print(as_text(marks))
    if args.json:
        write_json(args.json, gradescope(marks))
    return 0 if marks.score == marks.most else 1


def grade_class(args, seed) -> int:
    """A row per student, a column per exercise; all with one seed."""
    if not args.all.is_dir():
        raise NotADirectoryError(f"{args.all}: there is no such folder, expected FOLDER/STUDENT/exNN.py")
    folders = submissions.students(args.all)
    marks = {student: grade_student(student, folder, args, seed) for student, folder in folders.items()}
    if not any(marks.values()):
        raise FileNotFoundError(f"{args.all}: no submissions, expected {args.all}/STUDENT/exNN.py")
    table = table_of(marks)
    for row in table:
        print("  ".join(f"{cell!s:>14}" for cell in row))
    print(f"--seed {seed} --course {args.course}")
    if args.csv:
        write_csv(args.csv, table)
    return 0 if all(m.score == m.most for of_one in marks.values() for m in of_one.values()) else 1


def grade_student(student, folder, args, seed) -> dict:
    """{exercise: Marks} of a student's folder, printed."""
    marks = {}
    for exercise, (path, *others) in submissions.handed_in(folder, courses.EXERCISES).items():
        beside = ", ".join(other.name for other in others)
        if others and path.stem != exercise:
            reason = f"{path.name}, {beside}: which one is meant? expected {exercise}.py"
            marks[exercise] = refused(exercise, path, seed, args.course, reason)
        else:
            marks[exercise] = grade(exercise, path, seed, args.course, args.trust)
        print(shown(student, lines=False), as_text(marks[exercise]))
        print(f"  not graded: {shown(beside, lines=False)}\n" if others else "")
    if not marks:
        print(f"{shown(student, lines=False)}: no exNN.py, or a link, or a folder that cannot be read\n")
    return marks


def table_of(marks) -> list:
    """Rows of cells, from {student: {exercise: Marks}}; what was not handed in stays empty."""
    most = {exercise: m.most for of_one in marks.values() for exercise, m in of_one.items()}
    rows = [["student", *(f"{exercise} (of {most[exercise]})" for exercise in sorted(most)), "sum"]]
    for student, of_one in marks.items():
        scores = [of_one[exercise].score if exercise in of_one else "" for exercise in sorted(most)]
        rows.append([shown(student, lines=False), *scores, sum(m.score for m in of_one.values())])
    return rows


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # a console may lack what a student wrote
    sys.exit(main())
