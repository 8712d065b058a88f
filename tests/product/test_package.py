"""What `pip install` installs, and what is published: the archives, and what they say."""

import ast
import configparser
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from support import tree

import dgsa_np

ROOT = Path(__file__).parents[2]
SHORT = [  # of the fast tests, those that read files of the repository, and the formulas
    "spec/test_conventions.py", "spec/test_oracles.py", "product/test_address.py", "product/test_documents.py",
    "product/test_notebooks.py", "product/test_one_file.py", "product/test_package.py", "product/test_readme.py",
    "product/test_repository.py",
]  # fmt: skip
OUTSIDE = """\
import importlib, pathlib, pkgutil, sys
import dgsa_np
home = pathlib.Path(dgsa_np.__file__).parent
assert home.is_relative_to(sys.prefix), home
for module in pkgutil.walk_packages(dgsa_np.__path__, "dgsa_np."):
    importlib.import_module(module.name)
data = "py.typed", "lab/viz.mplstyle", "lab/README.md", "lab/evidence/report.md.j2", "peers/vectors/manifest.json"
assert [name for name in data if not (home / name).is_file()] == []
"""


def settings():
    read = configparser.ConfigParser()
    read.read(ROOT / "setup.cfg", encoding="utf-8")
    return read


def test_every_file_of_the_package_is_installed():
    named = set()
    for package, patterns in settings()["options.package_data"].items():
        named |= {path for p in patterns.split(",") for path in (ROOT / package.replace(".", "/")).glob(p.strip())}
    files = {path for path in (ROOT / "dgsa_np").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in files if path.suffix != ".py"} == named
    assert all(path.with_name("__init__.py").exists() for path in files)  # a folder without it is no package


# --------------------------------------------------------------------------- what is said of itself


def test_one_version_everywhere():
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)[1] == dgsa_np.__version__
    newest = re.search(r"^## (\S+), (unreleased|\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert newest[1] == dgsa_np.__version__


def test_the_long_description_leads_out_of_the_repository_or_nowhere():
    """On a package index there is no repository around it."""
    text = (ROOT / "docs" / "pypi" / "description.md").read_text("utf-8")
    assert "docs/pypi/description.md" in settings()["metadata"]["long_description"]
    assert [target for target in re.findall(r"\]\(([^)]*)\)", text) if not target.startswith("https://")] == []


def test_the_example_of_the_long_description_says_what_stands_there():
    text = (ROOT / "docs" / "pypi" / "description.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    with pytest.raises(dgsa_np.gradcheck.GradientError, match=r"is 0\.5 times what it should be"):
        exec(compile(example, "description.md", "exec"), {})


def lines(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_every_dependency_has_a_floor_and_the_floors_are_those_that_are_tested():
    options = settings()["options"]
    extras = settings()["options.extras_require"]
    needed = lines(options["install_requires"])
    needed += [line for extra in ("test", "report", "notebooks") for line in lines(extras[extra])]
    floors = dict(re.fullmatch(r"([\w-]+) >= ([\d.]+)", line).groups() for line in needed)
    tested = dict(line.split(" == ") for line in lines((ROOT / "tests" / "floors.txt").read_text("utf-8")))

    def numbers(version):
        return [int(n) for n in f"{version}.0.0".split(".")[:3]]

    assert {name: numbers(tested[name]) for name in floors} == {name: numbers(floor) for name, floor in floors.items()}


# ------------------------------------------------------------------------------------- the archives


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The source distribution and the wheel, built from it, by the setuptools that is here."""
    pytest.importorskip("setuptools", minversion="70.1", reason="the extra test is not installed")
    here, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    tree.copy(tree.files(), here)
    build(here, "sdist", out)
    (sdist,) = out.glob("*.tar.gz")
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as tar:
        tar.extractall(unpacked, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (source,) = unpacked.iterdir()
    build(source, "wheel", out)
    (wheel,) = out.glob("*.whl")
    return sdist, wheel, source


def build(folder, what, out):
    code = f"from setuptools import build_meta; build_meta.build_{what}({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def clean(**more):
    """An environment for processes that shall not see this checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))} | more


