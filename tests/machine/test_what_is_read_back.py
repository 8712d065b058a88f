"""Whatever stands in the files of a run or of a grid, the commands answer rightly or refuse in our
own words: the wrong type, out of range, infinite, missing, unknown, of another version, hostile.
"""

import copy
import json
import math
import os
import shutil
import time

import numpy as np
import pytest
from support.commands import say
from support.runs import flags, run_whole
from support.tiers import most_later
from support.training import TINY

from dgsa_np import backend
from dgsa_np.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from dgsa_np.data import DataError
from dgsa_np.lab import runs
from dgsa_np.lab.cli import main
from dgsa_np.lab.evidence import compare, grid, pictures
from dgsa_np.lab.evidence.report import report
from dgsa_np.lab.records import COUNT, HASH, LABEL, NAME, NONE, NUMBER, SHARE, checked, read_json, read_lines
from dgsa_np.lab.settings import SettingsError, settle
from dgsa_np.params import tree_map

OURS = CheckpointError, SettingsError, DataError

# --------------------------------------------------------------------------------------- the reader

RIGHT = [
    ([1, 2.5, -3], [NUMBER]),
    ({"a": 1, "b": None}, {"a": COUNT, "b": (NONE, SHARE), "c?": NUMBER}),
    ({"x y": {"k": 0.5}}, {NAME: {NAME: SHARE}}),
    (["loss", None], [LABEL, (NONE, LABEL)]),
    ("0af", HASH),
]
WRONG = [
    (math.nan, NUMBER, "it is nan, expected a finite number"),
    (math.inf, NUMBER, "it is inf"),
    (True, NUMBER, "it is True, expected a finite number"),
    ("1", NUMBER, "it is '1'"),
    (-1, COUNT, "it is -1, expected a whole number of at least 0"),
    (1.0, COUNT, "it is 1.0"),
    (10**400, NUMBER, "expected a finite number"),
    (1.01, SHARE, "it is 1.01, expected a number from 0 to 1"),
    ("../../evil", NAME, "it is '../../evil', expected letters"),
    ("a/b", NAME, "it is 'a/b'"),
    ("a\nb", NAME, "expected letters"),
    ("a\nb", LABEL, "expected a printable line"),
    (".hidden", NAME, "it is '.hidden'"),
    ("", NAME, "it is ''"),
    ({"a": 1}, {"a": COUNT, "b": COUNT}, "it lacks b"),
    ({"a": 1, "c": 1}, {"a": COUNT}, "it has c too many"),
    ({"a": [1, "x"]}, {"a": [COUNT]}, r"it\.a\[1\] is 'x', expected a whole number"),
    ({"a": [1]}, {"a": [COUNT, COUNT]}, r"it\.a is \[1\], expected 2 parts"),
    ({"../x": 1}, {NAME: COUNT}, "it: the name '../x' is '../x', expected letters"),
    ([], {"a": COUNT}, r"it is \[\], expected a dict"),
    (3, (NONE, SHARE), "it is 3, expected a number from 0 to 1"),
]


@pytest.mark.parametrize(("value", "form"), RIGHT)
def test_what_is_right_comes_back_as_it_is(value, form):
    assert checked(value, form, "it") is value


@pytest.mark.parametrize(("value", "form", "said"), WRONG)
def test_what_is_wrong_is_named_with_its_place(value, form, said):
    with pytest.raises(ValueError, match=said):
        checked(value, form, "it")


@pytest.mark.parametrize("text", ["{", b"\xff", "[" * 100_000, "NaN", "1e999", "9" * 5000])
def test_what_is_no_json_is_told(text):
    with pytest.raises(SettingsError, match=r"^here: "):
        read_json(text, NUMBER, "here", SettingsError)


