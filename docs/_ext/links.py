"""Links to files that are no pages: to a listing or a copy of them, at their places in the site."""

import os
import re
import shutil
from html import escape
from pathlib import Path

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes

SHOWN_AS_THEY_ARE = (".html", ".json", ".jsonl", ".npz", ".zip", ".png")


def relative(docname, path):
    """The address of a path of the site, seen from a page."""
    return os.path.relpath(path, Path(docname).parent).replace(os.sep, "/")


def linked_files(env):
    """{page: the files that it links to, as paths from the root of the repository}"""
    if not hasattr(env, "linked_files"):
        env.linked_files = {}
    return env.linked_files


def link_files(app, doctree):
    """What Sphinx would offer as a download, or not find, gets a link that leads somewhere."""
    here, root = app.env.docname, Path(app.srcdir)
    found = linked_files(app.env)[here] = set()
    for node in [*doctree.findall(addnodes.download_reference), *doctree.findall(addnodes.pending_xref)]:
        if node.get("reftype") != "myst" or node.get("refdomain") == "doc":
            continue
        path = (root / here).parent.joinpath(node["reftarget"]).resolve()
        if not path.exists() or not path.is_relative_to(root):
            continue  # an anchor, or a link that is broken: MyST finds the first and warns of the second
        target = path.relative_to(root).as_posix()
        if path.is_file():
            found.add(target)
            address = relative(here, target if path.suffix in SHOWN_AS_THEY_ARE else f"{target}.html")
        elif app.config.repository_address:
            address = f"{app.config.repository_address}/tree/main/{target}"
        else:
            node.replace_self(node.children)
            continue
        node.replace_self(nodes.reference("", "", *node.children, refuri=address, internal=True))


def listings(app):
    """A page for each file of text that a page links to, with its code in colours."""
    formatter = HtmlFormatter(linenos="inline", anchorlinenos=True, lineanchors="line")
    for target in sorted({t for targets in linked_files(app.env).values() for t in targets}):
        if not target.endswith(SHOWN_AS_THEY_ARE):
            text = (Path(app.srcdir) / target).read_text(encoding="utf-8")
            try:
                lexer = get_lexer_for_filename(target)
            except ClassNotFound:
                lexer = TextLexer()
            title = f"<h1>{escape(target)}</h1>"
            yield target, {"title": target, "body": title + highlight(text, lexer, formatter)}, "page.html"


def copy_files(app, exception):
    """Files that a browser shows as they are, the explorable, and a first page that leads on."""
    root, site = Path(app.srcdir), Path(app.outdir)
    if exception is None:
        targets = {t for targets in linked_files(app.env).values() for t in targets}
        for target in sorted(t for t in targets if t.endswith(SHOWN_AS_THEY_ARE)):
            (site / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / target, site / target)
        copy_explorable(root / "docs/explorable", site / "docs/explorable")
        start = f"{app.config.root_doc}.html"
        page = f'<!doctype html><title>dgsa_np</title><meta http-equiv="refresh" content="0; url={start}">'
        (site / "index.html").write_text(f'{page}\n<a href="{start}">dgsa_np</a>\n', encoding="utf-8")


def copy_explorable(folder, to):
    """A page of its own. In the repository it leads to sources, here to the pages made of them."""
    if (folder / "index.html").exists():
        shutil.copytree(folder, to, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        text = (folder / "index.html").read_text(encoding="utf-8")
        text = re.sub(r'(href="\.\./[^":#]*)\.(?:md|ipynb)\b', r"\1.html", text)
        (to / "index.html").write_text(text, encoding="utf-8")


def forget(app, env, docname):
    linked_files(env).pop(docname, None)


def setup(app):
    app.add_config_value("repository_address", "", "env")
    app.connect("doctree-read", link_files, priority=400)  # before Sphinx collects downloads
    app.connect("env-purge-doc", forget)
    app.connect("html-collect-pages", listings)
    app.connect("build-finished", copy_files)
    return {"parallel_read_safe": False}
