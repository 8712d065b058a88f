"""The files that hold formulas."""

import importlib
import pkgutil

import dgsa_np

ROOMS = ("lab", "fast", "data")  # of their own, beside the subject


def subject():
    """Every module of the subject, by name; a new file is one of them by itself."""
    found = pkgutil.walk_packages(dgsa_np.__path__, "dgsa_np.")
    names = [info.name for info in found if info.name.split(".")[1] not in (*ROOMS, "__main__")]
    return [importlib.import_module(name) for name in sorted(names)]
