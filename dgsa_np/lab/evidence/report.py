"""A page about the comparisons of a folder, twice: report.md with figures, and one report.html."""

import base64
import html
import re
from pathlib import Path

import numpy as np

from ...attention import KINDS
from ...files import write_whole
from .. import viz
from ..experiments import corruptions_of, markdown_table, with_interval
from ..settings import SettingsError
from . import pictures
from .compare import read_comparisons
from .grid import Planned, read_runs
from .pictures import figure_block
from .statistics import INTERVAL, comparisons, holm
from .studies import CLEAN, CORRUPTED, METRICS, VALID
from .tables import SECTIONS, Results

MISSING = {"failed": "missing"}


def report(folder, out) -> list:
    """Write report.md, report.html and figures/ to the folder out; returns the two paths.

    raises : SettingsError where the folder holds no comparison, or where its data sets have changed
    """
    folder, out = Path(folder), Path(out)
    named = read_comparisons(folder)
    if not named:
        raise SettingsError(f"{folder}: there is no comparisons.json, expected a folder that compare has written")
    records = {record["key"]: record for record in read_runs(folder / "runs.jsonl")}
    try:
        page = blocks_of(folder, named, records)
    except (LookupError, TypeError, ValueError, ArithmeticError, StopIteration) as error:
        said = "its records do not hold what a report shows: were they changed, or written by another version?"
        raise SettingsError(f"{folder}: {said} {error!r}") from error
    for _, name, png, _ in (block for block in page if block[0] == "figure"):
        write_whole(out / "figures" / f"{name}.png", png)
    write_whole(out / "report.md", "\n\n".join(map(markdown, page)) + "\n")
    write_whole(out / "report.html", PAGE.format("\n".join(map(as_html, page))))
    return [out / "report.md", out / "report.html"]


def blocks_of(folder, named, records) -> list:
    """The whole page, as blocks: (sort, content ...)."""
    sections = [study_section(name, comparison, records) for name, comparison in named.items()]
    contrasts = [contrast for _, of_study in sections for contrast in of_study]
    return [
        *opening(records.values()),
        *forest(contrasts),
        *overview([(name, c) for name, c in contrasts if c.primary]),
        *(block for blocks, _ in sections for block in blocks),
        *pictures.section(folder, records.values()),
    ]


# ----------------------------------------------------------------------------------------- sections


def opening(records) -> list:
    """What ran where."""
    seconds = [r["seconds"] for r in records if "seconds" in r]
    failed = sum("failed" in r for r in records)
    hosts = sorted({", ".join(f"{k} {v}" for k, v in r["host"].items()) for r in records})
    return [
        ("h1", "What the gate does"),
        (
            "p",
            f"{len(seconds)} trained models, {sum(seconds) / 3600:.1f} hours of training on one thread each; {failed} "
            "broke down. ± and brackets: 95 % intervals over seeds (Student's t). Tests are paired by seed.",
        ),
        ("p", f"Computed on: {'; '.join(hosts)}."),
    ]


def overview(primaries) -> list:
    """The primary endpoints of all studies, corrected for their number as well."""
    head = ["study", "primary endpoint", "difference", "p", f"p, Holm over {len(primaries)}", "d_z", "seeds"]
    rows = (
        [name, f"{c.metric.name}: {versus(c)}, {c.data}", *shown(c, number(p)), f"{c.n}"]
        for (name, c), p in zip(primaries, holm([c.p for _, c in primaries]), strict=True)
    )
    return [("h2", "The primary endpoints"), ("table", [head, *rows])] if primaries else []


def forest(contrasts) -> list:
    """One picture of the contrasts of all studies that have a margin, on all their data sets."""
    shown = [(name, c) for name, c in contrasts if c.margin is not None]
    if not shown:
        return []
    rows = [(f"{name}, {c.data}: {versus(c)}", c.mean, c.half, c.half_items) for name, c in shown]
    caption = "The contrast of each study on each of its data sets, in points of accuracy."
    return [figure_block("forest", viz.forest_figure(rows, shown[0][1].margin, "points"), caption)]


