"""The repository's address, wherever it stands: `make address REPOSITORY=owner/name`.

It stands between marks, `address: NAME` and `/address`, and in the line of the notebooks that
installs the package. "none" brings back what stood there before, which says how to do without.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARKED = "README.md", "CONTRIBUTING.md", "CITATION.cff", "setup.cfg", "notebooks/README.md", "docs/pypi/description.md"
NOTEBOOKS = "*.py", "*.ipynb", "slides/*.py", "slides/*.ipynb"
MARK = re.compile(r"^(?P<first>(?:#|<!--) address: (?P<name>\w+).*\n)(?s:.*?)(?P<last>^(?:#|<!--) /address)", re.M)
SOURCE = re.compile(r'^(?P<json>    ")?    source = .*\[notebooks\].*$', re.M)  # of Python, or a line of JSON

WITHOUT = {
    "badges": "",
    "citation": "",
    "urls": "",
    "clone": "    cd dgsa_np        # where you have cloned or unpacked it\n",
    "browser": """\
**In the browser**: once the repository has an address on GitHub, on Binder (`.binder/` is set up) or
on Colab. Until then, from a checkout as above.
""",
    "links": "Documentation, notebooks and exercises are in the source distribution.\n",
}
WITH = {
    "badges": """\
[![CI]({url}/actions/workflows/ci.yml/badge.svg)]({url}/actions/workflows/ci.yml)
[![Documentation](https://img.shields.io/badge/documentation-blue)]({docs})
[![Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})
[![Binder](https://mybinder.org/badge_logo.svg)]({binder})
""",
    "citation": "repository-code: {url}\nurl: {docs}\n",
    "urls": """\
url = {url}
project_urls =
    Documentation = {docs}
    Source = {url}
    Issues = {url}/issues
    Changelog = {url}/blob/main/CHANGELOG.md
""",
    "clone": "    git clone {url}\n    cd {name}\n",
    "browser": """\
**In the browser**, without installing: on [Binder]({binder}) or on [Colab]({colab}), where File >
Open notebook > GitHub has the others.
""",
    "links": """\
- [Documentation]({docs})
- [Source, notebooks and exercises]({url})
- [What the evidence says]({url}/blob/main/docs/evidence.md)
- [Changelog]({url}/blob/main/CHANGELOG.md)
""",
}


def current(root=ROOT) -> str:
    """owner/name, or none."""
    found = re.search(r"^repository-code: https://github\.com/(.+)$", (root / "CITATION.cff").read_text("utf-8"), re.M)
    return found[1] if found else "none"


def source_line(address, depth=1) -> str:
    """What a notebook installs: the repository, or without one the checkout that it lies in."""
    if address == "none":
        here = "/".join([".."] * depth)
        return f'    source = "{here}[notebooks]"  # this checkout; make address puts the repository here'
    return f'    source = "dgsa-np[notebooks] @ git+https://github.com/{address}"'


def blocks(address) -> dict:
    """{name: what stands between the marks}."""
    if address == "none":
        return WITHOUT
    owner, name = address.split("/")
    url, first = f"https://github.com/{address}", "notebooks/start_here.ipynb"
    words = {
        "url": url,
        "name": name,
        "docs": f"https://{owner.lower()}.github.io/{name}/",
        "colab": f"https://colab.research.google.com/github/{address}/blob/main/{first}",
        "binder": f"https://mybinder.org/v2/gh/{address}/main?labpath={first.replace('/', '%2F')}",
    }
    return {name: text.format(**words) for name, text in WITH.items()}


def write(address, root=ROOT) -> list:
    """Fill all places; the files that have changed."""
    notebooks = [path for pattern in NOTEBOOKS for path in sorted((root / "notebooks").glob(pattern))]
    changed = []
    for path in [*(root / name for name in MARKED), *notebooks]:
        before = path.read_text("utf-8")
        after = filled(before, address, depth=len(path.relative_to(root).parents) - 1)
        if after != before:
            path.write_text(after, encoding="utf-8", newline="\n")
            changed.append(path)
    return changed


def filled(text, address, depth) -> str:
    """A text with this address in its places; its file is in so many folders."""
    texts, line = blocks(address), source_line(address, depth)
    quoted = "    " + json.dumps(line + "\n") + ","
    text = SOURCE.sub(lambda found: quoted if found["json"] else line, text)
    return MARK.sub(lambda found: found["first"] + texts[found["name"]] + found["last"], text)


def main(arguments) -> int:
    address = " ".join(arguments)
    good = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", address) and address.lower() != "owner/name"
    if not good and address != "none":
        what = f"{address!r} is not owner/name of a repository" if address else "REPOSITORY=owner/name is missing"
        where = "it is what follows github.com/ in its address; none takes it out"
        print(f"make address: {what}: {where}", file=sys.stderr)
        return 2
    if lost := [name for name in MARKED if not MARK.search((ROOT / name).read_text("utf-8"))]:
        print(f"make address: {', '.join(lost)}: its marks are gone; take it from the repository", file=sys.stderr)
        return 2
    before, changed = current(), write(address)
    print(f"{len(changed)} files changed; the address was {before}, and is {address}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
