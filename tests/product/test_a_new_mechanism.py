"""A new mechanism is one file and one row: in a copy of the package that has both, and nothing else
that is new, it is trained, compared, drawn and checked as the others are.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import flags, output
from support.new_mechanism import package_with_toy

SMALL = ["--epochs", "1", "--train-size", "300", "--test-size", "60", "--device", "cpu"]


@pytest.fixture(scope="module")
def do(tmp_path_factory):
    """do(arguments of python) runs with the copy of the package, and gives what was printed."""
    place = package_with_toy(tmp_path_factory.mktemp("package"))

    def do(*arguments):
        there = os.environ | {"PYTHONPATH": str(place)}
        return output(sys.executable, *arguments, env=there, cwd=place)

    assert do("-c", "import dgsa_np; print(dgsa_np.__file__)").startswith(str(place))
    return do


@pytest.fixture(scope="module")
def run(do, sources, tmp_path_factory):
    """A run of the toy on digits."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    do("-m", "dgsa_np", "train", *flags("digits", sources), "--kind", "toy", "--out", folder)
    return folder


GRADIENTS = """
import numpy as np
from dgsa_np.gradcheck import check_pair
from dgsa_np.lab.cases import FORMS, attention_cases, head_cases

rng = np.random.default_rng(0)
heads = [case for case in head_cases(rng) if case.name == "toy_head"]
for case in [*heads, *attention_cases(rng, {"toy": FORMS["toy"]})]:
    check_pair(case.forward, case.backward, case.args, sizes=case.sizes)
    print(case)
"""


@pytest.mark.slow
def test_its_gradients_are_right(do):
    heads = [f"toy_head [{mask}]" for mask in ("none", "causal", "padding", "all masked")]
    layers = [name.replace("toy_head", "attention toy") for name in heads]
    assert do("-c", GRADIENTS).splitlines() == [*heads, *layers, "attention toy [rotary]"]


ROWS = """
from dgsa_np.lab import cases, cli

every = cases.all_cases
cases.all_cases = lambda seed: (case for case in every(seed) if "toy" in case.name)
raise SystemExit(cli.main(["gradcheck"]))
"""


@pytest.mark.slow
def test_gradcheck_has_its_rows(do):
    said = do("-c", ROWS)
    assert said.count(" right\n") == 4 + 5 + 5  # the head, attention with it, models
    assert "All gradients are right." in said


def test_info_counts_its_parameters(do):
    said = do("-m", "dgsa_np", "info", "--kind", "toy")
    assert "toy, vision" in said and "W_o 64x64, log_sharpness 4" in said


SAME = """
from dataclasses import replace
from dgsa_np.attention import KINDS
from dgsa_np.lab import viz
from dgsa_np.lab.experiments import count_parameters, equal_models
from dgsa_np.model import ModelConfig

looks = viz.looks(KINDS)
assert KINDS[-1] == "toy" and len({look["color"] for look in looks.values()}) == len(KINDS), looks
toy, softmax = (ModelConfig(kind=kind, patch_size=2) for kind in ("toy", "softmax"))
assert count_parameters(toy) == count_parameters(softmax) + toy.depth * toy.n_heads
assert equal_models(ModelConfig())["toy"].n_heads == 8  # twice those of dgsa
"""


def test_it_has_a_look_and_a_size_of_its_own(do):
    do("-c", SAME)


@pytest.mark.slow
def test_it_is_trained_and_its_curves_are_drawn(run):
    assert (run / "training.png").stat().st_size > 5000


@pytest.mark.slow
def test_it_is_evaluated_and_its_levels_are_drawn(do, run, tmp_path):
    said = do("-m", "dgsa_np", "evaluate", run, "--corruption", "blur", "--out", tmp_path / "out")
    assert "| toy " in said and (tmp_path / "out" / "accuracy.png").stat().st_size > 5000


