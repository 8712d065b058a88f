"""`dgsa-np compare` and its page: it says what the records hold, and what is missing or mixed."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.runs import flags
from support.training import TINY

from dgsa_np.data import CORRUPTIONS
from dgsa_np.lab.cli import main
from dgsa_np.lab.evidence import compare, grid, studies
from dgsa_np.lab.evidence import report as page_of
from dgsa_np.lab.evidence.report import report
from dgsa_np.lab.evidence.statistics import Comparison


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two comparisons of tiny models: a study on its own data, and a free grid."""
    out = tmp_path_factory.mktemp("evidence") / "runs"
    small = ["--epochs", "1", "--train-size", "300", "--test-size", "60", "--depth", "1", "--out", str(out)]
    for name in ("token-gate", "smoothing"):
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
    for comparison in named.values():
        of = [studies.METRICS[name].of for name in comparison["metrics"]]
        for by in comparison["runs"].values():
            for label, keys in by.items():
                means = [np.mean([metric(records[k]) for k in keys]) for metric in of]
                shown = [f"{mean:.{2 if abs(mean) >= 1 else 3}f}" for mean in means]
                rows = (line for line in text.splitlines() if line.startswith(f"| {label} |"))
                assert any(all(figure in row for figure in shown) for row in rows)
    assert "Primary endpoint, on digits: corrupted accuracy of token gate minus that of head gate is" in text
    assert "(above 0, token gate is more accurate)" in text and "(above 0, dgsa has tokens more alike)" in text
    pictures = re.findall(r"\(figures/(.*?\.png)\)", text)
    assert len(pictures) >= 5 and all((reported / "figures" / name).stat().st_size > 5000 for name in pictures)
    assert "digits-rollout-clean.png" in pictures and "token-gate-digits-gates.png" in pictures
    assert page.count('src="data:image/png;base64,') == len(pictures)
    assert not re.search(r'(src|href)="(?!data:)', page)


@pytest.mark.slow
def test_a_trivial_baseline_that_wins_is_said(reported):
    text = (reported / "report.md").read_text(encoding="utf-8")
    said = "nearest neighbour is above the mean of every transformer here: corrupted accuracy"
    assert said in text  # one epoch is not enough


@pytest.mark.slow
def test_a_page_is_not_written_about_nothing(tmp_path):
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_runs_on_other_data_are_none_of_the_runs_that_are_compared(folder, tmp_path):
    text = spoilt(folder, tmp_path / "mixed", lambda record: record | {"data_sha256": "0" * 64})
    assert "Of 12 runs 12 are missing." in text and "Of 12 runs" not in spoilt(folder, tmp_path / "same", dict)


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

    assert "nearest neighbour (trivial)" in spoilt(folder, tmp_path / "moved", moved)


@pytest.mark.slow
def test_a_primary_endpoint_stays_on_its_data_set(folder, tmp_path):
    comparisons = json.loads((folder / "comparisons.json").read_text())
    runs = comparisons["token-gate"]["runs"]
    comparisons["token-gate"]["runs"] = {"needle": {label: ["0" * 16] * 2 for label in runs["digits"]}} | runs
    out = tmp_path / "other"
    out.mkdir()
    (out / "comparisons.json").write_text(json.dumps(comparisons))
    (out / "runs.jsonl").write_text((folder / "runs.jsonl").read_text())
    text = report(out, out / "page")[0].read_text(encoding="utf-8")
    assert "corrupted accuracy of token gate minus" not in text and "Of 12 runs 12 are missing" in text


@pytest.mark.slow
def test_a_language_is_compared_by_its_loss(tmp_path):
    (tmp_path / "text.txt").write_text("one two three " * 200, encoding="utf-8")
    out, root = tmp_path / "runs", tmp_path / "text.txt"
    tiny = {"data": "text", "root": root, "width": 8, "n-heads": 1, "depth": 1, "length": 16, "epochs": 1}
    assert main(["compare", *flags(tiny), "--kind", "softmax", "dgsa", "--seeds", "2", "--out", str(out)]) == 0
    text = report(out, out)[0].read_text(encoding="utf-8")
    assert "Primary endpoint, on text: test loss of softmax minus that of dgsa" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["second", "smoothing"])
