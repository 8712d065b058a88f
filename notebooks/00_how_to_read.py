# %% [markdown]
# # 00 How to read this project
# *Deep dive; the whole idea in 45 minutes is in [start_here](start_here.ipynb).*
#
# dgsa_np computes every forward and every backward pass of a small transformer by hand, in NumPy.
# There is no automatic differentiation. What replaces it is a convention, and a check that tells
# you when you are wrong. This notebook teaches both on examples that fit on paper, then says where
# things are.
#
# **You will do**
# - compute one gradient on paper, and find the same numbers in the library
# - read a real backward pass beside its forward
# - look inside a model after a forward pass
# - plant six mistakes and let the check name them
#
# **You will learn** what `dX` means, why gradients add where a value forks, why the backward of
# broadcasting is a sum, and what a cache is.
#
# **You need** partial derivatives, the chain rule, NumPy. Nothing about attention. **Time** about
# 45 minutes.

# %%
try:
    import dgsa_np  # noqa: F401
except ModuleNotFoundError:  # as on Colab: install it, from where this notebook comes
    source = "..[notebooks]"  # this checkout; make address puts the repository here
    get_ipython().run_line_magic("pip", f'install --quiet "{source}"')  # noqa: F821

# %%
import inspect

import matplotlib.pyplot as plt
import numpy as np

from dgsa_np import data, model
from dgsa_np.attention.softmax import softmax_head_backward, softmax_head_forward
from dgsa_np.gradcheck import GradientError, check_pair, compare_pair, complex_step
from dgsa_np.lab.cli import describe_model
from dgsa_np.losses import cross_entropy_backward, cross_entropy_forward
from dgsa_np.model import ModelConfig, init_model, model_backward, model_forward
from dgsa_np.ops import linear_backward, linear_forward, sigmoid, silu_backward, silu_forward, sum_to_shape
from dgsa_np.params import count, flatten

plt.style.use("dgsa_np.lab.viz")
rng = np.random.default_rng(0)
BLUE, ORANGE = "#0072B2", "#D55E00"

# %% [markdown]
# ## 1. A pair
#
# Everything that has a gradient is a pair of plain functions, one below the other in the same file:
#
#     out, cache = x_forward(...)
#     gradients  = x_backward(dout, cache)
#
# The forward computes, and hands out what its backward will need: the *cache*. The backward is
# given the derivative of the loss with respect to the output, and returns the derivatives with
# respect to the inputs, in the order of the arguments. No objects, no hidden state.
#
# The simplest pair is a linear map, `[eq:linear, standard]`:
#
# $$y_{ij} = \sum_k x_{ik} W_{kj} + b_j$$
#
# Take two rows of three numbers. On paper, the first number of $y$ is
# $1 \cdot 1 + 2 \cdot 2 + 0 \cdot 0 + 1 = 6$.

# %%
x = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])
W = np.array([[1.0, 0.0], [2.0, 1.0], [0.0, 1.0]])
b = np.array([1.0, -1.0])
y, cache = linear_forward(x, W, b)
print(y)
assert abs(y - [[6, 1], [3, 3]]).max() == 0
for i in range(2):
    for j in range(2):
        assert y[i, j] == sum(x[i, k] * W[k, j] for k in range(3)) + b[j]

# %% [markdown]
# ## 2. What `dX` means
#
# There is one number at the end of everything, the loss $L$. `dX` is short for the derivative of
# $L$ with respect to `X`, and has the shape of `X`: one slope for each number in `X`. So `dy` is a
# table like `y`, and `dW` is a table like `W`. To read `dW[1, 0] = 2`: if this one weight grows by
# a little, the loss grows by twice as much.
#
# Where does `dy` come from? From whatever comes after. Here we simply invent it, and the loss that
# belongs to it is $L = \sum_{ij} dy_{ij}\, y_{ij}$: its derivative with respect to $y_{ij}$ is
# $dy_{ij}$.

# %%
dy = np.array([[1.0, 2.0], [0.0, -1.0]])


def loss(x, W, b):
    y, _ = linear_forward(x, W, b)
    return (dy * y).sum()


before = loss(x, W, b)
nudged = W.copy()
nudged[1, 0] += 0.001
slope = (loss(x, nudged, b) - before) / 0.001
print("loss", before, "   slope along W[1, 0]:", slope)
assert abs(slope - 2) < 1e-9

