"""Two directives: a picture out of a notebook, and a file of code beside what its comments say."""

import json
import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class NotebookPicture(SphinxDirective):
    """```{notebook-picture} ../notebooks/start_here.ipynb``` shows the notebook's first picture."""

    required_arguments = 1

    def run(self):
        relative, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        for cell in json.loads(Path(path).read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                if png := output.get("data", {}).get("image/png"):
                    alt = cell["metadata"]["mystnb"]["image"]["alt"]
                    return [nodes.image(uri=f"data:image/png;base64,{''.join(png.split())}", alt=alt)]
        raise self.error(f"{path} has no picture")


class BesideItsCode(SphinxDirective):
    """The comments of a py:percent file at the left, each beside the code that follows it."""

    required_arguments = 1

    def run(self):
        relative, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        _, first, *cells = re.split(r"^# %% ?", Path(path).read_text(encoding="utf-8"), flags=re.MULTILINE)
        introduction = re.sub(r"^# ?", "", first.removeprefix("[markdown]\n# #"), flags=re.MULTILINE)
        return [self.parsed(introduction.split("\n", 1)[1]), *map(self.section, cells)]

    def section(self, cell):
        title, *said_and_code = rows(cell)
        section = nodes.section(ids=[nodes.make_id(title)], names=[nodes.fully_normalize_name(title)])
        section += nodes.title(title, title)
        for said, code in said_and_code:
            row = nodes.container(classes=["beside"] if code else [])
            row += self.parsed(said)
            if code:
                row += nodes.literal_block(code, code, language="python")
            section += row
        return section

    def parsed(self, text):
        node = nodes.container(classes=["said"])
        self.state.nested_parse(StringList(text.splitlines(), self.arguments[0]), self.content_offset, node)
        return node


def rows(cell):
    """The title of a cell, and (comment, code) for each comment at the left margin."""
    groups = re.findall(r"((?:^#.*\n)*)((?:^(?!#).*\n?)*)", f"# {cell}", re.MULTILINE)
    found = [(re.sub(r"^# ?", "", said, flags=re.MULTILINE), code.strip("\n")) for said, code in groups]
    title, end, rest = re.match(r"(.*?)([.:?])(?:\s+(.*))?$", found[0][0], re.DOTALL).groups()
    yield title.replace("`", "").replace("\n", " ") + end.strip(".:")
    for said, code in [(after_title(rest or ""), found[0][1]), *found[1:]]:
        if said or code:
            yield re.sub(r"\n(?=Why )", "\n\n", said), code


def after_title(text):
    """A sentence that the title has begun gets a capital, a formula is set as one."""
    first, *others = text.strip().split("\n", 1)
    if re.match(r"\w = ", first):
        return "\n\n".join([f"`{first}`", *others])
    return text[:1].upper() + text[1:]


def setup(app):
    app.add_directive("notebook-picture", NotebookPicture)
    app.add_directive("beside-its-code", BesideItsCode)
    return {"parallel_read_safe": True}
