"""The explorable page: what its numbers say in a real browser is what NumPy says.

With -m notebooks Chromium opens it as a file and is driven by keys alone; its data are those of the
model beside them.
"""

import base64
import itertools
import json
import re
import runpy
import shutil
import subprocess
import time
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.image import imread

from dgsa_np.checkpoint import load_checkpoint

FOLDER = Path(__file__).parents[2] / "docs" / "explorable"
PAGE = FOLDER / "index.html"
MAKE = runpy.run_path(str(FOLDER / "make.py"))
BROWSERS = "chromium", "chromium-browser", "google-chrome"
OPTIONS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
    --disable-background-networking --disable-component-update --hide-scrollbars
    --remote-debugging-port=0 --window-size=1200,900"""
WAIT = 20  # seconds, for a browser on a busy machine
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "End": 35, "Home": 36}
KEYS |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
NARROW = 390

T, UNIT = 16, 1000  # patches; what the stored numbers count
NAMES = {"exc": "A exc", "inh": "A inh", "fused": "A"}


# --------------------------------------------------------------------------------------- the data


def stored():
    """What data.js holds, unpacked."""
    text = MAKE["DATA"].read_text(encoding="utf-8")
    data = json.loads(re.search(r"^const DATA = (\{.*\});$", text, re.DOTALL | re.MULTILINE)[1])
    n, layers, heads = (data["sizes"][name] for name in ("images", "layers", "heads"))
    states = 1 + sum(len(kind["levels"]) for kind in data["kinds"].values())
    shapes = {
        "pixels": (states, n, 8, 8),
        "maps": (states, n, layers, 2, heads, T, T),
        "gates": (states, n, layers, heads, T),
        "probabilities": (states, n, 10),
    }
    return data | {name: unpacked(data[name]).reshape(shape) for name, shape in shapes.items()}


def unpacked(text):
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), "uint8"))
    bits = bits[: len(bits) // 10 * 10].reshape(-1, 10)
    return bits @ (1 << np.arange(9, -1, -1))


@pytest.fixture(scope="module")
def data():
    return stored()


@pytest.mark.slow
def test_the_data_are_what_the_model_gives(data):
    """Within one thousandth: another processor may round the other way."""
    made = MAKE["stored"](load_checkpoint(MAKE["WEIGHTS"]))
    assert made.keys() == data.keys()
    for name in ("pixels", "maps", "gates", "probabilities"):
        assert abs(unpacked(made[name]).reshape(data[name].shape) - data[name]).max() <= 1, name
    for name in ("sizes", "labels", "test_images"):
        assert made[name] == data[name]
    assert np.allclose(made["accuracy"], data["accuracy"], rtol=0, atol=2 / data["test_images"])


def test_every_row_sums_to_one(data):
    assert (data["maps"].sum(axis=-1) == UNIT).all() and (data["probabilities"].sum(axis=-1) == UNIT).all()
    assert data["gates"].max() <= UNIT and data["pixels"].max() <= UNIT


def test_rounding_keeps_the_sum_and_moves_no_number_by_a_thousandth():
    p = np.random.default_rng(0).dirichlet(np.full(T, 0.3), 1000)
    rounded = MAKE["thousandths"](p)
    assert (rounded.sum(axis=-1) == UNIT).all() and abs(rounded / UNIT - p).max() < 1 / UNIT
    assert (unpacked(MAKE["packed"](rounded))[: rounded.size].reshape(rounded.shape) == rounded).all()


def test_the_page_is_small_and_complete():
    files = list(FOLDER.glob("*"))
    assert sum(path.stat().st_size for path in files if path.is_file()) < 2_000_000
    page = PAGE.read_text(encoding="utf-8")
    assert "//" not in re.sub(r'<a href="https://arxiv\.org/[^"]*">', "", page).replace("<!doctype", "")  # no network
    links = [link for link in re.findall(r'(?:href|src)="([^"#]+)', page) if not link.startswith(("data:", "https:"))]
    assert len(links) > 10 and [link for link in links if not (FOLDER / link).exists()] == []


# ------------------------------------------------------------------------------------- the browser


class Browser:
    """A tab of Chromium, by the DevTools protocol."""

    def __init__(self, socket):
        self.socket, self.numbers, self.events = socket, itertools.count(1), []

    def call(self, method, **params):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def value(self, script):
        """What a JavaScript expression gives."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector):
        return self.value(f"document.querySelector({selector!r}).innerText").strip()

    def number(self, selector):
        return float(self.text(selector).replace("−", "-"))

    def row(self, selector):
        """The numbers of some cells of a table."""
        texts = self.value(f"[...document.querySelectorAll('{selector}')].map((td) => td.innerText)")
        return [float(text.replace("−", "-")) for text in texts]

    def press(self, *keys, shift=False):
        for key in keys:
            text = {"Enter": "\r", " ": " "}.get(key)
            what = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
            what |= {"modifiers": 8} if shift else {}
            down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
            self.call("Input.dispatchKeyEvent", **what, **down)
            self.call("Input.dispatchKeyEvent", **what, type="keyUp")

    def focused(self):
        """The id of what has the focus, or of the grid around it."""
        return self.value("(document.activeElement.closest('[role=grid]') || document.activeElement).id")

    def tab_to(self, wanted):
        """Press Tab until this has the focus, as a regular expression of its id."""
        for _ in range(60):
            self.press("Tab")
            if re.fullmatch(wanted, self.focused()):
                return
        raise AssertionError(f"Tab never comes to {wanted}")

    def wait(self, script):
        until(lambda: self.value(script), script)

    def look(self, width, scheme="light", motion="no-preference"):
        """As on a screen of so many pixels, in light or dark, and perhaps with less motion."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        self.call("Emulation.setEmulatedMedia", features=[{"name": k, "value": v} for k, v in wishes.items()])

    def open(self, page):
        self.events.clear()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=page.as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def complaints(self):
        """What the console says, and what was asked of the network."""
        self.value("0")  # all that came before this answer is in events
        found = [e["params"] for e in self.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
        found += [e["params"] for e in self.events if e["method"] == "Runtime.consoleAPICalled"]
        asked = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return found + [url for url in asked if not url.startswith(("file:", "data:"))]


def until(true, what):
    """What is true in the end; a browser on a busy machine takes its time."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{WAIT} s have passed, and still not: {what}")