# %% [markdown]
# One nudge per number would be slow. The chain rule gives all of them at once. $W_{kj}$ acts on the
# column $j$ of $y$ in every row $i$, each time with the factor $x_{ik}$; $x_{ik}$ acts on the row
# $i$ in every column $j$, with the factor $W_{kj}$; $b_j$ acts on every row:
#
# $$dW_{kj} = \sum_i x_{ik}\, dy_{ij}, \qquad dx_{ik} = \sum_j dy_{ij} W_{kj}, \qquad db_j = \sum_i dy_{ij}$$
#
# As matrices: $dW = x^T dy$, $dx = dy\, W^T$. On paper: $dW_{10} = 2 \cdot 1 + 1 \cdot 0 = 2$.

# %%
dW = x.T @ dy
dx = dy @ W.T
db = dy.sum(axis=0)
print("dW\n", dW, "\ndx\n", dx, "\ndb\n", db)
assert abs(dW - [[1, 2], [2, 3], [0, -3]]).max() == 0
assert abs(dx - [[1, 4, 2], [0, -1, -1]]).max() == 0
assert abs(db - [1, 1]).max() == 0
library = linear_backward(dy, cache)  # in the order of the arguments: dx, dW, db
assert all(abs(a - g).max() == 0 for a, g in zip((dx, dW, db), library, strict=True))

# %% [markdown]
# **The usual mistake** is a transpose in the wrong place. Shapes help: `dW` must be (3, 2), and
# from `x` (2, 3) and `dy` (2, 2) only $x^T dy$ has that shape. But if all sizes are equal, shapes
# say nothing. That is why test sizes should differ, and why section 7 exists.
#
# > **Stop and think.** Does `linear_backward` need `y`?
# >
# > <details><summary>Answer</summary>
# > No. Its three formulas hold x, W and dy. The cache has x and W (and b, to know whether there is
# > one), but not y. A good cache holds what the backward reads and nothing else.
# > </details>
#
# ## 3. The backward of broadcasting is a sum
#
# Why is there a sum in `db`? Because NumPy used the two numbers of `b` twice, once for each row. A
# number that serves many places gets the sum of what all those places say. For any $Y_{ij} = X_i$,
# copied along $j$:
#
# $$dX_i = \sum_j dY_{ij}$$
#
# The library's name for it is `sum_to_shape`: sum over the axes along which one number served many.

# %%
gain = rng.standard_normal((3, 1))  # one number per row, broadcast over 4 columns and 2 batch entries
x_many = rng.standard_normal((2, 3, 4))
d_out = rng.standard_normal((2, 3, 4))  # the upstream gradient of gain * x_many
dgain = sum_to_shape(d_out * x_many, gain.shape)
numeric = complex_step(lambda g: (d_out * (g * x_many)).sum(), gain)
print("shape of gain", gain.shape, " of its gradient", dgain.shape)
assert abs(dgain - numeric).max() < 1e-14
assert abs(sum_to_shape(dy, b.shape) - db).max() == 0

# %% [markdown]
# `complex_step` is a numeric derivative that is right to the last digits. Notebook 03 explains it;
# here it is our referee.
#
# ## 4. A curve, and a fork
#
# Now something that is not linear. SiLU multiplies a number by its own sigmoid,
# `[eq:silu, standard]`, and its derivative needs the product rule and
# $\sigma' = \sigma (1 - \sigma)$:
#
# $$y = x\,\sigma(x), \qquad
# dx = dy\; \big(\sigma + x\,\sigma(1 - \sigma)\big) = dy\;\sigma\,\big(1 + x (1 - \sigma)\big)$$
#
# At $x = 0$: $\sigma = 1/2$, so $y = 0$ and the slope is $1/2$.

# %%
t = np.linspace(-6, 4, 201)
y_silu, silu_cache = silu_forward(t)
slopes = silu_backward(np.ones_like(t), silu_cache)
sigma = sigmoid(t)
assert abs(y_silu - t * sigma).max() < 1e-15
assert abs(slopes - sigma * (1 + t * (1 - sigma))).max() < 1e-15
assert abs(slopes - complex_step(lambda s: silu_forward(s)[0].sum(), t)).max() < 1e-15
print("the cache of silu:", silu_cache._fields)
assert abs(slopes - (silu_cache.sigma + silu_cache.y * (1 - silu_cache.sigma))).max() < 1e-15  # x is not needed