def test_the_committed_page_says_what_the_committed_records_hold(name, tmp_path):
    docs = Path(__file__).parents[2] / "docs" / "evidence" / name
    page, again = ((at / "report.md").read_text(encoding="utf-8") for at in (docs, report(docs, tmp_path)[0].parent))
    assert again == page and (docs / "report.html").stat().st_size < 1.5e6
    pictures = {path.name for path in (docs / "figures").iterdir()}
    assert pictures == set(re.findall(r"\(figures/(.*?\.png)\)", page)) and len(pictures) <= 12
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
        (["--study", "token-gate", "--kind", "softmax", "dgsa"], "its grid is fixed"),
        (["--study", "token-gate", "--data", "digits"], "its grid is fixed"),
        (["--study", "token-gate", "--kind", "softmax"], "its grid is fixed"),
        (["--study", "clean", "--contrast", "dgsa", "softmax"], "is fixed"),
        (["--study", "token-gate", "--seed", "7"], "its grid is fixed"),
        (["--study", "clean", "--roots", "nowhere=x"], "nowhere"),
        (["--kind", "softmax", "nonsense"], "nonsense"),
        (["--kind", "softmax", "dgsa", "--contrast", "dgsa", "nothing"], "'softmax', 'dgsa'"),
        (["--data", "fashion-mnist"], "root is None"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused_before_it_begins(arguments, said, tmp_path, capsys):
    assert main(["compare", *arguments, "--out", str(tmp_path / "x")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "x" / "runs.jsonl").exists()


def test_an_unknown_study_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--study", "token-gates"])
    assert "gate" in capsys.readouterr().err


def test_a_comparison_is_written_down_before_its_first_run(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "run_grid", lambda *args, **how: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compare.compare_study(tmp_path, "token-gate", [0], {}, {}, jobs=1, dask=None)
    written = json.loads((tmp_path / "comparisons.json").read_text())["token-gate"]
    assert written["primary"] == ["corrupted accuracy", "token gate", "head gate"]
    assert list(written["runs"]) == ["digits"] and len(written["runs"]["digits"]["token gate"]) == 1


# ---------------------------------------------------------------------------- what may be concluded


def compared(mean, half, p, **more):
    given = {"n": 10, "effect": 0.1, "primary": True, "detectable": 0.84, "margin": 1.0} | more
    return Comparison("digits", studies.CORRUPTED, "dgsa", "softmax", mean=mean, half=half, p=p, **given)


def test_a_difference_that_is_found_is_left_as_it_is():
    said = page_of.sentence(compared(2.0, 0.5, 0.001))
    assert "more than chance between seeds explains" in said
    assert "Equivalent" not in said and "Cannot tell" not in said


def test_two_that_differ_by_less_than_the_margin_are_equivalent():
    for mean in (0.3, -0.3):
        said = page_of.sentence(compared(mean, 0.69, 0.4))
        assert "chance between seeds can explain" in said and "Equivalent within 1 point" in said
        assert "the smallest difference that these seeds would show (with 80 % power) is 0.8 points" in said
        assert "Cannot tell" not in said


def test_an_interval_that_leaves_the_margin_says_that_nobody_can_tell():
    for mean in (0.3, -0.3):
        said = page_of.sentence(compared(mean, 0.71, 0.4))
        assert "Cannot tell whether they are within 1 point of each other" in said and "is 0.8 points" in said
        assert "Equivalent" not in said


def test_without_a_margin_or_with_one_seed_nothing_is_concluded():
    for c in (compared(0.3, 0.2, 0.4, margin=None), compared(0.3, np.nan, np.nan, detectable=np.nan, n=1)):
        assert page_of.verdict(c) == ""


def test_the_interval_over_items_is_said_where_there_is_one():
    said = page_of.sentence(compared(0.3, 0.2, 0.4, half_items=0.75))
    assert " Over seeds and test items together: [-0.45, +1.05]." in said
    assert "test items" not in page_of.sentence(compared(0.3, 0.2, 0.4))


# ------------------------------------------------------------------------------------------ a sweep


def kept(run, valid, test=0.123):
    """The record of a run that was not made, right in so many of 1,000 items."""
    settings = {"key": run.key, **run._asdict(), "host": {"machine": "none"}}
    if "kind" not in run.settings:
        return settings | {"baselines": {"nearest": {name: [0.999] * 6 for name in CORRUPTIONS["vision"]}}}
    figures = {"loss": 1.0, "accuracy": test}
    measured = {"valid": {"loss": 1.0, "accuracy": valid(run.settings)}, "clean": figures}
    measured["accuracy"] = {name: [test] * 6 for name in CORRUPTIONS["vision"]}
    return settings | {"parameters": 9, "steps": 1, "seconds": 1.0, "epochs": []} | measured


RATES = [0.1, 0.2, 0.3]
BEST = {"softmax": 0.2, "dgsa": 0.3, "diff_v1": 0.1}  # the last two at an edge


def valid(settings):
    """Falls with the distance from the best rate; the second seed is always worse."""
    return 0.9 - abs(settings["lr"] - BEST[settings["kind"]]) - 0.02 * settings["seed"]


@pytest.fixture
def swept(tmp_path, monkeypatch):
    """A sweep over rates and mechanisms, with the runs that were asked for."""

    def run_grid(folder, runs, **how):
        everything = [*runs, runs[0].baselines]
        lines = [json.dumps(kept(run, valid)) + "\n" for run in everything]
        (folder / "runs.jsonl").write_text("".join(lines))

    monkeypatch.setattr(compare, "run_grid", run_grid)
    rates = ["--kind", *BEST, "--lr", *map(str, RATES)]
    assert main(["compare", *flags(TINY), *rates, "--seeds", "2", "--select", "valid", "--out", str(tmp_path)]) == 0
    return tmp_path


def test_a_sweep_compares_nothing_and_shows_validation_data_alone(swept):
    ((_, comparison),) = compare.read_comparisons(swept).items()
    assert (comparison["primary"], comparison["metrics"]) == (None, ["validation accuracy"])
    text = report(swept, swept)[0].read_text(encoding="utf-8")
    assert "validation accuracy" in text and text.count("| 89.00 ±") == 3  # the best of each mechanism
    for told in ("12.3", "clean accuracy", "corrupted accuracy", "Holm", "difference"):
        assert told not in text.replace("The primary endpoints", ""), told


def test_a_sweep_says_which_rate_was_chosen_and_whether_it_is_at_the_edge(swept):
    text = report(swept, swept)[0].read_text(encoding="utf-8")
    edge = "at the edge of what was tried"
    chosen = f"softmax: lr 0.2, inside what was tried; dgsa: lr 0.3, {edge}; diff_v1: lr 0.1, {edge}"
    assert f"Chosen on validation data alone: {chosen}." in text


def test_no_test_figure_stands_in_a_sweep_where_a_baseline_wins(swept):
    """The nearest neighbour of this sweep is right in 99.9 % of the test items."""
    text = report(swept, swept)[0].read_text(encoding="utf-8")
    assert "99.9" not in text and "above the mean of every transformer" not in text


def test_a_grid_that_is_no_sweep_shows_its_test_figures(swept):
    named = compare.read_comparisons(swept)
    (name,) = named
    named[name] |= {"metrics": ["clean accuracy"]}
    (swept / "comparisons.json").write_text(json.dumps(named))
    text = report(swept, swept)[0].read_text(encoding="utf-8")
    assert "12.30" in text and "99.90" in text and "Chosen on validation data" not in text