def study_section(name, comparison, records) -> tuple:
    """The blocks of one study, and [(name, its contrast on a data set)], the primary one first."""
    tables = {
        data: {label: [records.get(k, MISSING) for k in keys] for label, keys in by.items()}
        for data, by in comparison["runs"].items()
    }
    metrics, asked = [METRICS[m] for m in comparison["metrics"]], comparison["primary"]
    made = comparisons(tables, metrics, (METRICS[asked[0]], *asked[1:]), comparison.get("margin")) if asked else []
    primary, others = ([c for c in made if c.primary == which] for which in (True, False))
    blocks = [("h2", name), ("p", comparison["question"]), *(("p", sentence(c)) for c in primary)]
    for data, cells in tables.items():
        ended, said = what_ended(cells)
        blocks += [("h3", f"{name}: {data}"), *said]
        if ended:
            found = Results(name, data, ended, comparison.get("cost", {}).get(data, {}))
            blocks += accuracies(found, metrics, baselines_of(ended, records))
            blocks += chosen(ended) if metrics == [VALID] else []
            blocks += [block for section in comparison["inside"] for block in SECTIONS[section](found)]
    if others:
        blocks += [("h3", f"{name}: all other comparisons, Holm over {len(others)}"), ("table", tests(others))]
    return blocks, [(name, c) for c in made if [c.metric.name, c.label, c.other] == asked]


def what_ended(cells) -> tuple:
    """{label: the runs that came to an end}, and what is said of the others."""
    ended = {label: [r for r in runs if "failed" not in r] for label, runs in cells.items()}
    runs = [r for some in cells.values() for r in some]
    counts = {"missing": runs.count(MISSING), "broke down": sum("failed" in r for r in runs) - runs.count(MISSING)}
    return (
        {label: some for label, some in ended.items() if some},
        [("p", f"Of {len(runs)} runs {n} {'are ' * (how == 'missing')}{how}.") for how, n in counts.items() if n],
    )


def baselines_of(cells, records) -> dict:
    """{name: as much of a record as the trivial classifiers on the data of these cells have}"""
    runs = [Planned(r["settings"], r["data_sha256"]) for several in cells.values() for r in several]
    which = {run.baselines.key for run in runs}  # one, unless the cells saw different data
    found = records.get(which.pop(), {}).get("baselines", {}) if len(which) == 1 else {}
    return {  # the first level of any corruption is none
        name: {"clean": {"accuracy": next(iter(accuracy.values()))[0]}, "accuracy": accuracy}
        for name, accuracy in found.items()
    }


def accuracies(found: Results, metrics, baselines) -> list:
    """What a study measures first on one data set, beside trivial baselines."""
    if not metrics:
        return []
    baselines = {} if metrics == [VALID] else baselines
    blocks = [("table", results(found.cells, metrics, baselines)), *beaten(found.cells, baselines, metrics)]
    return blocks + (curves(found, baselines) if CORRUPTED in metrics else [])


def chosen(cells) -> list:
    """Of each mechanism the rate that is best on validation data, and whether it is at an edge."""
    said, of = [], {label: runs[0]["settings"] for label, runs in cells.items()}
    for kind in dict.fromkeys(settings["kind"] for settings in of.values()):
        rates = {label: settings["lr"] for label, settings in of.items() if settings["kind"] == kind}
        most = max(len(cells[label]) for label in rates)  # where a seed broke down, nothing is chosen
        best = max(rates, key=lambda label: (len(cells[label]) == most, np.mean([VALID.of(r) for r in cells[label]])))
        edge = rates[best] in (min(rates.values()), max(rates.values()))
        said.append(f"{kind}: lr {rates[best]:g}, {'at the edge of' if edge else 'inside'} what was tried")
    return [("p", f"Chosen on validation data alone: {'; '.join(said)}.")]