# %% mystnb={"image": {"alt": "SiLU and its slope against x from -6 to 4. The function dips a little below zero near -1.3 and then rises like x. The dashed slope goes from 0 through 1/2 at x = 0 to a little above 1. Three short tangents touch the function and have the slope that the dashed curve says."}}
fig, ax = plt.subplots(figsize=(7, 3.2))
ax.plot(t, y_silu, color=BLUE, label="silu_forward: y")
ax.plot(t, slopes, "--", color=ORANGE, label="silu_backward: dx for dy = 1")
for at in (-2.5, 0.0, 2.0):
    value, at_cache = silu_forward(np.array([at]))
    slope = silu_backward(np.ones(1), at_cache)
    near = np.array([at - 0.9, at + 0.9])
    ax.plot(near, value + slope * (near - at), color="0.2", lw=1.2)
    ax.plot(at, value, "o", color="0.2")
ax.set(xlabel="x", ylabel="y and its slope")
ax.set_title("The backward knows the slope of the forward at each point")
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# The dashed curve gives the slope of the short black tangents. The backward needs to know *where*
# on the curve the forward was. The cache holds `y` and `sigma`, and not $x$: the formula asks for
# $x\,\sigma(1 - \sigma)$ only, and that is $y\,(1 - \sigma)$.
#
# Transformers use a value twice all the time: once as it is, once through a function. That is a
# fork. In
#
# $$y = x + \mathrm{silu}(x), \qquad dx = dy + \mathrm{silu}'(x)\,dy$$
#
# a change of $x$ reaches $y$ on two ways, and both changes arrive. So **gradients add where a value
# forks**. In the code of the library you see it as a plain line, such as `dx = dx + dx_mlp`.

# %% mystnb={"image": {"alt": "Boxes joined by arrows. Forward, blue: x goes two ways, as it is and through silu, to a plus sign and on to y. Backward, orange and dashed: dy goes from y to the plus sign and from there both ways back to x, where dx is the sum of dx_straight and dx_silu."}}
fig, ax = plt.subplots(figsize=(8, 3))
places = {"x": (0, 0), "as it is": (2.4, 0.8), "silu": (2.4, -0.8), "+": (4.8, 0), "y": (6.6, 0)}
ways = [("x", "as it is", "dx_straight"), ("x", "silu", "dx_silu"), ("as it is", "+", "dy")]
for start, end, name in [*ways, ("silu", "+", "da = dy"), ("+", "y", "dy")]:
    here, there = np.array(places[start]), np.array(places[end])
    step = (there - here) / np.linalg.norm(there - here)
    side = 0.07 * np.array([-step[1], step[0]])  # forward on one side of the line, backward on the other
    gap = {name: 0.6 if name == "as it is" else 0.35 for name in places}
    first, last = here + gap[start] * step, there - gap[end] * step
    ax.annotate("", last + side, first + side, arrowprops={"arrowstyle": "->", "color": BLUE, "lw": 1.8})
    back = {"arrowstyle": "->", "color": ORANGE, "lw": 1.8, "ls": "--"}
    ax.annotate("", first - side, last - side, arrowprops=back)
    ax.text(*((here + there) / 2 - [0, 0.36]), name, color=ORANGE, ha="center", va="center")
for name, place in places.items():
    ax.text(*place, name, ha="center", va="center", fontsize=12, bbox={"fc": "white", "ec": "0.4"})
ax.text(-0.4, 0, "dx = dx_straight\n     + dx_silu", color=ORANGE, ha="right", va="center")
ax.set(xlim=(-2, 7), ylim=(-1.2, 1.2), aspect="equal")
ax.set_title("Forward (blue) the value forks; backward (orange) the gradients meet and add")
ax.axis("off")
plt.show()

# %%
x_fork, dy_fork = rng.standard_normal(5), rng.standard_normal(5)
a, fork_cache = silu_forward(x_fork)
y_fork = x_fork + a

