"""`dgsa-np compare` and its page: it says what the records hold, and what is missing or mixed."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.runs import flags
from support.training import TINY

from dgsa_np.lab.cli import main
from dgsa_np.lab.evidence import compare, grid
from dgsa_np.lab.evidence.report import report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two comparisons of tiny models: a study on its own data, and a free grid."""
    out = tmp_path_factory.mktemp("evidence") / "runs"
    small = ["--epochs", "1", "--train-size", "300", "--test-size", "60", "--out", str(out)]
    for name in ("gate", "signed", "common-mode", "cost"):
        assert main(["compare", "--study", name, "--seeds", "2", *small]) == 0
    assert main(["compare", *flags(TINY), "--kind", "softmax", "dgsa", "--seed", "5", "6", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def reported(folder, tmp_path_factory):
    """The folder of the report on them."""
    return report(folder, tmp_path_factory.mktemp("report"))[0].parent


@pytest.mark.slow
def test_the_report_shows_what_the_records_hold(folder, reported):
    text, page = ((reported / f"report.{end}").read_text(encoding="utf-8") for end in ("md", "html"))
    records = {r["key"]: r for r in grid.read_runs(folder / "runs.jsonl")}
    named = json.loads((folder / "comparisons.json").read_text(encoding="utf-8"))
    assert named["cost"]["cost"]["digits"].keys() == named["cost"]["runs"]["digits"].keys()
    for comparison in (c for c in named.values() if c["metrics"]):
        for by in comparison["runs"].values():
            for label, keys in by.items():
                mean = np.mean([100 * records[k]["clean"]["accuracy"] for k in keys])
                assert any(label in line and f"{mean:.2f}" in line for line in text.splitlines())
    assert "Primary endpoint, on digits: corrupted accuracy of token gate minus that of head gate" in text
    pictures = re.findall(r"\(figures/(.*?\.png)\)", text)
    assert len(pictures) >= 5 and all((reported / "figures" / name).stat().st_size > 5000 for name in pictures)
    assert "digits-rollout-clean.png" in pictures and "gate-digits-noise-at-gates.png" in pictures
    assert page.count('src="data:image/png;base64,') == len(pictures)
    assert not re.search(r'(src|href)="(?!data:)', page)


@pytest.mark.slow
def test_a_trivial_baseline_that_wins_is_said(reported):
    text = (reported / "report.md").read_text(encoding="utf-8")
    said = "nearest neighbour is above the mean of every transformer here: clean accuracy"
    assert said in text  # one epoch is not enough


@pytest.mark.slow
def test_a_page_is_not_written_about_nothing(tmp_path):
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_runs_on_other_data_are_none_of_the_runs_that_are_compared(folder, tmp_path):
    text = spoilt(folder, tmp_path / "mixed", lambda record: record | {"data_sha256": "0" * 64})
    assert "Of 8 runs 8 are missing." in text and "Of 8 runs" not in spoilt(folder, tmp_path / "same", dict)


def spoilt(folder, out, change):
    """A copy of a folder whose records went through a function."""
    out.mkdir()
    (out / "comparisons.json").write_text((folder / "comparisons.json").read_text())
    records = [change(r) for r in grid.read_runs(folder / "runs.jsonl")]
    (out / "runs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records if r))
    return report(out, out / "page")[0].read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_cell_whose_runs_all_broke_down_leaves_the_others_on_the_page(folder, tmp_path):
    def change(record):
        if record["settings"].get("gate") == "head" or record["settings"].get("kind") == "diff_v1":
            return {k: record[k] for k in ("key", "settings", "data_sha256", "host")} | {"failed": "!"}
        return record

    text = spoilt(folder, tmp_path / "broken", change)
    assert "broke down" in text and "| token gate" in text and "| head gate" not in text
    assert "is above the mean of every transformer here" in text


@pytest.mark.slow
def test_baselines_belong_to_the_data_and_not_to_the_place_where_they_lie(folder, tmp_path):
    def moved(record):
        if "baselines" in record:
            return record | {"settings": record["settings"] | {"root": "/elsewhere"}}
        return record

    assert "*nearest neighbour*" in spoilt(folder, tmp_path / "moved", moved)


@pytest.mark.slow
def test_a_primary_endpoint_stays_on_its_data_set(folder, tmp_path):
    comparisons = json.loads((folder / "comparisons.json").read_text())
    runs = comparisons["gate"]["runs"]
    comparisons["gate"]["runs"] = {"needle": {label: ["0" * 16] * 2 for label in runs["digits"]}} | runs
    out = tmp_path / "other"
    out.mkdir()
    (out / "comparisons.json").write_text(json.dumps(comparisons))
    (out / "runs.jsonl").write_text((folder / "runs.jsonl").read_text())
    text = report(out, out / "page")[0].read_text(encoding="utf-8")
    assert "corrupted accuracy of token gate minus" not in text and "Of 8 runs 8 are missing" in text


@pytest.mark.slow
def test_costs_outlive_a_second_call_that_is_stopped(folder, monkeypatch):
    before = compare.read_comparisons(folder)["cost"]
    monkeypatch.setattr(compare, "costs", lambda by: 1 / 0)
    given = {"epochs": 1, "train_size": 300, "test_size": 60}
    with pytest.raises(ZeroDivisionError):
        compare.compare_study(folder, "cost", range(2), {}, given, jobs=1, dask=None)
    assert compare.read_comparisons(folder)["cost"]["cost"] == before["cost"]


@pytest.mark.slow
def test_a_language_is_compared_by_its_loss(tmp_path):
    (tmp_path / "text.txt").write_text("one two three " * 200, encoding="utf-8")
    out, root = tmp_path / "runs", tmp_path / "text.txt"
    tiny = {"data": "text", "root": root, "width": 8, "n-heads": 1, "depth": 1, "length": 16, "epochs": 1}
    assert main(["compare", *flags(tiny), "--kind", "softmax", "dgsa", "--seeds", "2", "--out", str(out)]) == 0
    text = report(out, out)[0].read_text(encoding="utf-8")
    assert "Primary endpoint, on text: test loss of softmax minus that of dgsa" in text


@pytest.mark.slow
def test_the_committed_page_says_what_the_committed_records_hold(tmp_path):
    docs = Path(__file__).parents[2] / "docs" / "evidence"
    page, again = ((at / "report.md").read_text(encoding="utf-8") for at in (docs, report(docs, tmp_path)[0].parent))
    assert again.strip() == page.split("## Pictures")[0].strip()
    assert not re.search(r"/(home|work|root|tmp)/", (docs / "runs.jsonl").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_missing_runs_are_counted(folder, tmp_path):
    part = tmp_path / "part"
    part.mkdir()
    (part / "comparisons.json").write_text((folder / "comparisons.json").read_text())
    (part / "runs.jsonl").write_text("".join((folder / "runs.jsonl").read_text().splitlines(True)[:3]))
    assert "are missing." in report(part, tmp_path / "page")[0].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--study", "gate", "--kind", "softmax", "dgsa"], "its grid is fixed"),
        (["--study", "gate", "--data", "digits"], "its grid is fixed"),
        (["--study", "gate", "--kind", "softmax"], "its grid is fixed"),
        (["--study", "one-key", "--spurious", "4"], "its grid is fixed"),
        (["--study", "gate", "--seed", "7"], "its grid is fixed"),
        (["--study", "noise", "--roots", "nowhere=x"], "nowhere"),
        (["--kind", "softmax", "nonsense"], "nonsense"),
        (["--data", "fashion-mnist"], "root is None"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused_before_it_begins(arguments, said, tmp_path, capsys):
    assert main(["compare", *arguments, "--out", str(tmp_path / "x")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "x" / "runs.jsonl").exists()


def test_an_unknown_study_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--study", "gates"])
    assert "gate" in capsys.readouterr().err


def test_a_comparison_is_written_down_before_its_first_run(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "run_grid", lambda *args, **how: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compare.compare_study(tmp_path, "gate", [0], {}, {}, jobs=1, dask=None)
    written = json.loads((tmp_path / "comparisons.json").read_text())["gate"]
    assert written["primary"] == ["corrupted accuracy", "token gate", "head gate"]
    assert list(written["runs"]) == ["digits"] and len(written["runs"]["digits"]["token gate"]) == 1
