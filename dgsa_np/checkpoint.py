"""Save and load a state, of a training run or anything like it, as one file.

The file is an .npz archive of arrays with a manifest in JSON. It needs no pickle, is written whole
or not at all, and damage to it is noticed. Each array lies under its path in the state, so that
np.load(path)["params.head.W"] works anywhere. manifest.json holds the nesting, the numbers and
words, and the shape, dtype and SHA-256 of each array.
"""

import hashlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from . import check, shapes
from .backend import owner_of, to_numpy
from .files import whole_file

FORMAT, MANIFEST, ARRAY = "dgsa_np checkpoint 1", "manifest.json", "__array__"


class CheckpointError(Exception):
    """A checkpoint that is missing, damaged, or not what was asked for."""


def save_checkpoint(path, state) -> None:
    """Write a state to a file, whole or not at all.

    state  : nested dicts and lists of arrays, numbers, text, True, False and None; a tuple comes
             back as a list
    raises : TypeError for anything else, naming where it stands; CheckpointError where the disk
             refuses

    It is written as whole_file does it.
    """
    shapes.instance("save_checkpoint", check.PATH, path=path)
    arrays: dict[str, np.ndarray] = {}
    manifest = {"format": FORMAT, "state": _describe(state, "", arrays)}
    try:
        with whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
            for name, a in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, a, allow_pickle=False)
    except OSError as error:
        raise CheckpointError(str(error)) from error


def load_checkpoint(path) -> Any:
    """The state in a file, with its arrays on the host (the CPU).

    raises : CheckpointError for a file that is missing, damaged, or no checkpoint
    """
    shapes.instance("load_checkpoint", check.PATH, path=path)
    path = Path(path)
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path}: damaged, or no checkpoint: it is not a file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(path, members)
            manifest = json.loads(archive.read(MANIFEST))
            if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
                raise CheckpointError(f"{path}: the manifest does not say {FORMAT!r}")
            arrays = {m.filename[:-4]: archive.read(m) for m in members if m.filename != MANIFEST}
        state = _restore(manifest["state"], arrays)
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except Exception as error:  # whatever a damaged file makes zipfile, json or numpy say
        raise CheckpointError(f"{path}: damaged, or no checkpoint: {type(error).__name__}: {error}") from error
    if arrays:
        raise CheckpointError(f"{path}: the manifest does not know {', '.join(arrays)}")
    return state


def _describe(tree, path, arrays):
    """The tree as JSON, with a description in the place of each array.

    The arrays themselves are put into the dict arrays, under their paths.
    """
    if isinstance(tree, dict):
        for key in tree:
            if not (isinstance(key, str) and re.fullmatch(r"[\w -]+", key)) or key == ARRAY:
                raise TypeError(f"save_checkpoint: state{path} has the key {key!r}, expected letters, digits, - and _")
        return {key: _describe(branch, f"{path}.{key}", arrays) for key, branch in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_describe(branch, f"{path}.{i}", arrays) for i, branch in enumerate(tree)]
    tree = to_numpy(tree) if owner_of(tree) else tree
    if type(tree) is np.ndarray and tree.dtype.kind in "biufc":
        name = path.removeprefix(".") or "state"
        arrays[name] = tree
        return {ARRAY: name, "shape": tree.shape, "dtype": tree.dtype.str, "sha256": _sha256(tree)}
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    raise TypeError(f"save_checkpoint: state{path} is {type(tree).__name__}, expected an array, number, text or None")


def _restore(tree, arrays):
    """The tree that _describe was given; each array that it uses is taken out of arrays."""
    if isinstance(tree, list):
        return [_restore(branch, arrays) for branch in tree]
    if not isinstance(tree, dict):
        return tree
    if ARRAY not in tree:
        return {key: _restore(branch, arrays) for key, branch in tree.items()}
    a = np.lib.format.read_array(io.BytesIO(arrays.pop(tree[ARRAY])), allow_pickle=False)
    if [list(a.shape), a.dtype.str, _sha256(a)] != [tree["shape"], tree["dtype"], tree["sha256"]]:
        raise ValueError(f"{tree[ARRAY]} is not the array that the manifest describes")
    return a


def _check_members(path, members):
    """Check that every member is there once and not compressed.

    Then the arrays take no more memory than the file is long, even in a hostile file.
    """
    names = [m.filename for m in members]
    if len(set(names)) != len(names) or names.count(MANIFEST) != 1:
        raise CheckpointError(f"{path}: expected {MANIFEST} and every array once")
    if any(m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size for m in members):
        raise CheckpointError(f"{path}: a member is compressed, expected them stored as they are")
    if sum(m.file_size for m in members) > path.stat().st_size:
        raise CheckpointError(f"{path}: the members are larger than the file")


def _sha256(a):
    return hashlib.sha256(np.ascontiguousarray(a).data).hexdigest()