dx_straight = dy_fork
da = dy_fork
dx_silu = silu_backward(da, fork_cache)
dx_fork = dx_straight + dx_silu
numeric = complex_step(lambda x: (dy_fork * (x + silu_forward(x)[0])).sum(), x_fork)
print("straight ", dx_straight)
print("+ silu   ", dx_silu)
print("= dx     ", dx_fork)
assert abs(dx_fork - numeric).max() < 1e-15
assert abs(dx_silu - numeric).max() > 0.1  # the usual mistake: to overwrite, not to add

# %% [markdown]
# ## 5. The mirror rule
#
# With sums and products understood, a long backward is only a list of such steps. Which step comes
# when? The last line of the forward is undone first. So **a backward is its forward, read
# upwards**. In this project the forward line that is undone stands above the lines that undo it, as
# a comment. Here is softmax attention, the forward without its docstring.

# %%
source = inspect.getsource(softmax_head_forward)
print(source[: source.index('    """')] + source[source.index("    q, k, v = seen_only") :])
print(inspect.getsource(softmax_head_backward))

# %% [markdown]
# Read the backward from the top. It takes its cache apart, undoes `o = A @ v`, then the line above
# it. A call of a `_forward` is undone by a call of its `_backward`. (`swap` transposes the last two
# axes. `seen_only` puts zeros in the place of what a mask hides from everybody; the map is 0 there,
# and so is every gradient already: nothing is to be undone.)
#
# `@takes` says what the function takes, axis by axis: `B H T d` is an array with four axes, and
# each letter stands for one size wherever it occurs. `@undoes` says whose cache the backward takes,
# and the axes of its `do`. Hand over the wrong thing and an error says what is wrong, in plain
# words, before the body runs. So the body holds mathematics alone.

# %%
try:
    softmax_head_forward(np.zeros((1, 1, 4, 3)), np.zeros((1, 1, 5, 2)), np.zeros((1, 1, 5, 6)))
    refused = False
except ValueError as error:
    print(error)
    refused = True
assert refused

# %% [markdown]
# That the comments are true quotations, in reverse order, is tested for every pair. The test is
# easy to write:


# %%
def quotations(forward, backward):
    """The lines of the forward that the backward quotes, with their place in the forward."""
    lines = [line.strip() for line in inspect.getsource(forward).splitlines()]
    upwards = [line.strip() for line in inspect.getsource(backward).splitlines()]
    comments = [line.removeprefix("# ") for line in upwards if line.startswith("# ")]
    return [(lines.index(c), c) for c in comments]


pairs = (softmax_head_forward, softmax_head_backward), (model.block_forward, model.block_backward)
for forward, backward in pairs:
    print(backward.__name__)
    found = quotations(forward, backward)
    for place, line in found:
        print(f"    line {place:2d} of the forward: {line}")
    places = [place for place, _ in found]
    assert places == sorted(places, reverse=True) and len(places) >= 2

# %% [markdown]
# The second is a whole block of a transformer. You can guess its backward now, without having seen
# attention: the `x` of `x = x + m` was also read by the norm above it, so it forks and its gradient
# is a sum. The same holds for `x = x + a`.
#
# > **Stop and think.** `linear_backward` quotes only `y = x @ W`, though its forward has a second
# > line, `y = y + b`. Why does that line need no more than `sum_rows(dy)`?
# >
# > <details><summary>Answer</summary>
# > Adding b passes dy through unchanged to the product, and for b itself it is a broadcast: its
# > gradient is the sum of dy over all axes but the last (section 3). sum_rows does that.
# > </details>
#
# ## 6. The cache is the microscope
#
# A cache is a `NamedTuple`. Its fields carry the symbols of the formulas, and the cache of a layer
# holds the caches of its parts. So after one forward pass everything that happened lies open. We
# take a small untrained model and a few handwritten digits.

# %%
cfg = ModelConfig(kind="dgsa", width=32, n_heads=2, depth=2, patch_size=2)
params = init_model(cfg, np.random.default_rng(1), dtype="float64")
digits = data.load("digits")
images, targets = digits.train.inputs[:4].astype("float64"), digits.train.targets[:4]

