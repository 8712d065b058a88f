"""The site: built without a warning, whole, and read in a browser on a desk and on a telephone.

Run by make check-site. It needs the extra docs; what opens pages needs Chromium.
"""

import html
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from support.browser import CHROMIUM, Browser, serve

ROOT = Path(__file__).parents[2]
NEEDED = "sphinx", "myst_nb", "furo", "mathjax"
MISSING = [name for name in NEEDED if not find_spec(name)]

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(bool(MISSING), reason=f"the extra docs is not installed: {', '.join(MISSING)} missing"),
]
WIDTHS = 390, 1280
# What is asked of a page: formulas that were not set, marks that show, what leads where.
ASK = """(async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  const words = document.createTreeWalker(document.querySelector('article') || document.body, NodeFilter.SHOW_TEXT);
  const raw = [];
  while (words.nextNode())
    if (/\\$\\$|\\\\[([]|\\\\(frac|sum|text|sqrt|partial)\\b/.test(words.currentNode.data)
        && !words.currentNode.parentElement.closest('pre, code, script, style')) raw.push(words.currentNode.data);
  return {
    raw, failed: document.querySelectorAll('mjx-merror, [data-mjx-error]').length,
    formulas: document.querySelectorAll('.math').length, set: document.querySelectorAll('mjx-container').length,
    ids: [...document.querySelectorAll('[id], a[name]')].flatMap(e => [e.id, e.name]).filter(Boolean),
    links: [...new Set([...document.querySelectorAll('a[href]')].map(a => a.href))],
    pictures: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
  };
})()"""
TOO_WIDE = "document.documentElement.scrollWidth"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of a site that was built from nothing, warnings being errors."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-d", folder / "doctrees"]
    done = subprocess.run([*build, ".", folder / "html"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "html"


@pytest.fixture(scope="session")
def pages(site):
    return {path.relative_to(site).as_posix() for path in site.rglob("*.html")}


@pytest.fixture(scope="session")
def browser():
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    pytest.importorskip("websocket")
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def address(site):
    server = serve(site)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def seen(browser, address, pages):
    """{page: what the browser found there}"""
    found = {}
    for page in sorted(pages - {"index.html"}):  # which leads on at once
        browser.resize(WIDTHS[-1])
        browser.open(f"{address}/{page}")
        found[page] = browser.ask(ASK)
        found[page]["errors"], found[page]["asked"] = browser.errors(), browser.addresses()
        found[page]["widths"] = {}
        for width in WIDTHS:
            browser.resize(width)
            found[page]["widths"][width] = browser.ask(TOO_WIDE)
    return found


def entries(site):
    """{full name of a function: its entry in the reference}"""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((site / "docs/api").glob("*.html")))
    parts = re.split(r'<dt class="sig sig-object py" id="([\w.]+)">', text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def public(folder):
    """(full name, docstring) of each function without an underscore, as the sources have them."""
    for path in sorted(folder.glob("**/*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        source = path.read_text(encoding="utf-8")
        for name, docstring in re.findall(r'^def ([a-z]\w*)\(.*?:\n(?:    """(.*?)""")?', source, re.M | re.S):
            yield f"{module}.{name}", docstring


# ------------------------------------------------------------------------------- what is there


def test_every_page_of_the_documents_and_every_notebook_is_there(pages):
    sources = [*ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("notebooks/exercises/ex*.ipynb")]
    missing = {path.relative_to(ROOT).with_suffix(".html").as_posix() for path in sources} - pages
    assert missing == set()
    assert {"index.html", "docs/explorable/index.html", "docs/evidence/second/report.html"} < pages


def test_every_public_function_is_in_the_reference(site):
    left_out = "dgsa_np.lab.", "dgsa_np.__main__.", "dgsa_np.fast."
    expected = {name for name, docstring in public(ROOT / "dgsa_np") if docstring and not name.startswith(left_out)}
    door = {"choose_step", "is_fast", "loss_and_grads_threaded", "make_step"}
    assert len(expected) > 150
    assert expected | {f"dgsa_np.fast.step.{name}" for name in door} <= {*entries(site)}


def test_an_entry_leads_to_equation_notebook_and_source(site):
    found = entries(site)
    for name, docstring in public(ROOT / "dgsa_np"):
        if name in found:
            module, _, function = name.rpartition(".")
            assert f'_modules/{module.replace(".", "/")}.html#{function}"' in found[name], name
            for said in re.findall(r"\[eq:[^\]]*\]", docstring):
                for label in re.findall(r"eq:([\w-]+)", said):
                    assert f'../equations.html#eq-{label}"' in found[name], name
    gate = found["dgsa_np.attention.gated.gated_head_forward"]
    assert '../../notebooks/06_the_gate.html#eq-gated-head-in-06-the-gate"' in gate
    assert "A = g softmax(q_exc k_exc^T / sqrt(d)) - (1 - g) softmax(q_inh k_inh^T / sqrt(d))\n" in html.unescape(
        re.sub(r"<.*?>", "", gate)
    )


def test_the_table_of_equations_leads_to_the_reference(site):
    text = (site / "docs/equations.html").read_text(encoding="utf-8")
    labels = re.findall(r"^\| `eq:([\w-]+)`", (ROOT / "docs/equations.md").read_text(encoding="utf-8"), re.M)
    assert all(f'id="eq-{label}"' in text for label in labels)
    assert 'href="api/attention.html#dgsa_np.attention.gated.gated_head_forward"' in text


def test_the_one_file_is_there_whole(site):
    """Its code, character by character, beside what its comments say."""
    page = (site / "docs/one_file.html").read_text(encoding="utf-8")
    shown = "\n".join(re.findall(r"<pre>(.*?)</pre>", page, re.S))
    shown = html.unescape(re.sub(r"<.*?>", "", shown))
    source = (ROOT / "notebooks/dgsa_in_one_file.py").read_text(encoding="utf-8")
    code = [line for line in source.splitlines() if line and not line.startswith("#")]
    assert [line for line in shown.splitlines() if line.strip()] == code


# -------------------------------------------------------------------------------- in a browser


def wait_for(browser, expression):
    until = time.monotonic() + 20
    while not browser.ask(expression):
        assert time.monotonic() < until, expression
        time.sleep(0.1)


def complaints(seen, about):
    return {page: about(found) for page, found in seen.items() if about(found)}


def test_no_page_complains(seen):
    assert complaints(seen, lambda found: found["errors"]) == {}


def test_no_page_asks_the_network(seen, address):
    assert complaints(seen, lambda found: [a for a in found["asked"] if not a.startswith((address, "data:"))]) == {}


def test_every_formula_is_set(seen):
    assert complaints(seen, lambda found: found["raw"] or found["failed"]) == {}
    assert complaints(seen, lambda found: found["set"] < found["formulas"]) == {}
    assert sum(found["set"] for found in seen.values()) > 1000


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen(seen, width):
    assert complaints(seen, lambda found: max(0, found["widths"][width] - width)) == {}


def test_every_picture_is_there(seen):
    assert complaints(seen, lambda found: found["pictures"]) == {}


def test_every_link_of_the_site_leads_somewhere(seen, site, address):
    def broken(found):
        for link in found["links"]:
            page, place = urldefrag(unquote(link))
            if page.startswith(f"{address}/"):
                page = page.removeprefix(f"{address}/").split("?")[0] or "index.html"
                if not (site / page).is_file() or (place and page in seen and place not in seen[page]["ids"]):
                    yield f"{page}#{place}"

    assert complaints(seen, lambda found: [*broken(found)]) == {}


def test_the_first_page_leads_to_the_start(browser, address):
    browser.open(f"{address}/")
    wait_for(browser, "location.pathname == '/docs/index.html'")


def test_the_search_finds(browser, address):
    browser.open(f"{address}/search.html?q=twicing")
    wait_for(browser, "document.querySelectorAll('#search-results li').length > 2")
