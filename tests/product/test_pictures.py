"""The pictures of what the gate does."""

import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from support.tiers import most_later

from dgsa_np.attention import KINDS, attention_gate
from dgsa_np.attention.differential import differential_head_forward
from dgsa_np.attention.gated import gated_head_forward
from dgsa_np.attention.softmax import softmax_head_forward
from dgsa_np.data.corruptions import Corruption
from dgsa_np.lab import viz
from dgsa_np.lab.rollout import attention_rollout
from dgsa_np.shapes import ShapeError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def head(rng):
    """The cache of one head pair of 16 tokens, four heads."""
    q_exc, k_exc, q_inh, k_inh, v = rng.standard_normal((5, 1, 4, 16, 3))
    return gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, rng.standard_normal((1, 4, 16)))[1]


@pytest.fixture
def image(rng):
    return rng.random((8, 8))


@pytest.fixture(autouse=True)
def closed():
    """No figure stays open."""
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def saved(figure, path):
    """The figure, after a file of it has been looked at: at most 10 inches wide, and not empty."""
    assert figure.get_figwidth() <= 10.001
    viz.save(figure, path / "figure.png")
    assert (path / "figure.png").read_bytes()[:4] == b"\x89PNG" and (path / "figure.png").stat().st_size > 5000
    return figure


def panels(figure):
    """Axes that are neither colour bars nor bare."""
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>" and ax.axison]


def bars(figure):
    return [ax.get_ylabel() or ax.get_xlabel() for ax in figure.axes if ax.get_label() == "<colorbar>"]


def limits(axes):
    return {ax.images[0].get_clim() for ax in axes}


def test_pictures_know_no_attention():
    code = "import sys, dgsa_np.lab.viz; print([m for m in sys.modules if 'attention' in m or 'rollout' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_mechanism_looks_the_same_in_every_figure():
    everywhere = viz.looks(KINDS)
    assert everywhere["dgsa"] == {"color": "#009E73", "marker": "^"}
    some = viz.looks(["dgsa", "dgsa, no head norm", "softmax", "nearest neighbour"], KINDS)
    assert all(some[kind] == everywhere[kind] for kind in ("dgsa", "softmax"))
    assert some["nearest neighbour"] == {"color": "0.55", "linestyle": ":"}
    assert some["dgsa, no head norm"] not in (some["dgsa"], some["softmax"])


def test_a_new_mechanism_has_a_look_at_once():
    kinds = [*KINDS, "seventh", "eighth"]
    found = viz.looks(kinds, kinds)
    assert [found[kind] for kind in KINDS] == [viz.looks(KINDS)[kind] for kind in KINDS]
    assert len({look["color"] for look in found.values()}) == len({look["marker"] for look in found.values()}) == 8
    many = [f"kind {i}" for i in range(20)]
    assert viz.looks(["another", *many], many).keys() == {"another", *many}
    steps = [{"loss": 1.0}] * 3, [{"valid_loss": 1.0, "valid_accuracy": 0.5}]
    figure = viz.training_figure({"seventh": [steps]}, kinds)
    assert figure.axes[1].lines[0].get_color() == found["seventh"]["color"]
    assert legend(figure) == ["seventh, training", "seventh, validation"] and not figure.get_supxlabel()


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_curves_have_plain_names():
    assert set(viz.PLAIN_NAMES) == set(KINDS) and len(set(viz.PLAIN_NAMES.values())) == len(KINDS)
    assert viz.plain("dgsa, head gate") == "gated attention (M-DGSA), head gate"
    assert [viz.plain(name) for name in ("token gate", "nearest neighbour")] == ["token gate", "nearest neighbour"]
    steps = [{"loss": 1.0}] * 3, [{"valid_loss": 1.0, "valid_accuracy": 0.5}]
    levels = {"noise": Corruption(None, "fraction", (0, 1))}
    curves = {name: {"noise": np.array([[0.9, 0.5], [0.9, 0.7]])} for name in ("softmax", "nearest neighbour")}
    similar = {name: {"before": np.ones((2, 3)), "after": np.ones((2, 3))} for name in curves}
    for figure in (viz.robustness_figure(levels, curves, 0.1, KINDS), viz.depth_figure(similar, KINDS)):
        assert legend(figure) == ["softmax attention", "nearest neighbour"]
        assert figure.get_supxlabel() == "mean of the seeds; bands are their range"
    assert legend(viz.training_figure({"softmax": [steps] * 2}, KINDS))[0] == "softmax attention, training"
    assert legend(viz.gate_histogram_figure({"dgsa": np.ones((1, 4))}, KINDS)) == ["gated attention (M-DGSA)"]


