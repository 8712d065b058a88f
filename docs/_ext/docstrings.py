"""Docstrings as they are written: prose as prose, formulas and tables of arguments as they stand.

Below the first line stand the equation, with its status, and the notebooks that state it.
"""

import inspect
import re
from dataclasses import is_dataclass
from pathlib import Path
from textwrap import dedent

from labels import LABEL, in_notebook, in_table, notebooks


def plain(text):
    """Text that reStructuredText takes as it is; pages of docs/ become links."""
    escaped = re.sub(r"([\\`*_|<>:\[\]])", r"\\\1", text)
    return re.sub(r"docs/(\w+(?:\\_\w+)*)\.md", lambda m: f":doc:`/docs/{m[1]}`".replace("\\", ""), escaped)


def is_prose(paragraph):
    """Neither indented nor in columns, and no list of several: "q : (B, H, T, d)"."""
    several = "\n" in paragraph and re.search(r"^ |^[\w, ]+ : |^(returns|raises)\b", paragraph, re.MULTILINE)
    return not (several or re.search(r"^ |\S  +\S", paragraph))


def rendered(paragraph):
    if is_prose(paragraph):
        return plain(paragraph).splitlines()
    first, _, rest = paragraph.partition("\n")
    if first.endswith(":") and re.fullmatch(r"( .*\n?)+", rest):
        return [plain(first), "", *rendered(rest)]
    return ["::", "", *("    " + line for line in dedent(paragraph).splitlines())]


def equation_and_notebooks(app, name, text):
    """The parts of the line of links: labels, and notebooks that state them or use the function."""
    said = LABEL.search(text)  # [eq:clip, eq:adamw, published]
    labels = re.findall(r"eq:([\w-]+)", said[0]) if said else []
    parts = [f":ref:`eq\\:{label} <{in_table(label)}>`" for label in labels]
    if said:
        parts.append(plain(re.sub(r"\[?(eq:[\w-]+,? ?)+", "", said[0]).rstrip("]")))
    known = notebooks(Path(app.srcdir) / "notebooks")
    stated = [(stem, label) for label in labels for stem, (_, source) in known.items() if f"eq:{label}," in source]
    here = [f":ref:`{plain(known[stem][0])} <{in_notebook(label, stem)}>`" for stem, label in stated]
    if here:
        return [*parts, "notebooks: " + ", ".join(here)]
    *modules, function = name.split(".")
    call = re.compile(rf"(?:^|[^.\w]|\b(?:{'|'.join(modules)})\.){function}\(", re.MULTILINE)
    used = [stem for stem, (_, source) in known.items() if call.search(source)][:4]
    links = [f":doc:`{plain(known[stem][0])} </notebooks/{stem}>`" for stem in used]
    return [*parts, "used in: " + ", ".join(links)] if links else parts


def forward_of(name, obj):
    """The text of x_forward for x_backward: where a backward has no label, its forward has."""
    module = inspect.getmodule(inspect.unwrap(obj))
    return inspect.getdoc(getattr(module, name.replace("_backward", "_forward"), None)) or ""


def fields(obj):
    """The lines of a class that declare fields, comments included."""
    lines = dedent(inspect.getsource(obj)).splitlines()
    return [line for line in lines if re.match(r"    \w+: ", line)]


def process(app, what, name, obj, options, lines):
    text = "\n".join(lines).rstrip()
    if what == "module":
        lines[:] = []  # the page says what the module is
        return
    short = name.rsplit(".", 1)[-1]
    if what == "class" and re.match(rf"{short}\(", text):  # NamedTuple's own
        text = ""
    linked = text if LABEL.search(text) else forward_of(short, obj) if short.endswith("_backward") else ""
    links = equation_and_notebooks(app, name, linked)
    first, *others = re.split(r"\n\s*\n(?=\s*\S)", re.sub(r" *\[eq:[^\]]*\]", "", text))
    lines[:] = [*rendered(first), ""]
    if links:
        lines += [".. container:: equation", "", "    " + " · ".join(links), ""]
    for paragraph in others:
        lines += [*rendered(paragraph), ""]
    if what == "class" and (is_dataclass(obj) or hasattr(obj, "_fields")):
        lines += [".. code-block:: python", "", *fields(obj), ""]


def skip(app, what, name, obj, skipped, options):
    """Of a NamedTuple and of a dataclass the fields are shown as they are declared."""
    return True if (getattr(obj, "__doc__", "") or "").startswith("Alias for field") else None


def setup(app):
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