logits, cache = model_forward(images, params, cfg)
print("logits                               ", logits.shape)
print("cache                                ", cache._fields)
print("cache.blocks[1]                      ", cache.blocks[1]._fields)
print("cache.blocks[1].attention.head       ", cache.blocks[1].attention.head._fields)
print("cache.blocks[1].attention.head.A_exc ", cache.blocks[1].attention.head.A_exc.shape, "= (B, H, T, T)")
assert logits.shape == (4, 10)
assert cache.blocks[1].attention.head.A_exc.shape == (4, 2, 16, 16)

# %% [markdown]
# The path is the path of the calls: the model has blocks, a block has attention, attention has a
# head. Each image is cut into 16 patches, the tokens. `A_exc[b, h, t, s]` says how much token `t`
# looks at token `s`. Gated attention has two such maps, and a gate $g$ per token and head mixes
# them, `[eq:gated-head, machine review]`:
#
# $$A = g\,A_{exc} - (1 - g)\,A_{inh}$$
#
# What this is good for is the subject of the notebooks that follow. For now it is a formula whose
# every symbol you can look up.

# %%
head = cache.blocks[1].attention.head
g = head.gate[..., None]  # (B, H, T) -> (B, H, T, 1), the same for all keys of a row
A = g * head.A_exc - (1 - g) * head.A_inh
print("gate of image 0, head 0, first tokens:", head.gate[0, 0, :4])
assert abs(A - head.A).max() < 1e-15
assert abs(head.A_exc.sum(axis=-1) - 1).max() < 1e-14
assert abs(head.A.sum(axis=-1) - (2 * head.gate - 1)).max() < 1e-14  # g - (1 - g)
assert abs(head.gate - sigmoid(np.array(1.0))).max() < 1e-15  # untrained: sigmoid(b_gate) for all

# %% mystnb={"image": {"alt": "A handwritten digit and three maps of 16 query by 16 key patches from the cache on one signed scale. The excitatory and the inhibitory map are white to red, the fused map is paler and blue in some places."}}
shown = {r"excitatory $A_{exc}$": head.A_exc, r"inhibitory $A_{inh}$": head.A_inh, "fused $A$": head.A}
m = 0.3  # colours end here; a few weights are larger
fig, axes = plt.subplots(1, 4, figsize=(9, 2.7))
axes[0].imshow(images[0], cmap="gray_r", vmin=0, vmax=1)
axes[0].set_title("the image")
axes[0].axis("off")
for ax, (title, maps) in zip(axes[1:], shown.items(), strict=True):
    drawn = ax.imshow(maps[0, 0], cmap="RdBu_r", vmin=-m, vmax=m)
    ax.set(title=title, xlabel="key patch", xticks=[0, 5, 10, 15], yticks=[0, 5, 10, 15])
    ax.grid(False)
axes[1].set_ylabel("query patch")
fig.colorbar(drawn, ax=axes, label="attention weight", shrink=0.75, extend="both")
fig.suptitle("Drawn from the cache: the fused map may be negative (blue), the two that it is made of may not")
plt.show()
assert head.A_exc.min() >= 0 and head.A_inh.min() >= 0 and head.A.min() < 0

# %% [markdown]
# Each row is one query patch. The model is untrained, so the pattern means nothing yet, and all
# gates are equal.
#
# Parameters and gradients have the same structure. They nest as the calls do, and `flatten` gives
# them dotted names. One whole backward pass is one call:

# %%
loss_value, loss_cache = cross_entropy_forward(logits, targets)
grads = model_backward(cross_entropy_backward(loss_cache), cache)
print(f"loss {loss_value:.3f} nats, {count(params)} parameters, and as many slopes")
for name in ("embed.W", "blocks.0.attention.W_q_exc", "blocks.0.attention.b_gate", "blocks.1.mlp.W_down"):
    slopes = flatten(grads)[name]
    print(f"{name:28s} {slopes.shape!s:10s} largest slope {abs(slopes).max():.4f}")
assert list(flatten(grads)) == list(flatten(params))
assert all(flatten(grads)[name].shape == p.shape for name, p in flatten(params).items())

