"""The files of the repository."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = {".git", ".venv", "__pycache__", ".pytest_cache", ".ruff_cache", "dgsa_np.egg-info", "build", "dist"}
LEFT_OUT.add("_build")  # of the documents


def files():
    """What git knows or would take; where there is no git, as in a source distribution, all."""
    try:
        git = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(git, capture_output=True, check=True).stdout.decode().split("\0")
        found = [ROOT / name for name in names if name] if (ROOT / ".git").exists() else []
    except (OSError, subprocess.CalledProcessError):
        found = []
    found = [path for path in found or ROOT.rglob("*") if not LEFT_OUT & {*path.relative_to(ROOT).parts}]
    return sorted(path for path in found if path.is_file())


def copy(paths, folder):
    """Copy files of the repository to their places in another folder."""
    for path in paths:
        place = folder / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