def test_a_last_line_that_was_cut_off_is_left_out_and_any_other_is_told(tmp_path):
    path = tmp_path / "lines"
    assert read_lines(path, COUNT, SettingsError) == []
    path.write_bytes(b"1\n2\r\n3")
    assert read_lines(path, COUNT, SettingsError) == [1, 2]
    path.write_bytes(b"1\nx\n3\n")
    with pytest.raises(SettingsError, match="lines: line 2: not JSON"):
        read_lines(path, COUNT, SettingsError)


# ------------------------------------------------------------------------------- the files of a run

GIVEN = {"width": 16, "n_heads": 2, "depth": 1, "epochs": 2, "batch_size": 256, "device": "cpu"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that has ended."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run_whole(folder, GIVEN)
    return folder


@pytest.fixture
def spoilt(whole, tmp_path):
    """A function: a copy of the run, back in its second epoch, with its checkpoint changed."""

    def change(how):
        folder = shutil.copytree(whole, tmp_path / "run", dirs_exist_ok=True)
        held = load_checkpoint(folder / "checkpoint.npz")
        held["state"] |= {"epoch": 1, "batch": 1}
        held["state"]["optimizer"]["step"] = 5
        how(held)
        save_checkpoint(folder / "checkpoint.npz", held)
        return folder

    return change


def set_to(value, *path):
    def change(held):
        for name in path[:-1]:
            held = held[name]
        held[path[-1]] = value

    return change


def drop(*path):
    def change(held):
        for name in path[:-1]:
            held = held[name]
        del held[path[-1]]

    return change


def to_dtype(dtype, *path):
    def change(held):
        tree = held
        for name in path[:-1]:
            tree = tree[name]
        tree[path[-1]] = tree_map(lambda a: a.astype(dtype), tree[path[-1]])

    return change


CHECKPOINTS = {  # what is wrong: (the change, what is said)
    "a batch far beyond the epoch": (set_to(10**9, "state", "batch"), "batch"),
    "a batch just beyond the epoch": (set_to(4, "state", "batch"), "batch is 4"),
    "a negative epoch": (set_to(-1, "state", "epoch"), "state.epoch is -1"),
    "half an epoch": (set_to(0.5, "state", "epoch"), "state.epoch is 0.5"),
    "an epoch beyond the last": (set_to(7, "state", "epoch"), "step is 5, expected 29 at epoch 7 of 2"),
    "a step that the epoch does not have": (set_to(4, "state", "optimizer", "step"), "step is 4, expected 5"),
    "no generator": (drop("state", "rng"), "state lacks rng"),
    "another generator": (set_to({"bit_generator": "MT19937"}, "state", "rng"), "rng is not the state of a PCG64"),
    "half a generator": (drop("state", "rng", "state", "inc"), "rng is not the state"),
    "no moments": (drop("state", "optimizer", "m"), "state.optimizer lacks m"),
    "moments of another shape": (set_to({"W": np.ones(3)}, "state", "optimizer", "v"), "v lack embed"),
    "weights of another shape": (set_to(np.ones((3, 3)), "state", "params", "head", "W"), "expected (C, n_out)"),
    "weights of another kind": (set_to(np.ones((16, 10), "f2"), "state", "params", "head", "W"), "float16"),
    "weights that are a word": (set_to("W", "state", "params", "head", "W"), "W is str"),
    "a loss that is no number": (set_to(math.nan, "state", "loss_sum"), "state.loss_sum is nan"),
    "a best epoch without a loss": (drop("best", "valid_loss"), "best lacks valid_loss"),
    "a setting of a newer version": (set_to("alibi", "settings", "positional"), "unknown key 'positional'"),
    "a setting of another type": (set_to("16", "settings", "width"), "width is '16', expected int"),
    "a setting that does not fit": (set_to(15, "settings", "width"), "width is 15"),
    "a model of another depth": (set_to(2, "settings", "depth"), "2"),
    "complex moments": (to_dtype("c8", "state", "optimizer", "m"), "m embed.W has dtype complex64"),
    "moments of another precision": (to_dtype("f8", "state", "optimizer", "v"), "v embed.W has dtype float64"),
    "weights of another precision": (to_dtype("f8", "state", "params"), "params embed.W has dtype float64"),
    "weights that are no numbers": (set_to(np.full((16, 10), np.nan, "f4"), "state", "params", "head", "W"), "finite"),
    "a width without end": (set_to(10**400, "settings", "width"), "width is 1000"),
    "data for another task": (set_to("lm", "dataset", "task"), "a dataset with task 'lm'"),
    "data with a name of many lines": (set_to("a\n" * 1000, "dataset", "name"), "dataset.name is"),
    "something more": (set_to(1, "more"), "has more too many"),
    "data of another name": (set_to(["digits"], "dataset", "name"), "dataset.name is ['digits']"),
}


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_a_checkpoint_from_elsewhere_is_refused_in_one_line(what, spoilt, capsys):
    change, words = CHECKPOINTS[what]
    folder = spoilt(change)
    status, _, said = say(["train", "--resume", folder], capsys)
    assert status == 2 and words in said and said.count("\n") == 1 and str(folder) in said


def test_what_these_spoil_goes_on(spoilt, capsys):
    status, _, said = say(["train", "--resume", spoilt(lambda held: None)], capsys)
    assert status == 0, said


@pytest.mark.parametrize("what", [name for name in CHECKPOINTS if "setting" in name or "weights" in name])
def test_evaluate_refuses_what_resume_refuses(what, spoilt, capsys):
    change, words = CHECKPOINTS[what]
    status, _, said = say(["evaluate", spoilt(change), "--corruption", "none"], capsys)
    assert status == 2 and words in said and said.count("\n") == 1


@pytest.fixture(scope="module")
def language(sources, tmp_path_factory):
    """A run of a language model."""
    folder = tmp_path_factory.mktemp("language")
    text = {"data": "text", "root": str(sources / "text.txt"), "length": 16, "width": 8, "n_heads": 1, "depth": 1}
    run_whole(folder, text | {"epochs": 1, "device": "cpu"})
    return folder


VOCABULARIES = {
    "a symbol too few": (lambda meta: meta["symbols"].pop(), "symbols, expected vocab_size"),
    "a symbol twice": (lambda meta: meta["symbols"].__setitem__(0, meta["symbols"][1]), "differ"),
    "no symbols": (lambda meta: meta.pop("symbols"), "0 symbols, expected vocab_size"),
    "another unit": (lambda meta: meta.update(unit="bytes"), "symbols of 'bytes'"),
    "a unit that there is not": (lambda meta: meta.update(unit="foo"), "dataset.unit is 'foo', expected one of"),
    "bytes beyond 255": (lambda meta: meta.update(unit="bytes", symbols=list(range(300))), "from 0 to 255"),
}


@pytest.mark.parametrize("what", VOCABULARIES)
def test_a_vocabulary_that_is_not_that_of_the_model_is_refused(what, language, tmp_path, capsys):
    change, words = VOCABULARIES[what]
    held = load_checkpoint(language / "checkpoint.npz")
    change(held["dataset"])
    save_checkpoint(tmp_path / "checkpoint.npz", held)
    status, _, said = say(["sample", tmp_path], capsys)
    assert status == 2 and words in said and said.count("\n") == 1


def test_the_best_of_another_run_is_refused(whole, language, tmp_path, capsys):
    folder = shutil.copytree(whole, tmp_path / "run")
    shutil.copy(language / "best.npz", folder)
    for argv in (["evaluate", folder, "--checkpoint", "best"], ["train", "--resume", folder]):
        status, _, said = say(argv, capsys)
        assert status == 2 and "best.npz: of another run than checkpoint.npz beside it" in said


def test_a_run_goes_on_where_its_data_have_moved_to(language, tmp_path, capsys):
    folder, data = shutil.copytree(language, tmp_path / "run"), tmp_path / "moved.txt"
    held = load_checkpoint(folder / "checkpoint.npz")
    shutil.copy(held["settings"]["root"], data)
    config = (folder / "config.json").read_text().replace(held["settings"]["root"], "/nowhere.txt")
    (folder / "config.json").write_text(config)
    for name in ("checkpoint.npz", "best.npz"):
        held = load_checkpoint(folder / name)
        held["settings"]["root"] = "/nowhere.txt"
        save_checkpoint(folder / name, held)
    assert "/nowhere.txt: cannot be read" in say(["train", "--resume", folder], capsys)[2]
    assert say(["train", "--resume", folder, "--root", data], capsys)[0] == 0
    assert say(["train", "--resume", folder, "--root", data, "--epochs", "9"], capsys)[0] == 2


DATA = {
    "another name": (set_to("mnist", "dataset", "name"), "the data differ from those of the run: name mnist, now text"),
    "another hash": (set_to("0" * 64, "dataset", "sha256"), "the data differ from those of the run: sha256 0000"),
    "another order of symbols": (lambda held: held["dataset"]["symbols"].reverse(), "another vocabulary"),
}


@pytest.mark.parametrize("what", DATA)
def test_data_that_are_not_those_of_the_run_are_refused(what, language, tmp_path, capsys):
    change, words = DATA[what]
    folder = shutil.copytree(language, tmp_path / "run")
    held = load_checkpoint(folder / "checkpoint.npz")
    change(held)
    save_checkpoint(folder / "checkpoint.npz", held)
    status, _, said = say(["train", "--resume", folder], capsys)
    assert status == 2 and words in said and said.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes as POSIX has them")
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "checkpoint.npz", "best.npz"])
def test_a_pipe_in_the_place_of_a_file_is_no_hang(name, whole, tmp_path, capsys):
    folder = shutil.copytree(whole, tmp_path / "run")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    status, _, said = say(["train", "--resume", folder], capsys)
    assert status == 2 and name in said and said.count("\n") == 1