def results(cells, metrics, baselines) -> list:
    """A row per cell, and a row per trivial baseline."""
    means = {label: [mean_and_half([m.of(r) for r in runs]) for m in metrics] for label, runs in cells.items()}
    reached = {
        name: [f"{m.of(record):.2f}" if m in (CLEAN, CORRUPTED) else "" for m in metrics]
        for name, record in baselines.items()
    }
    return [
        ["", "parameters", "seeds", *(f"{m.name}{f', {m.unit}' if m.unit else ''}" for m in metrics)],
        *([label, f"{runs[0]['parameters']:,}", f"{len(runs)}", *means[label]] for label, runs in cells.items()),
        *([f"*{name}*", "", "", *figures] for name, figures in reached.items()),
    ]


def beaten(cells, baselines, metrics) -> list:
    """Said where a trivial baseline is better than all transformers are on average."""
    said = []
    for metric in [m for m in (CLEAN, CORRUPTED) if m in metrics and baselines]:
        best = max(np.mean([metric.of(r) for r in runs]) for runs in cells.values())
        said += [
            f"{name} is above the mean of every transformer here: "
            f"{metric.name} {metric.of(record):.2f} % against {best:.2f} %."
            for name, record in baselines.items()
            if metric.of(record) > best
        ]
    return [("p", " ".join(said))] if said else []


def curves(found: Results, baselines) -> list:
    """Accuracy under each corruption, and against its levels."""
    settings = next(iter(found.cells.values()))[0]["settings"]
    levels = corruptions_of(settings)
    by = {
        label: {kind: np.array([r["accuracy"][kind] for r in runs]) for kind in levels}
        for label, runs in (found.cells | {name: [record] for name, record in baselines.items()}).items()
    }
    rows = (
        [label, *(mean_and_half(100 * a[:, 1:].mean(axis=1)) for a in accuracies.values())]
        for label, accuracies in by.items()
    )
    figure = viz.robustness_figure(levels, by, 1 / settings["n_out"], KINDS, INTERVAL)
    caption = f"Test accuracy on {found.data} against the level of each corruption."
    return [
        ("table", [["corrupted accuracy, %, mean over levels", *levels], *rows]),
        *([("table", corruption_errors(by))] if settings.get("corruptions") else []),
        figure_block(f"{found.study}-{found.data}", figure, caption),
    ]


def corruption_errors(by) -> list:
    """mCE and relative mCE, of Hendrycks and Dietterich, with the first cell in AlexNet's place.

    CE is the error under a corruption, summed over severities, over that of the first cell; for the
    relative one the error on clean inputs is subtracted from each.
    """
    errors = {label: {kind: 1 - a.mean(axis=0) for kind, a in by_kind.items()} for label, by_kind in by.items()}
    first = next(iter(errors))
    rows = [[f"per cent of {first}", "mCE", "relative mCE"]]
    for label, mine in errors.items():
        pairs = [(mine[kind], errors[first][kind]) for kind in mine]
        with np.errstate(invalid="ignore", divide="ignore"):  # where the first cell makes no error
            ce = np.mean([a[1:].sum() / b[1:].sum() for a, b in pairs])
            relative = np.mean([(a[1:] - a[0]).sum() / (b[1:] - b[0]).sum() for a, b in pairs])
        rows.append([label, *(f"{100 * x:.1f}" if np.isfinite(x) else "-" for x in (ce, relative))])
    return rows


def tests(made) -> list:
    could = [["could be seen"], *([seen(c)] for c in made)] if made[0].margin is not None else [[]] * (1 + len(made))
    rows = [["data", "metric", "comparison", "difference", "p", "p, Holm", "d_z", "significant"]] + [
        [c.data, c.metric.name, versus(c), *shown(c, number(c.holm)), "yes" if c.significant else "no"] for c in made
    ]
    return [row + last for row, last in zip(rows, could, strict=True)]


# -------------------------------------------------------------------------------------------- words


def versus(c):
    return f"{c.label} - {c.other}" if c.other is not None else f"{c.label} - 0"