@contextmanager
def browser(folder):
    """A Browser of its own, with an empty profile in the folder."""
    websocket = pytest.importorskip(
        "websocket", reason="websocket-client is not installed: pip install -e '.[notebooks]'"
    )
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not program:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)}")
    command = [program, *OPTIONS.split(), f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            known = folder / "DevToolsActivePort"
            port = until(lambda: known.exists() and known.read_text().split(), "the browser listens")[0]
            with closing(websocket.create_connection(tab(port), timeout=WAIT, suppress_origin=True)) as socket:
                yield Browser(socket)
        finally:
            process.terminate()


def tab(port):
    """The address of the browser's one tab."""
    with closing(HTTPConnection("127.0.0.1", int(port), timeout=WAIT)) as connection:
        connection.request("GET", "/json/list")
        (page,) = [target for target in json.load(connection.getresponse()) if target["type"] == "page"]
    return page["webSocketDebuggerUrl"]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def fresh(page):
    """The page, just opened. In the end the console is empty and the network was left alone."""
    page.look(1200)
    page.open(PAGE)
    yield page
    assert page.complaints() == []


def as_number(text):
    return float(text.replace("−", "-"))


# ------------------------------------------------------------------------------- part 1: the gate


def choose(page, image, kind, level, layer, head, query):
    """From the top of the page, by keys. All count from 0. Kind 0 is no damage, without levels."""
    page.open(PAGE)
    wanted = {"image": (1, image), "kind": (0, kind), "level": (0, level), "layer": (0, layer), "head": (0, head)}
    for name, (start, end) in wanted.items():
        if name == "level" and kind == 0:
            continue
        page.tab_to(rf"{name}-\d")
        page.press(*["ArrowRight" if end > start else "ArrowLeft"] * abs(end - start))
        assert page.focused() == f"{name}-{end}"
    page.tab_to("image")
    page.press("Home", *["ArrowUp"] * 3, *["ArrowDown"] * (query // 4), *["ArrowRight"] * (query % 4))


def weights(page, grid):
    """The 16 numbers of a map, as a screen reader has them."""
    labels = page.value(f"[...document.querySelectorAll('#{grid} [role=gridcell]')].map((c) => c.ariaLabel)")
    found = [re.fullmatch(rf"{NAMES[grid]}, row (\d), column (\d): ([−\d.]+)(, the query)?", label) for label in labels]
    assert [(int(m[1]), int(m[2])) for m in found] == [(i // 4 + 1, i % 4 + 1) for i in range(T)]
    return np.array([as_number(m[3]) for m in found]), [i for i, m in enumerate(found) if m[4]]


def check_numbers(page, data, image, kind, level, layer, head, query):
    """All numbers of part 1 against NumPy, for the gate that the page shows; returns this gate."""
    state = 1 + 3 * (kind - 1) + level if kind else 0
    exc, inh = data["maps"][state, image, layer, :, head, query] / UNIT
    g = page.number("#gate-value")
    for grid, row in {"exc": exc, "inh": inh, "fused": g * exc - (1 - g) * inh}.items():
        seen, marked = weights(page, grid)
        assert marked == [query] and abs(seen - row).max() < 0.00051, grid
        facts = [row.sum(), row.min(), row.max(), row[query]]
        assert np.allclose(page.row(f"#row-{grid} td"), facts, rtol=0, atol=0.00051), grid
    assert page.number("#two-g") == page.row("#row-fused td")[0] == round(2 * g - 1, 3)
    assert page.number("#own") == data["gates"][state, image, layer, head, query] / UNIT
    clean, now = (np.array(page.row(f"#classes tbody td:nth-child({i})")) for i in (2, 3))
    assert ((clean * UNIT).round() == data["probabilities"][0, image]).all()
    assert ((now * UNIT).round() == data["probabilities"][state, image]).all()
    picture = page.value("document.body.style.getPropertyValue('--picture')")
    png = base64.b64decode(re.search(r"base64,([\w+/=]+)", picture)[1])
    assert abs(imread(BytesIO(png))[..., 0] - data["pixels"][state, image] / UNIT).max() < 0.003  # of 256 greys
    read, label = data["probabilities"][state, image].argmax(), data["labels"][image]
    verdict = "right" if read == label else f"wrong: it is a {label}"
    share = f"{100 * data['accuracy'][state]:.1f} %"
    assert f"reads {read}, which is {verdict}." in page.text("#answer") and share in page.text("#answer")
    return g


CHOICES = [(1, 0, 0, 0, 0, 5), (0, 1, 2, 1, 3, 15), (7, 2, 1, 0, 1, 0), (6, 3, 2, 1, 2, 10)]


@pytest.mark.notebooks
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_the_maps_and_numbers_are_those_of_numpy(fresh, data, choice):
    choose(fresh, *choice)
    own = check_numbers(fresh, data, *choice)
    assert own == fresh.number("#own")
    fresh.tab_to("gate")
    for keys in (["ArrowLeft"] * 7, ["Home", *["ArrowRight"] * 50], ["End"], ["Home"]):
        fresh.press(*keys)
        g = check_numbers(fresh, data, *choice)
        said = fresh.value("document.querySelector('#gate').ariaValueText")
        assert said.startswith(f"{g:.3f}") and g != own
        fresh.wait(f"document.querySelector('#said').innerText.includes('gate {g:.3f}')")
        total = fresh.text("#row-fused td")
        assert f"The fused row sums to {total}," in fresh.text("#said")
    fresh.tab_to("back")
    fresh.press("Enter")
    assert check_numbers(fresh, data, *choice) == own


@pytest.mark.notebooks
def test_the_ends_of_the_gate_are_the_two_maps(fresh):
    fresh.tab_to("gate")
    fresh.press("End")
    assert fresh.number("#gate-value") == 1 and fresh.number("#lambda") == 0
    assert (weights(fresh, "fused")[0] == weights(fresh, "exc")[0]).all()
    fresh.press("Home")
    assert fresh.number("#gate-value") == 0 and fresh.text("#lambda") == "∞"
    assert (weights(fresh, "fused")[0] == -weights(fresh, "inh")[0]).all()


@pytest.mark.notebooks
def test_colours_are_on_one_signed_scale(fresh):
    """ColorBrewer's RdBu, which matplotlib has too; its ends are the largest weight of the row."""
    fresh.tab_to("gate")
    fresh.press("Home", *["ArrowRight"] * 30)  # some weights are negative
    most = max(weights(fresh, grid)[0].max() for grid in ("exc", "inh"))
    assert (fresh.number("#low"), as_number(fresh.text("#high").lstrip("+"))) == (-most, most)
    for grid in NAMES:
        cells = f"[...document.querySelectorAll('#{grid} .cell')]"
        seen = fresh.value(f"{cells}.map((c) => c.style.backgroundColor.match(/[0-9]+/g).map(Number))")
        row, _ = weights(fresh, grid)
        assert abs(seen - 255 * colormaps["RdBu_r"]((row / most + 1) / 2)[:, :3]).max() < 5
    assert row.min() < 0 < row.max()


@pytest.mark.notebooks
def test_the_last_column_follows_the_focus(fresh):
    fresh.tab_to("inh")
    fresh.press("ArrowRight", "ArrowDown")
    assert fresh.text("#cell-place") == "row 3, column 3"
    for grid in NAMES:
        assert fresh.row(f"#row-{grid} td")[3] == weights(fresh, grid)[0][10]


# ---------------------------------------------------------------------------- part 2: Mach's bands


def network(kappa, reach, spacing=1 / 32, half=40):
    """Rates of the receptors: (I + K) r = e. K depends on the distance of two alone."""
    from scipy.linalg import solve_toeplitz

    x = (np.arange(2 * half / spacing) + 0.5) * spacing - half
    column = kappa / (2 * reach) * np.exp(-(x - x[0]) / reach) * spacing
    return solve_toeplitz(column + (x == x[0]), np.where(x < 0, 10.0, 15.0))


@pytest.mark.notebooks
@pytest.mark.parametrize("kappa, reach", [(2, 1), (4, 0.5), (0.5, 2), (0, 1)])
def test_the_bands_are_those_of_the_closed_form_and_of_a_solve(fresh, kappa, reach):
    fresh.tab_to("kappa")
    fresh.press(*["ArrowLeft" if kappa < 2 else "ArrowRight"] * round(abs(kappa - 2) * 10))
    fresh.tab_to("reach")
    fresh.press(*["ArrowLeft" if reach < 1 else "ArrowRight"] * round(abs(reach - 1) * 10))
    assert (fresh.number("#kappa-value"), fresh.number("#reach-value")) == (kappa, reach)
    rates, middle = network(kappa, reach), 1280
    assert rates[middle - 320 : middle + 320].min() >= 0  # no rate is clipped
    plateaus = rates[[middle - 1 - 640, middle + 640]]
    first = rates[middle] - plateaus[1]
    overshoot = 5 * kappa / (2 * (1 + kappa))
    fade = np.sqrt(1 + kappa) / reach
    closed = {
        "dark": 10 / (1 + kappa),
        "bright": 15 / (1 + kappa),
        "first": overshoot * np.exp(-fade / 64),
        "edge": overshoot,
    }
    shown = {name: fresh.row(f"#row-{name} td") for name in closed}
    for name, value in closed.items():
        assert abs(shown[name][0] - value) < 0.00051, name
        assert abs(shown[name][1] - value) < 0.006, name  # the grid: an error of order spacing^2
    solved = {"dark": plateaus[0], "bright": plateaus[1], "first": first}
    assert {name: abs(shown[name][1] - value) < 0.00051 for name, value in solved.items()} == dict.fromkeys(
        solved, True
    )
    if kappa:
        assert np.allclose(fresh.row("#row-fade td"), 1 / fade, rtol=0, atol=0.001)
    else:
        assert fresh.text("#row-fade td") == "–"
    fresh.wait(f"document.querySelector('#bands-said').innerText.includes('closed form says {overshoot:.3f}')")


# --------------------------------------------------------------------------------- for all readers


@pytest.mark.notebooks
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_telephone(fresh, scheme):
    fresh.look(NARROW, scheme)
    for kind, level in itertools.product(range(4), range(3)):
        fresh.value(f"document.querySelector('#kind-{kind}').click()")
        fresh.value(f"document.querySelector('#level-{level}').click()")
        assert fresh.value("document.documentElement.scrollWidth") == NARROW
        assert fresh.value(WIDER) == []


# How the focus is shown; that of a radio button, by its face beside it.
OUTLINE = """
(() => {
  const e = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(e.matches("[type=radio]") ? e.nextSibling : e);
  return `${outlineStyle} ${outlineWidth}`;
})()
"""
WIDER = """
[...document.body.querySelectorAll("*")].filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5)
  .map((e) => e.tagName + "#" + e.id)
"""
CONTRAST = r"""
(() => {
  const channels = (text) => text.match(/[\d.]+/g).map(Number);
  const luminance = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    const rgb = channels(getComputedStyle(e).backgroundColor);
    return rgb.length === 4 && rgb[3] === 0 ? behind(e.parentElement) : rgb;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.getClientRects().length || e.closest("svg, noscript, script")) continue;
    if (e.closest("label")?.querySelector(":disabled")) continue;
    const [a, b] = [channels(getComputedStyle(e).color), behind(e)].map(luminance).sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), walker.currentNode.data.trim().slice(0, 30)]);
  }
  return found;
})()
"""


@pytest.mark.notebooks
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out(fresh, scheme):
    """WCAG AA: a contrast of 4.5."""
    fresh.look(1200, scheme, motion="reduce")
    assert fresh.value("getComputedStyle(document.querySelector('.cell')).transitionDuration") == "0s"
    found = fresh.value(CONTRAST)
    assert len(found) > 150 and [pair for pair in found if pair[0] < 4.5] == []


@pytest.mark.notebooks
def test_every_control_has_a_name(fresh):
    fresh.call("Accessibility.enable")
    nodes = fresh.call("Accessibility.getFullAXTree")["nodes"]
    named = {}
    for node in nodes:
        if not node["ignored"]:
            named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    numbers = {"radio": 21, "slider": 3, "button": 1, "grid": 4, "gridcell": 64, "table": 3, "image": 4}
    assert {role: len(names) for role, names in named.items() if role in numbers} == numbers
    assert [role for role in (*numbers, "link") if not all(named[role])] == []
    assert len(named["status"]) == 2  # what is said when numbers change


@pytest.mark.notebooks
def test_whatever_has_the_focus_shows_it(fresh):
    stops = []
    for _ in range(40):
        fresh.press("Tab")
        if fresh.value("document.activeElement === document.body"):
            break
        stops.append(fresh.focused())
        assert fresh.value(OUTLINE) == "solid 3px", stops
    order = ["image-1", "kind-0", "layer-0", "head-0", "image", "exc", "inh", "fused", "gate", "back", "kappa", "reach"]
    assert [stop for stop in stops if stop] == order
