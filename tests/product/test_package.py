"""What `pip install` installs."""

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_file_of_the_package_is_installed():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    named = set()
    for package, patterns in settings["options.package_data"].items():
        named |= {path for p in patterns.split(",") for path in (ROOT / package.replace(".", "/")).glob(p.strip())}
    files = {path for path in (ROOT / "dgsa_np").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path for path in files if path.suffix != ".py"} == named
    assert all(path.with_name("__init__.py").exists() for path in files)  # a folder without it is no package
