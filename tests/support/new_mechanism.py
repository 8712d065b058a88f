"""A copy of the package with one more mechanism in it: one file, and one row of the table."""

import shutil
from pathlib import Path

import dgsa_np

PACKAGE = Path(dgsa_np.__file__).parent
FILE = Path(__file__).with_name("toy.py")
IMPORTED = "softmax, tiled, twicing\n", "softmax, tiled, toy, twicing\n"
ROW = """\
    "toy": Mechanism(
        head=Pair(toy.toy_head_forward, toy.toy_head_backward),
        projections=SINGLE,
        control=Control(toy.sharpness_specs, toy.sharpness_forward, toy.sharpness_backward),
    ),
"""


def add_toy(package: Path):
    """Into a package that lies in this folder: the file, the row, and the word that imports it."""
    shutil.copy(FILE, package / "attention" / "toy.py")
    table = package / "attention" / "mechanisms.py"
    text = table.read_text(encoding="utf-8")
    for here, instead in (IMPORTED, ("\n}\nON_INHIBITION", f"\n{ROW}}}\nON_INHIBITION")):
        assert text.count(here) == 1, f"{table} does not say {here!r} once"
        text = text.replace(here, instead)
    table.write_text(text, encoding="utf-8", newline="\n")


def package_with_toy(folder: Path) -> Path:
    """The folder, as a place to import the package with the toy from."""
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    add_toy(folder / PACKAGE.name)
    return folder
