"""Make what students get: build.py student|release|nbgrader|stubs [FOLDER] [--course N].

gradescope [--exercise ex07] [--seed N] [FOLDER] makes a zip to upload for every exercise, or one;
classroom [FOLDER] the student's tree with a workflow for GitHub Classroom.
bug|predict (--student NAME | --class FILE) [FOLDER] make what each gets another version of;
mark-bug FOLDER and answers (--student NAME | --class FILE) are for the teacher.
"""

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from grading import course as courses
from grading import handout, personal, student


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = ("student", "release", "nbgrader", "stubs", *handout.COMMANDS, *personal.COMMANDS)
    parser.add_argument("what", choices=commands)
    parser.add_argument("folder", nargs="?", type=Path, help="must not exist (default: the name of what is made)")
    parser.add_argument("--course", type=int, default=0, help="chooses the constants of the stubs (default: 0)")
    parser.add_argument("--exercise", choices=courses.EXERCISES, metavar="EXERCISE", help="gradescope: one zip alone")
    parser.add_argument("--seed", type=int, help="gradescope: the same numbers for all (default: fresh ones for each)")
    parser.add_argument("--student", help="bug, predict, answers, mark-bug: the name of a student")
    parser.add_argument("--class", dest="class_", metavar="FILE", help="bug, predict, answers: a name on each line")
    parser.add_argument("--csv", type=Path, metavar="OUT", help="mark-bug: write the table here")
    args = parser.parse_intermixed_args(argv)  # options may stand before FOLDER
    if args.what in handout.COMMANDS:
        return handout.run(args)
    if args.what in personal.COMMANDS:
        return personal.run(args)
    folder = args.folder or Path(args.what)
    if args.what == "stubs":
        return write_stubs()
    if args.what in ("student", "release") and args.course == 0:
        told = "course 0 is the library's own formula, whose solutions stand here"
        print(f"build: {told}; expected another number, make {args.what} COURSE=7", file=sys.stderr)
        return 2
    if folder.exists():
        print(f"build: {folder} exists already, expected a new folder: nothing is overwritten", file=sys.stderr)
        return 2
    (student.write_nbgrader if args.what == "nbgrader" else student.write_tree)(folder, args.course)
    if args.what == "release":
        print(f"written to {shutil.make_archive(str(folder), 'zip', folder)}")
        shutil.rmtree(folder)
    else:
        print(f"written to {folder}/")
    return 0


def write_stubs() -> int:
    """The stubs and notebooks of course 0, which stand beside this file."""
    for exercise in courses.EXERCISES:
        (courses.HERE / f"{exercise}.py").write_text(courses.stub(exercise), encoding="utf-8")
        student.write_notebook(courses.HERE / f"{exercise}.ipynb", student.student_cells(exercise))
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # a console may lack the letters of a name
    sys.exit(main())
