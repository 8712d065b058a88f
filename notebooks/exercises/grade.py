"""Grade submissions: python notebooks/exercises/grade.py ex07 FILE, or --all FOLDER for a class.

Exit status: 0 all items pass, 1 some fail, 2 could not grade.
"""

import argparse
import secrets
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from grading import course as courses
from grading.marks import as_text, grade, gradescope, write_csv, write_json


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
    parser.add_argument("exercise", nargs="?", choices=courses.EXERCISES, metavar="EXERCISE", help="ex01 to ex12")
    parser.add_argument("file", nargs="?", type=Path, help="the submission")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="a whole class, FOLDER/STUDENT/exNN.py")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write Gradescope's results.json here")
    parser.add_argument("--csv", type=Path, metavar="OUT", help="with --all: write the table here")
    parser.add_argument("--seed", type=int, help="of the arguments; without it a fresh one, which is printed")
    parser.add_argument("--course", type=int, default=0, help="the course's number (default: 0)")
    args = parser.parse_args(argv)
    if bool(args.all) == bool(args.exercise and args.file):
        parser.error("expected EXERCISE and FILE, or --all FOLDER")
    return args


def grade_one(args, seed) -> int:
    if not args.file.is_file():
        raise FileNotFoundError(f"{args.file}: there is no such file, expected the student's {args.exercise}.py")
    marks = grade(args.exercise, args.file, seed, args.course)
    print(as_text(marks))
    if args.json:
        write_json(args.json, gradescope(marks))
    return 0 if marks.score == marks.most else 1


def grade_class(args, seed) -> int:
    """A row per student, a column per exercise; all with one seed."""
    if not args.all.is_dir():
        raise NotADirectoryError(f"{args.all}: there is no such folder, expected FOLDER/STUDENT/exNN.py")
    found = sorted(p for p in args.all.glob("*/ex*.py") if p.stem in courses.EXERCISES)
    if not found:
        raise FileNotFoundError(f"{args.all}: no submissions, expected {args.all}/STUDENT/exNN.py")
    students, exercises = sorted({p.parent.name for p in found}), sorted({p.stem for p in found})
    points, most = {}, {}
    for path in found:
        marks = grade(path.stem, path, seed, args.course)
        points[path.parent.name, path.stem], most[path.stem] = marks.score, marks.most
        print(f"{path.parent.name} {as_text(marks)}\n")
    table = [["student", *(f"{e} (of {most[e]})" for e in exercises), "sum"]]
    for student in students:
        row = [points.get((student, e), "") for e in exercises]
        table.append([student, *row, sum(p for p in row if p != "")])
    for row in table:
        print("  ".join(f"{cell!s:>14}" for cell in row))
    print(f"--seed {seed} --course {args.course}")
    if args.csv:
        write_csv(args.csv, table)
    return 0 if all(points[key] == most[key[1]] for key in points) else 1


if __name__ == "__main__":
    sys.exit(main())