def difference(c):
    unit = {"%": " points", "": ""}.get(c.metric.unit, f" {c.metric.unit}")
    digits = 2 if unit else 3
    return f"{c.mean:+.{digits}f}{unit} [{c.mean - c.half:+.{digits}f}, {c.mean + c.half:+.{digits}f}]"


def shown(c, corrected) -> list:
    """Difference, p, p corrected, effect size."""
    return [difference(c), number(c.p), corrected, f"{c.effect:.2f}"]


def number(p):
    return "-" if np.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.995 else "1"


def mean_and_half(values) -> str:
    return with_interval(values, 2 if abs(np.mean(values)) >= 1 else 3)


def sentence(c) -> str:
    """The primary endpoint in words, whatever it is."""
    against = f"that of {c.other}" if c.other is not None else "0"
    chance = "more than chance between seeds explains" if c.significant else "which chance between seeds can explain"
    return (
        f"Primary endpoint, on {c.data}: {c.metric.name} of {c.label} minus {against} is {difference(c)}, "
        f"p {'' if c.p < 1e-4 else '= '}{number(c.p)}, d_z = {c.effect:.2f}, {c.n} seeds: taken by itself, {chance}."
        f"{over_items(c)}{verdict(c)}"
    )


def seen(c):
    """The smallest difference that would have been seen."""
    return "-" if np.isnan(c.detectable) else f"{c.detectable:.2g}"


def over_items(c) -> str:
    """The interval that holds for other test items too."""
    if np.isnan(c.half_items):
        return ""
    low, high = c.mean - c.half_items, c.mean + c.half_items
    return f" Over seeds and test items together: [{low:+.2f}, {high:+.2f}]."


def verdict(c) -> str:
    """What may be said where no difference was found, by the margin of the study."""
    if c.significant or c.margin is None or np.isnan(c.detectable):
        return ""
    least = f"the smallest difference that these seeds would show (with 80 % power) is {c.detectable:.1f} points"
    if abs(c.mean) + c.half < c.margin:
        return f" Equivalent within {c.margin:g} point; {least}."
    return f" Cannot tell whether they are within {c.margin:g} point of each other; {least}."


# ------------------------------------------------------------------------------------------- output

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>What the gate does</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; margin: 1rem 0; font-size: 0.9rem; font-variant-numeric: tabular-nums }}
th, td {{ border-bottom: 1px solid #ccc; padding: 0.2rem 0.7rem; text-align: left }}
img {{ max-width: 100% }}
figcaption {{ color: #555; font-size: 0.9rem }}
</style>
{}
</html>
"""
MARKDOWN = {"h1": "# {}", "h2": "## {}", "h3": "### {}", "p": "{}", "figure": "![{2}](figures/{0}.png)\n\n*{2}*"}
HTML_FIGURE = '<figure><img alt="{1}" src="data:image/png;base64,{0}"><figcaption>{1}</figcaption></figure>'


def markdown(block) -> str:
    sort, *content = block
    if sort == "table":
        return markdown_table([[no_html(cell).replace("|", "\\|") for cell in row] for row in content[0]])
    return MARKDOWN[sort].format(*(no_html(part) if isinstance(part, str) else part for part in content))


def no_html(text) -> str:
    """Text in which Markdown finds no tag of HTML."""
    return re.sub(r"<(?=[\w/!?])", "&lt;", text)


def as_html(block) -> str:
    sort, *content = block
    if sort == "table":
        return f"<table>{''.join(html_row(row, 'td' if i else 'th') for i, row in enumerate(content[0]))}</table>"
    if sort == "figure":
        return HTML_FIGURE.format(base64.b64encode(content[1]).decode(), html.escape(content[2]))
    return f"<{sort}>{html.escape(content[0])}</{sort}>"


def html_row(cells, tag) -> str:
    escaped = (html.escape(cell.strip("*")) for cell in cells)
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in escaped)}</tr>"
