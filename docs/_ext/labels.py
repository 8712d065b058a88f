"""Labels of equations: eq:softmax leads to its row in docs/equations.md, wherever it is written."""

import re
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

TABLE = "docs/equations"
LABEL = re.compile(r"\[?eq:([a-z][a-z0-9-]*)(?:[,;][^\]]*)?\]?")  # eq:gate, [eq:gate, machine review]
IN_TEXT = re.compile(rf"(?=\[){LABEL.pattern}")


def in_table(label):
    """The name of the place where docs/equations.md has the equation."""
    return f"eq-{label}"


def in_notebook(label, notebook):
    """The name of the place where a notebook states the equation."""
    return f"eq-{label}-in-{notebook.replace('_', '-')}"


@lru_cache
def notebooks(folder):
    """{name: (title, text)} of start_here and the deep dives, in this order."""
    found = {}
    for path in [folder / "start_here.py", *sorted(folder.glob("[0-9]*.py"))]:
        text = path.read_text(encoding="utf-8")
        number = re.match(r"\d\d |", path.stem.replace("_", " "))[0]
        heading = re.search(r"^# # (?:\d\d[:.]? )?([^:\n]*)", text, re.MULTILINE)[1]
        found[path.stem] = number + heading, text
    return found


def full_name(written):
    """ops.softmax_forward lies in dgsa_np.ops.softmax."""
    module, name = f"dgsa_np.{written}".rsplit(".", 1)
    found = getattr(import_module(module), name)
    return f"{found.__module__}.{found.__qualname__}"


def link(domain, kind, target, node):
    return addnodes.pending_xref(
        "", node, refdomain=domain, reftype=kind, reftarget=target, refexplicit=True, refwarn=domain == "std"
    )


def place(app, node, name):
    """Makes a node a place that links lead to."""
    node["ids"].append(name)
    app.env.get_domain("std").note_hyperlink_target(name, app.env.docname, name, name)


def link_labels(app, doctree):
    """Labels lead to the table, its rows to functions; a notebook's first mention is a place."""
    here, placed = app.env.docname, set()
    if here == TABLE:
        link_table(app, doctree)
    for text in [*doctree.findall(nodes.Text)]:
        node = text.parent
        is_code, found = isinstance(node, nodes.literal), [*IN_TEXT.finditer(text)]
        if is_code:
            found = [] if here == TABLE and is_label_of_row(node) else [*filter(None, [LABEL.fullmatch(text)])]
        elif isinstance(node, (nodes.FixedTextElement, nodes.title)):
            continue
        for label in dict.fromkeys(match[1] for match in found):
            if Path(here).parent == Path("notebooks") and label not in placed:
                placed.add(label)
                place(app, node.parent if is_code else node, in_notebook(label, Path(here).name))
        if found and is_code:
            node.replace_self(link("std", "ref", in_table(found[0][1]), node.deepcopy()))
        elif found:
            node.replace(text, [*linked(text, found)])


def link_table(app, doctree):
    """In docs/equations.md: a place for each row, and from there a link to the function."""
    for row in [*doctree.findall(nodes.row)]:
        if label := LABEL.fullmatch(row[0].astext()):
            place(app, row, in_table(label[1]))
            function = row[3].next_node(nodes.literal)
            function.replace_self(link("py", "obj", full_name(function.astext()), function.deepcopy()))


def linked(text, found):
    """The parts of a text, what was found in it as links."""
    end = 0
    for match in found:
        yield nodes.Text(text[end : match.start()])
        yield link("std", "ref", in_table(match[1]), nodes.inline("", match[0]))
        end = match.end()
    yield nodes.Text(text[end:])


def is_label_of_row(node):
    entry = node.parent.parent
    return isinstance(entry, nodes.entry) and entry.parent.index(entry) == 0


def setup(app):
    app.connect("doctree-read", link_labels)
    return {"parallel_read_safe": True}