MAPS = """
import sys
import numpy as np
from dgsa_np.attention import attention_map
from dgsa_np.checkpoint import load_checkpoint
from dgsa_np.data import load
from dgsa_np.lab import rollout, viz
from dgsa_np.model import ModelConfig, model_forward

cfg = ModelConfig(kind="toy", width=16, n_heads=2, depth=1)
images = load("digits").test.inputs[:1]
_, cache = model_forward(images, load_checkpoint(sys.argv[1])["state"]["params"], cfg)
maps = [attention_map(block.attention) for block in cache.blocks]
assert np.allclose(maps[0].sum(axis=-1), 1)
R = {name: rollout.attention_rollout(maps, name)[0] for name in ("absolute", "excitatory")}
viz.save(viz.rollout_figure(images[0], R), sys.argv[2])
"""


@pytest.mark.slow
def test_its_maps_are_drawn_and_followed_through_the_layers(do, run, tmp_path):
    do("-c", MAPS, run / "checkpoint.npz", tmp_path / "maps.png")
    assert (tmp_path / "maps.png").stat().st_size > 5000


@pytest.mark.slow
def test_it_is_compared_with_another_and_reported(do, tmp_path):
    compared = tmp_path / "compared"
    tiny = ["--width", "8", "--n-heads", "1", "--depth", "1", "--patch-size", "4", *SMALL]
    do("-m", "dgsa_np", "compare", "--kind", "toy", "dgsa", *tiny, "--seeds", "2", "--out", compared)
    do("-m", "dgsa_np", "report", compared, "--out", tmp_path / "report")
    assert "| toy " in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")


STUDIED = """
from dgsa_np.lab.evidence.studies import STUDIES

assert all({"kind": "toy"}.items() <= study.cells["toy"].items() for study in STUDIES.values())
"""


def test_every_study_has_it(do):
    do("-c", STUDIED)


@pytest.mark.slow
def test_a_language_model_of_it_goes_on_from_a_prompt(do, sources, tmp_path):
    do("-m", "dgsa_np", "train", *flags("text", sources), "--kind", "toy", "--out", tmp_path / "run")
    said = do("-m", "dgsa_np", "sample", tmp_path / "run", "--prompt", "a q", "--length", "30")
    assert said.startswith("a q") and len(said) == 3 + 30 + 1


# ---------------------------------------------------------------------------- what is left to write

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/how_to_add_a_mechanism.md").read_text(encoding="utf-8")
ASKED = re.findall(r"^\| .* \| .* \| `(tests/[\w/]+\.py)`: (.+) \|$", GUIDE, re.MULTILINE)
WHO_ASKS = (
    "tests/spec/test_conventions.py::test_every_label_has_its_row_and_its_status",
    "tests/spec/test_conventions.py::test_every_cache_field_and_parameter_stands_in_the_notation",
    "tests/product/test_documents.py::test_the_table_of_kinds_has_the_kinds",
    "tests/spec/test_oracles.py::test_every_forward_and_every_case_has_an_oracle",
    "tests/spec/test_oracles.py::test_attention_of_one_token_and_of_one_head[toy]",
    "tests/spec/test_parity.py::test_every_kind_has_its_cases[toy]",
    "tests/spec/test_model.py::test_parameter_counts_follow_the_closed_formulas[64-4-4-toy]",
    "tests/spec/test_hostile_arguments.py::test_every_public_function_has_a_row_with_every_argument",
)


@pytest.mark.slow
def test_what_is_left_to_write_is_asked_for_in_the_words_of_the_guide(tmp_path):
    for part in ("tests", "docs", "setup.cfg", "notebooks/exercises/solutions"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, tmp_path / part)
    package_with_toy(tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *WHO_ASKS]
    there = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=there, capture_output=True, text=True)
    assert f"{len(WHO_ASKS)} failed" in done.stdout, done.stdout[-3000:]
    assert len(ASKED) == len(WHO_ASKS) and {who for who, _ in ASKED} == {who.split("::")[0] for who in WHO_ASKS}
    assert [words for _, words in ASKED if words not in done.stdout] == [], done.stdout[-3000:]