def test_accuracies_are_in_per_cent():
    levels, curve = {"noise": Corruption(None, "fraction", (0, 1))}, np.array([[0.9, 0.5], [0.9, 0.7]])
    ax = viz.robustness_figure(levels, {"softmax": {"noise": curve}}, 0.1).axes[0]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), (90, 60))
    np.testing.assert_allclose(ax.lines[1].get_ydata(), (10, 10))
    assert ax.get_ylabel() == "test accuracy (%)" and ax.get_ylim() == (0, 102)
    steps = [{"loss": 1.0}] * 3, [{"valid_loss": 1.5, "valid_accuracy": 0.5}]
    losses, accuracies = viz.training_figure({"softmax": [steps]}).axes
    assert [line.get_ydata()[0] for line in (*losses.lines, *accuracies.lines)] == [1, 1.5, 50]
    assert accuracies.get_ylabel() == "validation accuracy (%)"


@pytest.mark.slow
def test_rollout_figure(image, head, tmp_path):
    maps = {"absolute": [head.A] * 2, "clipped": [head.A] * 2, "excitatory": [head.A_exc] * 2}
    rollouts = {treatment: attention_rollout(layers, treatment)[0] for treatment, layers in maps.items()}
    figure = saved(viz.rollout_figure(image, rollouts), tmp_path)
    shown = panels(figure)
    assert [ax.get_title() for ax in shown] == list(maps) and figure.axes[0].get_title() == "image"
    assert all(ax.get_xlabel() == "patch column" for ax in shown) and shown[0].get_ylabel() == "patch row"
    ((low, high),) = limits(shown)
    assert low == 0 and high == max(ax.images[0].get_array().max() for ax in shown)
    assert bars(figure) == ["share of a patch (even: 0.0625)"]
    for ax, (treatment, layers) in zip(shown, maps.items(), strict=True):
        heat = np.asarray(ax.images[0].get_array())
        np.testing.assert_allclose(heat.ravel(), attention_rollout(layers, treatment)[0].mean(axis=0))
        np.testing.assert_allclose(heat.sum(), 1)


def test_the_pixels_lie_on_their_patches(head):
    picture = np.zeros((2, 8))
    picture[1, 6] = 1  # in patch (1, 6) of 2 x 8
    ax = panels(viz.rollout_figure(picture, {"absolute": attention_rollout([head.A], "absolute")[0]}))[0]
    dots = ax.collections[0]
    (spot,) = dots.get_offsets()[dots.get_sizes() > 0]
    np.testing.assert_allclose(spot, (6, 1))


@pytest.mark.parametrize(("views", "heads"), most_later([(1, 1), (2, 4), (3, 2)], now=[(2, 4)]))
def test_gate_map_figure(views, heads, image, rng, tmp_path):
    gates = rng.random((views, 3, heads, 16))
    figure = saved(viz.gate_map_figure({f"view {i}": (image, g) for i, g in enumerate(gates)}), tmp_path)
    shown, rows = panels(figure), views + (views == 2)
    assert len(shown) == rows * heads
    assert [ax.get_title() for ax in shown] == [f"head {h}" for h in range(heads)] * rows
    assert bars(figure) == ["gate g"] * views + ["change of g"] * (views == 2)
    assert limits(shown[: views * heads]) == {(0, 1)}
    np.testing.assert_array_equal(shown[0].images[0].get_array(), gates[0, -1, 0].reshape(4, 4))
    assert [ax.get_xlabel() for ax in shown] == [""] * (rows - 1) * heads + ["column"] * heads


