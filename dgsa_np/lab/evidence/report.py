"""A page about the comparisons of a folder, twice: report.md with figures, and one report.html."""

import base64
import re
from pathlib import Path

import numpy as np

from ...files import write_whole
from .. import viz
from ..settings import SettingsError
from . import pictures
from .compare import read_comparisons
from .grid import Planned, read_runs
from .sections import SECTIONS, Part, Results, drawn, mean_and_half
from .statistics import comparisons, holm
from .studies import CLEAN, CORRUPTED, METRICS, VALID

MISSING = {"failed": "missing"}


def report(folder, out) -> list:
    """Write report.md, report.html and figures/ to the folder out; returns the two paths.

    raises : SettingsError where the folder holds no comparison, where its records do not hold what
             is shown, and without Jinja2
    """
    folder, out, templates = Path(folder), Path(out), environment()
    named = read_comparisons(folder)
    if not named:
        raise SettingsError(f"{folder}: there is no comparisons.json, expected a folder that compare has written")
    records = {record["key"]: record for record in read_runs(folder / "runs.jsonl")}
    try:
        page = page_of(folder, named, records)
    except (LookupError, TypeError, ValueError, ArithmeticError, StopIteration) as error:
        said = "its records do not hold what a report shows: were they changed, or written by another version?"
        raise SettingsError(f"{folder}: {said} {error!r}") from error
    for figure in figures_of(page):
        write_whole(out / "figures" / f"{figure.name}.png", figure.png)
    paths = [out / "report.md", out / "report.html"]
    for path in paths:
        write_whole(path, templates.get_template(f"{path.name}.j2").render(page=page))
    return paths


def environment():
    """Where the two templates are, and what they may call."""
    try:
        from jinja2 import Environment, PackageLoader
    except ImportError as error:
        raise SettingsError('report needs Jinja2: pip install "dgsa-np[report]"') from error
    found = Environment(
        loader=PackageLoader(__name__, "."),
        autoescape=lambda name: ".html" in name,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"base64": lambda png: base64.b64encode(png).decode(), "no_html": no_html, "cell": cell}
    return found


def no_html(text) -> str:
    """Text in which Markdown finds no tag of HTML."""
    return re.sub(r"<(?=[\w/!?])", "&lt;", text)


def cell(text) -> str:
    """Of a table in Markdown."""
    return no_html(text).replace("|", "\\|")


def figures_of(part) -> list:
    return [*part.figures, *(figure for inner in part.parts for figure in figures_of(inner))]


# ------------------------------------------------------------------------------------------- parts


def page_of(folder, named, records) -> Part:
    studies = [study_part(name, comparison, records) for name, comparison in named.items()]
    contrasts = [contrast for _, of_study in studies for contrast in of_study]
    return Part(
        next(iter(named.values()))["question"] if len(named) == 1 else ", ".join(named),
        opening(records.values()),
        figures=forest(contrasts),
        parts=(
            *overview([(name, c) for name, c in contrasts if c.primary]),
            *(part for part, _ in studies),
            *pictures.section(folder, records.values()),
        ),
    )


def opening(records) -> tuple:
    """What ran where."""
    seconds = [r["seconds"] for r in records if "seconds" in r]
    failed = sum("failed" in r for r in records)
    hosts = sorted({", ".join(f"{k} {v}" for k, v in r["host"].items()) for r in records})
    return (
        f"{len(seconds)} trained models, {sum(seconds) / 3600:.1f} hours of training on one thread each; {failed} "
        "broke down. ± and brackets: 95 % intervals over seeds (Student's t). Tests are paired by seed.",
        f"Computed on: {'; '.join(hosts)}.",
    )


def forest(contrasts) -> tuple:
    """One picture of the contrasts of all studies that have a margin, on all their data sets."""
    shown = [(name, c) for name, c in contrasts if c.margin is not None]
    if not shown:
        return ()
    rows = [(f"{name}, {c.data}: {versus(c)}", c.mean, c.half, c.half_items) for name, c in shown]
    caption = "The contrast of each study on each of its data sets, in points of accuracy."
    return (drawn("forest", viz.forest_figure(rows, shown[0][1].margin, "points"), caption),)


def overview(primaries) -> tuple:
    """The primary endpoints of all studies, corrected for their number as well."""
    head = ["study", "primary endpoint", "difference", "p", f"p, Holm over {len(primaries)}", "d_z", "seeds"]
    rows = [
        [name, f"{c.metric.name}: {versus(c)}, {c.data}", *shown(c, number(p)), f"{c.n}"]
        for (name, c), p in zip(primaries, holm([c.p for _, c in primaries]), strict=True)
    ]
    return (Part("The primary endpoints", tables=([head, *rows],)),) if primaries else ()


def study_part(name, comparison, records) -> tuple:
    """One study, and [(name, its contrast on a data set)], the primary one first."""
    tables = {
        data: {label: [records.get(k, MISSING) for k in keys] for label, keys in by.items()}
        for data, by in comparison["runs"].items()
    }
    metrics, asked = [METRICS[m] for m in comparison["metrics"]], comparison["primary"]
    made = comparisons(tables, metrics, (METRICS[asked[0]], *asked[1:]), comparison.get("margin")) if asked else []
    primary, others = ([c for c in made if c.primary == which] for which in (True, False))
    parts = [part for data in tables for part in data_parts(name, data, tables[data], comparison, metrics, records)]
    if others:
        parts.append(Part(f"{name}: all other comparisons, Holm over {len(others)}", tables=(tests(others),)))
    part = Part(name, (comparison["question"], *map(sentence, primary)), parts=tuple(parts))
    return part, [(name, c) for c in made if [c.metric.name, c.label, c.other] == asked]


