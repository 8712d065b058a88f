"""The repository's address: `make address` fills all places, can be run again, and takes it out."""

import configparser
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import tree

ROOT = Path(__file__).parents[2]
OTHERS = {"ReScience/submissions", "containers/bubblewrap"}  # addresses of others that documents link to

spec = importlib.util.spec_from_file_location("address", ROOT / "docs" / "address.py")
address = importlib.util.module_from_spec(spec)
spec.loader.exec_module(address)
NOTEBOOKS = [path for pattern in address.NOTEBOOKS for path in sorted((ROOT / "notebooks").glob(pattern))]

SDIST = (ROOT / "PKG-INFO").exists()
pytestmark = pytest.mark.skipif(SDIST, reason="a source distribution: its setup.cfg has lost its marks")


@pytest.fixture
def copied(tmp_path):
    """The places, in a folder of their own."""
    tree.copy([ROOT / "docs" / "address.py", *(ROOT / name for name in address.MARKED), *NOTEBOOKS], tmp_path)
    return tmp_path


def make(folder, *arguments):
    command = [sys.executable, folder / "docs" / "address.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


def contents(folder):
    return {path.relative_to(folder): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


def source_of(path):
    """The line with what a notebook installs."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        text = "".join(line for cell in json.loads(text)["cells"] for line in cell["source"])
    return re.search(r"^    source = .*\[notebooks\].*$", text, re.M)[0]


def test_what_stands_here_is_what_make_address_writes(copied):
    before = contents(copied)
    assert make(copied, address.current()).returncode == 0
    assert contents(copied) == before


@pytest.mark.slow
def test_an_address_fills_every_place_and_can_be_changed_and_taken_out(copied):
    make(copied, "none")
    without = contents(copied)
    assert not any("github.com/ada" in text for text in without.values())
    for name in ("ada/gate", "ada/gate", "Grace-H/dgsa_np.fork", "ada/gate"):
        done = make(copied, name)
        assert done.returncode == 0 and f"is {name}" in done.stdout, done.stderr
        found = contents(copied)
        places = [path for path in found if path.name not in ("address.py", "dgsa_in_one_file.py")]
        assert [str(path) for path in places if name not in found[path]] == []
        assert address.current(copied) == name
        if name == "ada/gate":
            assert "Grace" not in "".join(found.values())
    settings = configparser.ConfigParser()
    settings.read(copied / "setup.cfg", encoding="utf-8")
    assert settings["metadata"]["url"] == "https://github.com/ada/gate"
    assert "Documentation = https://ada.github.io/gate/" in settings["metadata"]["project_urls"]
    assert "git clone https://github.com/ada/gate\n    cd gate\n" in found[Path("CONTRIBUTING.md")]
    assert "(https://ada.github.io/gate/)" in found[Path("docs/pypi/description.md")]
    make(copied, "none")
    assert contents(copied) == without


@pytest.mark.slow
def test_notebook_and_source_install_the_same(copied):
    for name in ("none", "ada/gate"):
        make(copied, name)
        pairs = [(path, path.with_suffix(".ipynb")) for path in (copied / "notebooks").rglob("*.py")]
        pairs = [pair for pair in pairs if pair[1].exists()]
        assert len(pairs) >= 13 and all(source_of(source) == source_of(notebook) for source, notebook in pairs)


def test_without_an_address_a_notebook_installs_the_checkout_that_it_lies_in(copied):
    make(copied, "none")
    for path in (copied / "notebooks").rglob("*.ipynb"):
        where = re.search(r'"(.*)\[notebooks\]"', source_of(path))[1]
        assert (path.parent / where).resolve() == copied.resolve()


@pytest.mark.parametrize(
    "arguments",
    [(), ("",), ("dgsa_np",), ("https://github.com/ada/gate",), ("ada/gate/x",), ("owner/name",), ("a b/c",)],
)
def test_what_is_no_name_of_a_repository_is_refused(arguments, copied):
    before = contents(copied)
    done = make(copied, *arguments)
    assert done.returncode == 2 and done.stderr.startswith("make address: ") and done.stderr.count("\n") == 1
    assert contents(copied) == before


def test_a_file_that_lost_its_mark_is_named(copied):
    (copied / "setup.cfg").write_text("[metadata]\n", encoding="utf-8")
    done = make(copied, "ada/gate")
    assert done.returncode == 2 and "setup.cfg: its marks are gone" in done.stderr


@pytest.mark.slow
def test_no_placeholder_and_no_other_address_stands_anywhere():
    known, wrong = OTHERS | {address.current()}, []
    for path in tree.files():
        if path == Path(__file__).resolve() or path.suffix in (".png", ".npz", ".ckpt"):
            continue
        text = path.read_text("utf-8", errors="replace")
        named = set(re.findall(r"github\.com/([\w.-]+/[\w.-]*\w)", text)) - known
        placeholders = re.findall(r"\bOWNER\b|\[docs-url\]|(?:example|placeholder)\.(?:com|org)", text)
        wrong += [(str(path.relative_to(ROOT)), found) for found in [*named, *placeholders]]
    assert wrong == []