def test_the_difference_is_second_minus_first_on_a_symmetric_scale(image, rng):
    one, two = rng.random((2, 1, 2, 16))
    shown = panels(viz.gate_map_figure({"clean": (image, one), "noisy": (1 - image, two)}))[4:]
    np.testing.assert_allclose([ax.images[0].get_array().ravel() for ax in shown], (two - one)[-1])
    ((low, high),) = limits(shown)
    assert low == -high and high == abs(two - one).max()


def test_equal_views_have_a_white_difference(image):
    gates = np.full((1, 2, 16), 0.7)
    shown = panels(viz.gate_map_figure({"clean": (image, gates), "again": (image, gates)}))[4:]
    assert limits(shown) == {(-1, 1)}


@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.slow
def test_gate_histogram_figure(layers, rng, tmp_path):
    counts = {title: rng.dirichlet(np.ones(10), layers) for title in ("clean tokens", "corrupted tokens")}
    figure = saved(viz.gate_histogram_figure(counts), tmp_path)
    assert [ax.get_title() for ax in figure.axes] == [f"layer {i}" for i in range(layers)]
    assert all(ax.get_xlabel() == "gate g" for ax in figure.axes)
    assert figure.axes[0].get_ylabel() == "fraction of the gates"
    for layer, ax in enumerate(figure.axes):
        for steps, fractions in zip(ax.patches, counts.values(), strict=True):
            np.testing.assert_array_equal(steps.get_data().values, fractions[layer])
            np.testing.assert_allclose(steps.get_data().edges[[0, -1]], (0, 1))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(counts)
    first, second = figure.axes[0].patches
    assert first.get_edgecolor() != second.get_edgecolor() and first.get_linestyle() != second.get_linestyle()


@pytest.mark.slow
def test_figures_say_what_the_gate_weighs(head, rng, image):
    other = differential_head_forward(*rng.standard_normal((5, 1, 4, 16, 3)), rng.random((1, 4, 16)))[1]
    said = (head, "g A_exc - (1-g) A_inh", "0 inhibits"), (other, "A_exc - lambda A_inh", "1 inhibits")
    for shown, fused, unit in said:
        views = {"clean": (image, shown, attention_gate(shown)[0])}
        for figure in (viz.head_maps_figure(shown, [0]), viz.attention_figure(views, layer=1)):
            titles = [ax.get_title() for ax in figure.axes]
            assert f"fused A = {fused}" in titles
        assert any(unit in ax.get_ylabel() for ax in figure.axes)
        gates = next(ax for ax in figure.axes if ax.get_title().startswith("gate g"))
        np.testing.assert_array_equal(gates.images[0].get_array(), attention_gate(shown)[0])


@pytest.mark.slow
def test_head_maps_figure(head, tmp_path):
    figure = saved(viz.head_maps_figure(head, [0, 3]), tmp_path)
    shown = panels(figure)
    assert len(shown) == 6
    assert [ax.get_ylabel() for ax in shown[::3]] == ["head 0: query", "head 3: query"]
    assert [ax.get_title().split()[0] for ax in shown[:3]] == ["excitatory", "inhibitory", "fused"]
    drawn = [head.A_exc, head.A_inh, head.A]
    for ax, A in zip(shown[3:], drawn, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), A[0, 3])
    top, fused = (max(abs(A[0, [0, 3]]).max() for A in maps) for maps in (drawn[:2], drawn[2:]))
    assert limits([*shown[:2], *shown[3:5]]) == {(0, top)} and limits(shown[2::3]) == {(-fused, fused)}
    assert fused < top and bars(figure) == ["attention weight", "fused weight: red adds, blue subtracts"]
    for ax in shown:
        assert ax.images[0].to_rgba(np.zeros((1, 1)))[0, 0, :3].min() > 0.96  # white


def test_a_fused_map_of_zeros_is_white(head):
    shown = panels(viz.head_maps_figure(head._replace(A=0 * head.A), [0]))
    assert limits(shown[2:]) == {(-1, 1)}