@pytest.fixture(scope="module")
def elsewhere(archives, tmp_path_factory):
    """The Python of a new environment that has the wheel, and what it needs from the one here."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    alone = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run([python, *alone, archives[1]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip())
    needed = Path(__import__("numpy").__file__).parents[1]
    (site / "needed.pth").write_text(f"{needed}\n", encoding="utf-8")  # after site-packages: the wheel comes first
    return python


@pytest.mark.slow
def test_the_source_distribution_is_the_repository(archives):
    sdist, _, source = archives
    unpacked = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    there = {path.relative_to(ROOT) for path in tree.files()}
    assert there - unpacked == set()
    made = {Path(name) for name in ("PKG-INFO", "setup.cfg")}
    assert {path for path in unpacked - there - made if {"dgsa_np.egg-info", "build"}.isdisjoint(path.parts)} == set()
    print(f"\n{sdist.name}: {sdist.stat().st_size / 1e6:.1f} MB")


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(archives):
    names = zipfile.ZipFile(archives[1]).namelist()
    package = {str(path.relative_to(ROOT).as_posix()) for path in tree.files() if path.is_relative_to(ROOT / "dgsa_np")}
    assert {name for name in names if ".dist-info/" not in name} == package
    metadata = next(name for name in names if name.endswith("/METADATA"))
    said = zipfile.ZipFile(archives[1]).read(metadata).decode()
    assert f"Version: {dgsa_np.__version__}\n" in said and "Requires-Python: >=3.10\n" in said
    assert "Author: The dgsa_np developers\n" in said and "Typing :: Typed\n" in said


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(elsewhere, tmp_path):
    def run(*command):
        return subprocess.run([elsewhere, *command], cwd=tmp_path, env=clean(), capture_output=True, text=True)

    train = ["--kind", "dgsa", "--width", "16", "--n-heads", "2", "--depth", "1", "--epochs", "1", "--out", "run"]
    for command in (["-c", OUTSIDE], ["-m", "dgsa_np", "train", *train], ["-m", "dgsa_np", "evaluate", "run"]):
        done = run(*command)
        assert done.returncode == 0, done.stderr
    tool = elsewhere.with_name("dgsa-np.exe" if os.name == "nt" else "dgsa-np")
    said = subprocess.run([tool, "info"], cwd=tmp_path, env=clean(), capture_output=True, text=True)
    assert said.returncode == 0 and dgsa_np.__version__ in said.stdout, said.stderr


@pytest.mark.torture
def test_the_wheel_checks_every_gradient_outside_the_checkout(elsewhere, tmp_path):
    done = subprocess.run([elsewhere, "-m", "dgsa_np", "gradcheck"], cwd=tmp_path, env=clean(), capture_output=True)
    assert done.returncode == 0, done.stdout[-2000:]


def pass_in(source, elsewhere, *which):
    """The closing line of pytest in an unpacked source distribution."""
    command = [elsewhere, "-m", "pytest", "-q", "-p", "no:cacheprovider", *which]
    done = subprocess.run(command, cwd=source, env=clean(), capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    print("\n" + done.stdout.strip().splitlines()[-1])


@pytest.mark.torture
def test_the_source_distribution_passes_tests_that_read_its_files(archives, elsewhere):
    pass_in(archives[2], elsewhere, *(f"tests/{name}" for name in SHORT))


@pytest.mark.torture
def test_the_source_distribution_passes_the_fast_tests(archives, elsewhere):
    pass_in(archives[2], elsewhere)


def test_what_is_run_of_the_source_distribution_exists():
    assert [name for name in SHORT if not (ROOT / "tests" / name).exists()] == []
    ast.parse(OUTSIDE)