METRICS = {
    '{"step": 0, "loss": "low", "norm": 1, "lr": 1}': "line 1",
    '{"step": 0}': "line 1: it lacks loss, norm, lr",
    "[1, 2]": "line 1: it is [1, 2]",
    "5": "line 1: it is 5",
    '{"epoch": -1, "train_loss": 1, "valid_loss": 1, "valid_accuracy": 1}': "line 1",
}


@pytest.mark.parametrize("line", METRICS)
def test_a_record_that_was_changed_is_told_by_its_line(line, spoilt, capsys):
    folder = spoilt(lambda held: None)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join([line, *lines[1:]]) + "\n")
    status, _, said = say(["train", "--resume", folder], capsys)
    assert status == 2 and METRICS[line] in said and said.count("\n") == 1


# ------------------------------------------------------------------------------ the files of a grid


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A grid of two cells, run in this process."""
    folder = tmp_path_factory.mktemp("grid") / "whole"
    argv = ["compare", *flags(TINY), "--kind", "dgsa", "softmax", "--seeds", "2", "--out", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "results", lambda tasks, *_: (task() for task in tasks))
        assert main(argv) == 0
    return folder


NAMED = {
    "a name that leads out of the folder": ({"../../evil": "grid-kind"}, "the name '../../evil'"),
    "a name of another folder": ({"/tmp/evil": "grid-kind"}, "the name '/tmp/evil'"),
    "a hidden name": ({".evil": "grid-kind"}, "the name '.evil'"),
}


@pytest.mark.parametrize("what", NAMED)
def test_a_comparison_cannot_write_outside_its_folder(what, kept, tmp_path, capsys):
    names, words = NAMED[what]
    folder = shutil.copytree(kept, tmp_path / "a/b/grid")
    named = json.loads((folder / "comparisons.json").read_text())
    (folder / "comparisons.json").write_text(json.dumps({new: named[old] for new, old in names.items()}))
    before = sorted(tmp_path.rglob("*"))
    status, _, said = say(["report", folder], capsys)
    assert status == 2 and words in said and sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_a_report_holds_no_html_of_others(kept, tmp_path):
    folder = shutil.copytree(kept, tmp_path / "grid")
    named = json.loads((folder / "comparisons.json").read_text())
    named["grid-kind"]["question"] = "<script>alert(1)</script> a < b <!-- c --> <img src=x>"
    runs_of = named["grid-kind"]["runs"]["digits"]
    named["grid-kind"]["runs"]["digits"] = {"<b>dgsa</b> | x": runs_of["dgsa"], "softmax": runs_of["softmax"]}
    named["grid-kind"]["primary"][1] = "<b>dgsa</b> | x"
    (folder / "comparisons.json").write_text(json.dumps(named))
    page, text = (path.read_text(encoding="utf-8") for path in reversed(report(folder, folder)))
    for tag in ("<script", "<img src=x", "<b>"):
        assert tag not in text and tag not in page
    assert "&lt;script>alert(1)" in text and " a < b " in text and r"&lt;b>dgsa&lt;/b> \| x" in text
    rows = [line for line in text.splitlines() if "dgsa&lt;/b>" in line and line.startswith("|")]
    assert rows and all(line.replace(r"\|", "").count("|") > 3 for line in rows)


RECORDS = {
    "one corruption more": (lambda r: r["accuracy"].update(foo=[1.0] * 6), "its accuracy does not have"),
    "one corruption less": (lambda r: r["accuracy"].pop("blur"), "its accuracy does not have"),
    "levels left out": (lambda r: r["accuracy"].update(blur=[0.5]), "its accuracy does not have"),
    "no accuracy": (lambda r: r.pop("accuracy"), "its accuracy does not have"),
    "a kind that there is not": (lambda r: r["settings"].update(kind="magic"), "kind is 'magic'"),
    "settings that are missing": (lambda r: r["settings"].pop("lr"), "its settings lack lr"),
    "baselines of nothing": (lambda r: r.update(baselines={"a": {}}), ""),
}


@pytest.mark.parametrize("what", RECORDS)
def test_a_record_that_does_not_fit_its_task_is_refused(what, kept, tmp_path, capsys):
    change, words = RECORDS[what]
    folder = shutil.copytree(kept, tmp_path / "grid")
    records = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    change(next(r for r in records if ("baselines" in r) == (not words)))
    (folder / "runs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    status, _, said = say(["report", folder], capsys)
    assert status == 2 and words in said and said.count("\n") == 1


def nodes(tree, path=()):
    """The places of all values in a tree."""
    yield path
    for name, part in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from nodes(part, (*path, name))


SPOILS = [None, True, -1, 1e308, math.nan, math.inf, 10**30, "", "x", "../x", "<b>", [], {}, [[]], {"a": 1}, 0.5]


def spoil(tree, rng):
    """A copy of a tree in which one value is another, or gone, or one more is there."""
    tree, places = copy.deepcopy(tree), list(nodes(tree))[1:]
    *path, last = places[rng.integers(len(places))]
    home = tree
    for name in path:
        home = home[name]
    choice = rng.random()
    if choice < 0.6:
        home[last] = SPOILS[rng.integers(len(SPOILS))]
    elif choice < 0.8:
        home.pop(last)
    elif isinstance(home, dict):
        home["one more"] = SPOILS[rng.integers(len(SPOILS))]
    else:
        home.insert(0, copy.deepcopy(home[last]))
    return tree


def in_our_words(action):
    """What an action says: nothing, or one of our own errors."""
    begun = time.monotonic()
    try:
        action()
        return ""
    except OURS as error:
        return str(error) or "?"
    finally:
        assert time.monotonic() - begun < 30


@pytest.fixture
def drawn_once(monkeypatch):
    """The pictures of a kept model follow from its record and its file, which stays as it is:
    of the same record they are drawn once.
    """
    real, drawn = pictures.of_a_model, {}

    def of_a_model(record, path):
        key = json.dumps(record), path
        if key not in drawn:
            drawn[key] = real(record, path)
        return drawn[key]

    monkeypatch.setattr(pictures, "of_a_model", of_a_model)


@pytest.mark.parametrize("n_files", most_later([36, 120], now=[], torture=[120]))
@pytest.mark.usefixtures("drawn_once")
def test_fuzzed_records_and_comparisons_are_reported_or_refused(kept, n_files, tmp_path):
    folder, rng, refused = shutil.copytree(kept, tmp_path / "grid"), np.random.default_rng(0), 0
    named = json.loads((kept / "comparisons.json").read_text())
    records = [json.loads(line) for line in (kept / "runs.jsonl").read_text().splitlines()]
    for n in range(n_files):
        which = rng.integers(len(records))
        changed = spoil(named, rng) if n % 3 == 0 else named
        lines = [spoil(r, rng) if n % 3 and i == which else r for i, r in enumerate(records)]
        (folder / "comparisons.json").write_text(json.dumps(changed))
        (folder / "runs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
        refused += bool(in_our_words(lambda: report(folder, folder)))
        in_our_words(lambda: (compare.read_comparisons(folder), grid.read_runs(folder / "runs.jsonl", repair=True)))
    assert refused > n_files / 2 and sorted(p.name for p in tmp_path.iterdir()) == ["grid"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_fuzzed_checkpoints_go_on_or_are_refused(whole, tmp_path):
    folder, rng, refused = shutil.copytree(whole, tmp_path / "run"), np.random.default_rng(1), 0
    held = load_checkpoint(whole / "checkpoint.npz")
    held["state"] |= {"epoch": 1, "batch": 1}
    held["state"]["optimizer"]["step"] = 5
    for _ in range(150):
        save_checkpoint(folder / "checkpoint.npz", spoil(held, rng))

        def go_on():
            found, *made = runs.reopen(folder, {})
            runs.follow(folder, *made[1:], found)

        refused += bool(in_our_words(go_on))
    assert refused > 100


def begun_on(device, spoilt):
    """A run that says so in both its files."""
    folder = spoilt(set_to(device, "settings", "device"))
    config = json.loads((folder / "config.json").read_text())
    config["settings"]["device"] = device
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_run_begun_on_a_device_that_there_is_not_is_refused(spoilt, capsys):
    status, _, said = say(["train", "--resume", begun_on("tpu", spoilt)], capsys)
    assert status == 2 and "device is 'tpu', expected one of" in said and said.count("\n") == 1


@pytest.mark.parametrize("asked", [["--device", "cpu"], []])
def test_a_run_begun_on_a_gpu_goes_on_without_one(asked, spoilt, capsys, monkeypatch):
    monkeypatch.setattr(backend, "_why_no_gpu", lambda: "there is none")
    folder = begun_on("cuda", spoilt)
    status, said, _ = say(["train", "--resume", folder, *asked], capsys)
    assert status == 0 and "begun on cuda: from here on numbers are rounded otherwise" in said
    assert runs.open_run(folder)["settings"]["device"] == "cuda"  # where it may go back to


def test_numpy_numbers_and_paths_are_settings(tmp_path, sources):
    given = {"width": np.int64(16), "n_heads": np.int32(2), "depth": 1, "lr": np.float32(0.5), "seed": np.int64(3)}
    text = {"data": "text", "root": sources / "text.txt", "length": np.int64(16), "device": "cpu"}
    made = settle(given | text)
    runs.begin(tmp_path / "run", *made)
    held = runs.open_run(tmp_path / "run")["settings"]
    assert {type(held[name]) for name in ("width", "n_heads", "seed", "length")} == {int} and held["lr"] == 0.5
    assert held["root"] == str(sources / "text.txt")


def test_settings_that_are_unknown_are_refused_wherever_they_come_from():
    with pytest.raises(SettingsError, match="unknown key 'widht', expected a setting; did you mean 'width'"):
        settle({"widht": 3})