# one of them by hand: nudge a single weight, anywhere in the model
nudged = init_model(cfg, np.random.default_rng(1), dtype="float64")
nudged["blocks"][0]["attention"]["W_q_exc"][3, 5] += 1e-5
after, _ = cross_entropy_forward(model_forward(images, nudged, cfg)[0], targets)
slope = (after - loss_value) / 1e-5
by_backward = grads["blocks"][0]["attention"]["W_q_exc"][3, 5]
print(f"slope by nudging {slope:.8f}, by model_backward {by_backward:.8f}")
assert abs(slope - by_backward) < 1e-6

# %% [markdown]
# ## 7. How you know that you are right, and what you hear when you are wrong
#
# `check_pair(forward, backward, args)` draws a random upstream gradient, compares every slope with
# a numeric one, and allows a relative error of $10^{-12}$:
#
# $$\mathrm{error} = \frac{\max |dX - dX_{\mathrm{numeric}}|}{\max |dX_{\mathrm{numeric}}|}$$
#
# It also calls everything twice, so that a function that keeps state or changes its arguments is
# found. It takes float64 only: in float32, rounding hides small mistakes.

# %%
args = (rng.standard_normal((4, 3)), rng.standard_normal((3, 3)), rng.standard_normal(3))
for result in check_pair(linear_forward, linear_backward, args):
    print(f"{result.argument} {result.shape!s:7s} error {result.error:.1e}")
    assert result.ok and result.error < 1e-14

# by hand for W, along one upstream gradient
upstream = rng.standard_normal((4, 3))
_, cache = linear_forward(*args)
_, dW, _ = linear_backward(upstream, cache)
numeric = complex_step(lambda W: (upstream * linear_forward(args[0], W, args[2])[0]).sum(), args[1])
assert abs(dW - numeric).max() / abs(numeric).max() < 1e-14

# %% [markdown]
# Now we are students with a bad day. `W` is square here on purpose, so that shapes do not save us.
# Each function below has one mistake.


# %%
def transposed(dy, cache):
    x, W, b = cache
    return dy @ W.T, dy.T @ x, dy.sum(axis=0)


def mean_not_sum(dy, cache):
    x, W, b = cache
    return dy @ W.T, x.T @ dy, dy.mean(axis=0)


def minus(dy, cache):
    x, W, b = cache
    return dy @ W.T, -x.T @ dy, dy.sum(axis=0)


def first_row_only(dy, cache):  # forgot the sum over the batch
    x, W, b = cache
    return dy @ W.T, x.T @ dy, dy[0]


# %%
for wrong in (transposed, mean_not_sum, minus, first_row_only):
    for result in compare_pair(linear_forward, wrong, args, sizes={"N": 4}):
        if not result.ok:
            print(f"{wrong.__name__:15s} d{result.argument}: {result.message}\n")
    assert sum(not result.ok for result in compare_pair(linear_forward, wrong, args)) == 1

# %% [markdown]
# Each mistake is found in the gradient it was made in, and in no other. The first three are named
# outright: a transpose, a factor (with `sizes` it can say which sum is missing), a sign. The fourth
# has no simple name, so you get an angle, the number of wrong elements and the worst of them.
#
# Two more: an unsummed gradient has the wrong shape, and that is an error at once. And the fork of
# section 4, overwritten instead of added.


# %%
def not_summed(dy, cache):
    x, W, b = cache
    return dy @ W.T, x.T @ dy, dy


def residual_forward(x):
    a, cache = silu_forward(x)
    return x + a, cache


def overwritten(dy, cache):
    dx = dy
    dx = silu_backward(dy, cache)  # should be dx + ...
    return dx


for forward, wrong, given in ((linear_forward, not_summed, args), (residual_forward, overwritten, (x_fork,))):
    try:
        check_pair(forward, wrong, given)
        found = False
    except GradientError as error:
        print(error, "\n")
        found = True
    assert found