@pytest.mark.slow
def test_token_strip_figure(tmp_path):
    words = ["a", "film", "for", "$3", "and", "$4", ",", "naïve", "x" * 300, *["word"] * 40]
    gates = np.linspace(0, 1, len(words))
    figure = saved(viz.token_strip_figure({"clean": (words, gates), "short": (["one"], gates[:1])}), tmp_path)
    strips = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    assert [ax.get_title(loc="left") for ax in strips] == ["clean", "short"]
    assert bars(figure) == ["gate g: 0 inhibits, 1 excites"]
    texts, boxes = strips[0].texts, strips[0].patches
    assert [t.get_text() for t in texts if "…" not in t.get_text()] == [w for w in words if len(w) < 300]
    (cut,) = [t.get_text() for t in texts if "…" in t.get_text()]
    assert cut.startswith("xxx") and len(cut) < 300
    figure.draw_without_rendering()
    for text, box in zip(texts, boxes, strict=True):
        inner, outer = text.get_window_extent(), box.get_window_extent()
        assert outer.x0 < inner.x0 and inner.x1 < outer.x1 and outer.y0 < inner.y0 and inner.y1 < outer.y1
    places = [(round(box.get_y(), 3), box.get_x(), box.get_x() + box.get_width()) for box in boxes]
    for (y, _, end), (next_y, start, _) in pairwise(places):
        assert next_y > y or start > end
    assert max(end for *_, end in places) <= viz.LINE


def test_words_can_be_read_on_their_boxes():
    gates = np.linspace(0, 1, 101)
    ax = viz.token_strip_figure({"all gates": (["word"] * 101, gates)}).axes[0]
    from matplotlib.colors import to_rgb

    for text, box in zip(ax.texts, ax.patches, strict=True):
        bright, dark = sorted((luminance(to_rgb(text.get_color())), luminance(box.get_facecolor())), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) > 4.5  # as the WCAG ask of text


def luminance(colour):
    """Relative, of an sRGB colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def calls(head, image):
    """{name: (call, error, words)}: what the figures refuse."""
    gates, other = np.ones((1, 2, 16)), softmax_head_forward(*np.ones((3, 1, 1, 4, 2)))[1]
    R = np.eye(16)
    return {
        "no treatments": (lambda: viz.rollout_figure(image, {}), ValueError, "len(rollouts) is 0"),
        "a batch of rollouts": (
            lambda: viz.rollout_figure(image, {"absolute": R[None]}),
            ShapeError,
            "rollouts['absolute'] is (1, 16, 16), expected (T, T)",
        ),
        "patches do not fill": (
            lambda: viz.rollout_figure(image[:, :7], {"absolute": R}),
            ShapeError,
            "image is (8, 7), expected (h, w) that 16 square patches fill",
        ),
        "more patches than pixels": (
            lambda: viz.gate_map_figure({"a": (image[:2, :2], gates)}),
            ShapeError,
            "image is (2, 2)",
        ),
        "colours": (lambda: viz.gate_map_figure({"a": (np.ones((8, 8, 3)), gates)}), ShapeError, "image is (8, 8, 3)"),
        "views differ": (
            lambda: viz.gate_map_figure({"a": (image, gates), "b": (image, gates[:, :1])}),
            ShapeError,
            "views['b'] is (1, 1, 16)",
        ),
        "no views": (lambda: viz.gate_map_figure({}), ValueError, "len(views) is 0"),
        "one layer without its axis": (
            lambda: viz.gate_histogram_figure({"clean": np.ones(5)}),
            ShapeError,
            "counts['clean'] is (5,), expected (layers, bins)",
        ),
        "no such head": (lambda: viz.head_maps_figure(head, [4]), IndexError, "heads holds 4"),
        "no heads": (lambda: viz.head_maps_figure(head, np.array([], int)), ShapeError, "heads is (0,)"),
        "not gated": (lambda: viz.head_maps_figure(other, [0]), TypeError, "maps is SoftmaxHeadCache"),
        "gates and words": (
            lambda: viz.token_strip_figure({"clean": (["a", "b"], np.ones(3))}),
            ShapeError,
            "gates of 'clean' is (3,), expected (n_words,) = (2,); n_words comes from the words of 'clean'",
        ),
        "no strips": (lambda: viz.token_strip_figure({}), ValueError, "len(strips) is 0"),
    }


@pytest.mark.parametrize("mistake", calls(None, np.ones((8, 8))))
def test_figures_name_what_is_wrong(mistake, head, image):
    call, error, words = calls(head, image)[mistake]
    with pytest.raises(error, match=re.escape(words)):
        call()