def data_parts(name, data, cells, comparison, metrics, records) -> list:
    """What a study found on one data set."""
    ended, said = what_ended(cells)
    if not ended:
        return [Part(f"{name}: {data}", said)]
    _, *contrast = comparison["primary"] or (None, None, None)
    baselines = {} if metrics == [VALID] else baselines_of(ended, records)
    is_first = data == next(iter(comparison["runs"]))
    found = Results(name, data, ended, baselines, tuple(contrast), comparison.get("margin"), is_first)
    more = chosen(ended) if metrics == [VALID] else beaten(found, metrics)
    first = Part(f"{name}: {data}", (*said, *more), (results(found, metrics),))
    return [first, *(SECTIONS[section](found) for section in comparison["inside"])]


def what_ended(cells) -> tuple:
    """{label: the runs that came to an end}, and what is said of the others."""
    ended = {label: [r for r in runs if "failed" not in r] for label, runs in cells.items()}
    runs = [r for some in cells.values() for r in some]
    counts = {"missing": runs.count(MISSING), "broke down": sum("failed" in r for r in runs) - runs.count(MISSING)}
    said = (f"Of {len(runs)} runs {n} {'are ' * (how == 'missing')}{how}." for how, n in counts.items() if n)
    return {label: some for label, some in ended.items() if some}, tuple(said)


def baselines_of(cells, records) -> dict:
    """{name: as much of a record as the trivial classifiers on the data of these cells have}"""
    runs = [Planned(r["settings"], r["data_sha256"]) for several in cells.values() for r in several]
    which = {run.baselines.key for run in runs}  # one, unless the cells saw different data
    found = records.get(which.pop(), {}).get("baselines", {}) if len(which) == 1 else {}
    return {  # the first level of any corruption is none
        name: {"clean": {"accuracy": next(iter(accuracy.values()))[0]}, "accuracy": accuracy}
        for name, accuracy in found.items()
    }


def chosen(cells) -> list:
    """Of each mechanism the rate that is best on validation data, and whether it is at an edge."""
    said, of = [], {label: runs[0]["settings"] for label, runs in cells.items()}
    for kind in dict.fromkeys(settings["kind"] for settings in of.values()):
        rates = {label: settings["lr"] for label, settings in of.items() if settings["kind"] == kind}
        most = max(len(cells[label]) for label in rates)  # where a seed broke down, nothing is chosen
        best = max(rates, key=lambda label: (len(cells[label]) == most, np.mean([VALID.of(r) for r in cells[label]])))
        edge = rates[best] in (min(rates.values()), max(rates.values()))
        said.append(f"{kind}: lr {rates[best]:g}, {'at the edge of' if edge else 'inside'} what was tried")
    return [f"Chosen on validation data alone: {'; '.join(said)}."]


def results(found: Results, metrics) -> list:
    """A row per cell, and a row per trivial baseline."""
    cells = found.cells
    means = {label: [mean_and_half([m.of(r) for r in runs]) for m in metrics] for label, runs in cells.items()}
    reached = {
        f"{name} (trivial)": [f"{m.of(record):.2f}" if m in (CLEAN, CORRUPTED) else "" for m in metrics]
        for name, record in found.baselines.items()
    }
    return [
        ["", "parameters", "seeds", *(f"{m.name}{f', {m.unit}' if m.unit else ''}" for m in metrics)],
        *([label, f"{runs[0]['parameters']:,}", f"{len(runs)}", *means[label]] for label, runs in cells.items()),
        *([name, "", "", *figures] for name, figures in reached.items()),
    ]


def beaten(found: Results, metrics) -> list:
    """Said where a trivial baseline is better than all transformers are on average."""
    said = []
    for metric in [m for m in (CLEAN, CORRUPTED) if m in metrics and found.baselines]:
        best = max(np.mean([metric.of(r) for r in runs]) for runs in found.cells.values())
        said += [
            f"{name} is above the mean of every transformer here: "
            f"{metric.name} {metric.of(record):.2f} % against {best:.2f} %."
            for name, record in found.baselines.items()
            if metric.of(record) > best
        ]
    return said


def tests(made) -> list:
    could = [["could be seen"], *([seen(c)] for c in made)] if made[0].margin is not None else [[]] * (1 + len(made))
    rows = [["data", "metric", "comparison", "difference", "p", "p, Holm", "d_z", "significant"]] + [
        [c.data, c.metric.name, versus(c), *shown(c, number(c.holm)), "yes" if c.significant else "no"] for c in made
    ]
    return [row + last for row, last in zip(rows, could, strict=True)]


# -------------------------------------------------------------------------------------------- words


def versus(c):
    return f"{c.label} - {c.other}"


def difference(c):
    unit = {"%": " points", "": ""}.get(c.metric.unit, f" {c.metric.unit}")
    digits = 2 if unit else 3
    return f"{c.mean:+.{digits}f}{unit} [{c.mean - c.half:+.{digits}f}, {c.mean + c.half:+.{digits}f}]"


def shown(c, corrected) -> list:
    """Difference, p, p corrected, effect size."""
    return [difference(c), number(c.p), corrected, f"{c.effect:.2f}"]


def number(p):
    return "-" if np.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.995 else "1"


def sentence(c) -> str:
    """The primary endpoint in words, whatever it is."""
    chance = "more than chance between seeds explains" if c.significant else "which chance between seeds can explain"
    return (
        f"Primary endpoint, on {c.data}: {c.metric.name} of {c.label} minus that of {c.other} is {difference(c)} "
        f"(above 0, {c.label} {c.metric.above}), p {'' if c.p < 1e-4 else '= '}{number(c.p)}, d_z = {c.effect:.2f}, "
        f"{c.n} seeds: taken by itself, {chance}.{over_items(c)}{verdict(c)}"
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