# %% [markdown]
# Use it on your own code: it asks for two functions and nothing of this library. Two limits, both
# the subject of notebook 03: its sharpest tool sends complex numbers through your forward, and
# `abs` and its like do not let them pass; and it cannot see a wrong forward whose backward agrees
# with it.
#
# ## 8. The map of the house
#
# From the bottom to the top:
#
# - `params` and `backend`: nested dicts of arrays and their names; NumPy or CuPy.
# - `shapes` and `check`: what a function takes, and what an error says; values of settings.
# - **`ops/`, `losses`, `layers`**: the pairs of which everything is made: linear, softmax, norms,
#   cross-entropy, patches, embeddings.
# - **`attention/`**: one file per mechanism, `mechanisms.py` with a row for each, `multihead.py`,
#   the layer around all of them.
# - **`model`**: the block, the whole transformer.
# - `data/`, `optim`, `train`, `checkpoint`: images and texts, the step, the loop, what is saved.
#
# The mathematics is in the bold ones. To read a model from the bottom up, read those. `gradcheck`
# stands beside them: it knows arrays and functions and nothing of transformers. Two rooms are not
# needed to understand any of this: `lab/`, the laboratory, with the commands, the comparisons and
# the pictures; and `fast/`, which makes the same step take less time.
#
# ## 9. What `python -m dgsa_np info` prints
#
# Version and devices, then the model that your flags describe. This is the second part, for the
# model of section 6 (on the command line:
# `python -m dgsa_np info --width 32 --n-heads 2 --depth 2 --patch-size 2`):

# %%
print(describe_model(cfg))
C, H, d = cfg.width, cfg.n_heads, cfg.sizes["d"]
per_layer = 4 * C**2 + (C * H + H) + 2 * d
print(f"\nattention, by the formula: 2 layers of 4 C^2 + (C H + H) + 2 d = {2 * per_layer}")
assert 2 * per_layer == sum(count(block["attention"]) for block in params["blocks"])
assert f"{count(params):,} parameters" in describe_model(cfg)

# %% [markdown]
# In words, from the first row to the last:
#
# - **model**: gated attention (`dgsa`) that classifies images, vectors of width C for each token,
#   in 2 blocks with 2 heads. Keys and queries are $d = C / (2H)$ wide, since two branches share the
#   columns of a head. `F` is the width inside the feed-forward layer.
# - **embed**: each patch of 2 by 2 pixels becomes a vector by a linear map, plus a learned vector
#   for its position.
# - **norm1, attention**: queries and keys for both branches, values, an output matrix, the gate's
#   matrix and bias, the gain of the norm of each head. The numbers count all blocks.
# - **norm2, mlp**: the feed-forward layer. Its `W_gate` is SwiGLU's and has nothing to do with the
#   gate of attention. The path tells which.
# - **norm, head**: after the last block, a norm, the mean over tokens, and a linear classifier.
#
# Names are looked up in `docs/notation.md`, formulas in `docs/equations.md`. Each formula has a
# status, such as `derived` or `machine review`: the body of the paper was not available to us, so
# the project says for every line how it is known. `machine review`, as above at the fused map, is a
# weak one: the formula stands only in reports that a language model wrote about a damaged text of
# the paper. Notebook 06 says how much hangs on it.
#
# ## 10. Where to go next
#
# - **You study.** Go through the notebooks in order, pen in hand. Do the derivation before you open
#   the next cell. 04 and 06 are the heart; [start_here](start_here.ipynb) is all of it in one
#   sitting, and ends in one file.
# - **You teach.** `docs/teaching.md`, and the "Stop and think" boxes.
# - **You do research.** `docs/paper_questions.md` lists what the paper leaves open,
#   `docs/decisions.md` what we chose, `docs/trust.md` what is tested and how.
#
# ## What you now know
#
# 1. `dX` is the slope of the loss along every number of `X`. A pair computes values downwards and
#    slopes upwards, line by line.
# 2. What is copied gets a sum, what forks gets a sum. The usual wrong gradient lacks a sum, or has
#    a transpose, a sign or a factor too many.
# 3. The cache shows what happened, and `check_pair` says whether the gradient is right.
#
# **Three things to try**
#
# - Write `rmsnorm_backward` yourself, $y = w\,x\,r$ with
#   $r = (\mathrm{mean}(x^2) + \varepsilon)^{-1/2}$, and let `check_pair` compare it with
#   `rmsnorm_forward`. How many ways lead from $x$ to $y$?
# - Build the model of section 6 in a new cell with `kind="softmax"` or `"twicing"`. Which fields
#   does the head's cache have now?
# - Plant a mistake of your own in section 7 that `check_pair` does not see. (There is one: notebook
#   03, section 9.)
#
# Next: [01 Lateral inhibition](01_lateral_inhibition.ipynb), where the idea behind gated attention
# comes from.
