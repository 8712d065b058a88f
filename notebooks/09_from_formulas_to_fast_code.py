# %% [markdown]
# # 09 From formulas to fast code
# *Deep dive; the whole idea in 45 minutes is in [start_here](start_here.ipynb).*
#
# The other notebooks ask what attention computes. This one asks what it costs, and why two programs
# with the same formula and the same number of operations can differ several times in time, and many
# times more in memory. We measure where time goes, then derive attention on *tiles*: small pieces
# of the map that are made, used and forgotten. Then we take a whole training step and make it
# faster, idea by idea. At the end you can read the library's tiled heads and its fast step, and
# find your own lines in them.
#
# **You will do**
# - measure what a number costs that is near, far, or in memory that nobody has touched yet;
# - join the softmax of two halves of a row, by hand, on four numbers;
# - write the gated head on tiles, forward and backward, and see it agree with the plain one;
# - draw memory and time against the length of the sequence;
# - write a step down as a list of calls, on memory that is set aside once;
# - move factors to where they meet fewer numbers: a gain into a matrix, a division into a row;
# - split the step over threads, get the same bits twice, and race it against the plain one.
#
# **You will learn** what a cache line and a page are, what a new array costs, what the fading
# factor `exp(m_old - m)` does, which tiles a mask lets us skip, why the backward needs one number
# per row and no map, how a step can do without new arrays, and what threads add.
#
# **You need** [04](04_attention_backward.ipynb) (the backward of a head), [06](06_the_gate.ipynb)
# (the gated head); from section 10 on also RMSNorm and AdamW, of
# [07](07_a_transformer_by_hand.ipynb). Nothing about processors.
#
# **Time** about 75 minutes, and 25 for the fourteen blanks: in a cell that begins with `# Your turn`
# replace the dots and run it again, and it says whether you are right. The cells take about 30
# seconds. All times are of the machine that ran them; yours will print others. So no time is
# asserted here, only results and memory. Up to section 12 we count processor time of our own: what
# other programs take does not enter.

# %%
try:
    import dgsa_np  # noqa: F401
except ModuleNotFoundError:  # as on Colab: install it, from where this notebook comes
    source = "..[notebooks]"  # this checkout; make address puts the repository here
    get_ipython().run_line_magic("pip", f'install --quiet "{source}"')  # noqa: F821

# %%
import inspect
import math
import time
import tracemalloc
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Rectangle
from threadpoolctl import threadpool_limits

from dgsa_np.attention import causal_mask, padding_mask, tiled
from dgsa_np.attention.differential import differential_head_forward
from dgsa_np.attention.gated import gated_head_backward, gated_head_forward
from dgsa_np.attention.mechanisms import MECHANISMS
from dgsa_np.attention.softmax import softmax_head_forward
from dgsa_np.backend import array_module, resolve_device, to_device, to_numpy
from dgsa_np.fast import loss_and_grads_threaded, make_step
from dgsa_np.fast.program import Program
from dgsa_np.fast.shard import exponentials, query_blocks
from dgsa_np.fast.threads import choose_threads
from dgsa_np.fast.weights import views
from dgsa_np.gradcheck import check_pair
from dgsa_np.lab.blank import blank
from dgsa_np.model import ModelConfig, init_model, loss_and_grads
from dgsa_np.ops import linear_backward, linear_forward, rmsnorm_backward, rmsnorm_forward, row_sum, sigmoid, swap
from dgsa_np.optim import adamw_init, adamw_step, clip_by_norm
from dgsa_np.params import count, flatten

plt.style.use("dgsa_np.lab.viz")
rng = np.random.default_rng(0)
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
threadpool_limits(1)  # one thread of BLAS: until section 13 we measure one core


def median_time(f, *args, repeats=9, least=1e-3):
    """Seconds of our own processor time per call: the median of several runs of a millisecond or more."""
    calls, runs = 1, []
    while len(runs) < repeats:
        start = time.process_time()
        for _ in range(calls):
            f(*args)
        seconds = time.process_time() - start
        if seconds < least and not runs:
            calls *= 2  # too short for the clock
        else:
            runs.append(seconds / calls)
    return sorted(runs)[repeats // 2]


# %% [markdown]
# ## 1. One formula, two machines
#
# NumPy computes on the processor, CuPy on an NVIDIA GPU, and both have functions of the same names.
# So a formula is written once. `array_module` looks at the arrays and returns the module that owns
# them, and the code calls that module `xp`. In the source of the sigmoid nothing says where it
# runs:

# %%
print(inspect.getsource(sigmoid))
z = rng.standard_normal(1000)
assert array_module(z) is np and array_module(z, None, 2.0) is np  # None and numbers belong to both
assert abs(sigmoid(z) - 1 / (1 + np.exp(-z))).max() < 1e-15
try:
    array_module([1.0, 2.0])
    raise AssertionError("a list is no array")
except TypeError as error:
    print(error)

device = resolve_device("auto")  # "cuda" if there is a GPU that works
assert abs(to_numpy(sigmoid(to_device(z, device))) - sigmoid(z)).max() < 1e-15
print(f"\nthe same source, run on: {device}")

# %% tags=["blank"]
# Your turn: softplus, ln(1 + e^z), for an array z on either machine.
def softplus(on_it, xp):
    return ...


blank(softplus(z, array_module(z)), np.logaddexp(0, z), "exp and log have the same names in xp as in np.")

# %% [markdown]
# The formula is the same, the machines are not. A processor has a few fast workers ("cores"). Each
# has a small private store, the **cache**, that answers many times faster than the main memory. So
# it likes work in pieces that fit the cache. A GPU is built of thousands of slow workers, and each
# call from Python starts them all. So it should be given few, large pieces. (What this notebook
# says of GPUs is what they are built for; it measures none.)
#
# The library's formulas do not know of this. They say what a textbook would print, and run as they
# are on either machine. What a machine likes has places of its own. `attention/tiled.py` cuts
# pieces of other sizes for each, `tiled.CPU_TILES` and `tiled.GPU_TILES`. And `dgsa_np/fast/` has
# the whole training step once more: on memory that is set aside once, shared by the cores of a
# processor; on a GPU it can be recorded and then started as one piece. It stands beside the
# formulas and not in their place, and tests hold the two together. Sections 10 to 15 rebuild its
# ideas.
#
# ## 2. Where time goes
#
# ### Near and far
#
# The simplest work there is: `out = a + b`, number by number. It is one addition per number,
# however many there are. Does a number always cost the same? We count the memory of all three
# arrays together, 24 bytes per addition in float64.

# %% mystnb={"image": {"alt": "Time per addition in ns against the memory of the three arrays from 0.01 to 100 MiB, both logarithmic: a valley. It falls on the left as the call is shared by more numbers, is flat in the middle, and rises steeply where the arrays no longer fit the cache."}}
sizes = 2 ** np.arange(9, 23)
nanoseconds = []
for n in sizes:
    a, b = rng.standard_normal((2, n))
    out = np.empty(n)
    nanoseconds.append(1e9 * median_time(np.add, a, b, out) / n)
    assert (out == a + b).all()
cheapest = int(np.argmin(nanoseconds))

fig, ax = plt.subplots(figsize=(7.5, 3.3))
ax.plot(24 * sizes / 2**20, nanoseconds, "o-", color=BLUE)
ax.set(
    xscale="log", yscale="log", xlabel="memory of the three arrays (MiB)", ylabel="time per addition (ns)"
)
ax.set_xticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
ticks = [ns for ns in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if min(nanoseconds) / 2 < ns < 2 * max(nanoseconds)]
ax.set_yticks(ticks, [f"{ns:g}" for ns in ticks])
ax.minorticks_off()
ax.set_title("the same addition: left the call costs, in the middle the cache serves, right the memory")
plt.show()
print(f"cheapest: {nanoseconds[cheapest]:.2f} ns, with {24 * sizes[cheapest] / 2**20:.2g} MiB; ", end="")
print(f"with {24 * sizes[-1] / 2**20:.0f} MiB: {nanoseconds[-1]:.2f} ns, ", end="")
print(f"{nanoseconds[-1] / nanoseconds[cheapest]:.1f} times as much")
call = nanoseconds[0] * sizes[0]
print(f"one call for {sizes[0]} numbers: {call:.0f} ns, ", end="")
print(f"of which the additions need about {nanoseconds[cheapest] * sizes[0]:.0f}")

# %% [markdown]
# Three regions. On the left NumPy's own call, a fraction of a microsecond, is shared by too few
# numbers. In the middle the arrays stay in the cache from one call to the next. On the right they
# do not fit: each call fetches them from the main memory again, and the core waits. Two lessons:
# **do much in one call**, and **do it in pieces that fit the cache**. They pull in opposite
# directions, and a tile is the compromise.
#
# ### A cache line
#
# Memory comes in **lines**, on most processors of 64 bytes: 8 numbers of float64. Who asks for one
# number gets its line. So let us sum every second number of a large array, every fourth, and so on.
# With a stride of $s$ numbers, we read $n/s$ numbers. How many lines do they lie in?
#
# $$ \mathrm{lines}(s) = \frac{n}{\max(s,\, 8)} $$
#
# Up to $s = 8$ all lines are needed, however few numbers we want of each.

# %% mystnb={"image": {"alt": "Relative to stride 1, for strides from 1 to 64, both logarithmic: the numbers that are read fall on a straight line; the lines that are fetched stay at 1 up to stride 8 and fall then. The measured time follows the lines, not the numbers."}}
n = 2**22
x = rng.standard_normal(n)
strides = [1, 2, 4, 8, 16, 32, 64]
lines = [len(np.unique(8 * np.arange(0, n, s) // 64)) for s in strides]  # the line of byte 8 i is 8 i // 64
assert lines == [n // max(s, 8) for s in strides]

sweep = np.array([median_time(np.sum, x[::s]) for s in strides])
fig, ax = plt.subplots(figsize=(7.5, 3.3))
ax.plot(strides, sweep / sweep[0], "o-", color=BLUE, label="time, measured")
ax.plot(strides, np.array(lines) / lines[0], "--", color=ORANGE, label="lines that are fetched")
ax.plot(strides, 1 / np.array(strides), ":", color="0.3", label="numbers that are read")
ax.set(xscale="log", yscale="log", xlabel="stride s (numbers of 8 bytes)", ylabel="relative to s = 1")
ax.set_xticks(strides, [str(s) for s in strides])
ax.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
ax.minorticks_off()
ax.set_title(f"the sum of every s-th number of {8 * n / 2**20:.0f} MiB: does time follow numbers or lines?")
ax.legend()
plt.show()
print(
    f"every 8th number: {100 / 8:.1f} % of the numbers, {100 * lines[3] / lines[0]:.0f} % of the lines, ",
    end="",
)
print(f"{100 * sweep[3] / sweep[0]:.0f} % of the time")

# %% tags=["blank"]
# Your turn: a matrix of 1024 x 1024 numbers in float32, stored row by row. In how many lines of 64
# bytes lies one of its rows, and in how many one of its columns?
lines_of_row, lines_of_column = ..., ...
bytes_of_row, bytes_of_column = 4 * np.arange(1024), 4 * 1024 * np.arange(1024)
blank((lines_of_row, lines_of_column), (np.unique(bytes_of_row // 64).size, np.unique(bytes_of_column // 64).size),
      "A number of float32 has 4 bytes. How far apart are two neighbours in a column?")  # fmt: skip

# %% [markdown]
# If the blue points stay high up to 8 and fall after it, time follows lines and not numbers. (They
# may fall later, at 16: some processors fetch lines in pairs. And with $s > 1$ the core cannot add
# several numbers in one instruction, so they may even rise first.) The lesson: **what is used
# together should lie together.** The library's arrays are $(B, H, T, d)$, so one query is one or a
# few whole lines.
#
# ### A page
#
# The operating system deals out memory in **pages**, usually of 4096 bytes. A fresh array has no
# memory yet: `np.empty` only reserves addresses. At the first touch of each page the system finds
# one, clears it and enters it into its tables. And when a large array is freed, its pages go back.
# We fill a fresh array, and then the same array again.


# %%
def fill_fresh(n):
    np.empty(n).fill(1.0)  # freed at once


n = 2**23  # 64 MiB
fresh = median_time(fill_fresh, n)
y = np.empty(n)
y.fill(1.0)
again = median_time(y.fill, 1.0)
assert (y == 1).all() and y.nbytes // 4096 == 16384
print(f"filling 64 MiB, {y.nbytes // 4096:,} pages of 4 KiB: ", end="")
print(f"fresh {1e3 * fresh:.1f} ms, again {1e3 * again:.1f} ms: {fresh / again:.1f} times as much")
del x, y, a, b, out

# %% [markdown]
# So a large intermediate result has a price that no formula shows: a division `A = E / sums` with a
# fresh $A$ pays for every page of $A$. Section 10 comes back to this.
#
# ### What a plain line costs
#
# Two lines of plain NumPy, each beside what was written for the machine:
#
# **A row sum.** `x.sum(axis=-1)` starts anew for each row, which costs when rows are short.
# `x @ ones` gives the same sums, and the matrix product is tuned for exactly this.
#
# **Temporaries.** `E = np.exp(S - m)` and `A = E / sums` make three arrays as large as $S$. Written
# into one array they make one. And if the softmax is only needed to be applied to values, a few
# rows of it can be made, used and overwritten by the next: a *slab* of 16 rows, 256 KiB, which
# stays in the cache.

# %% mystnb={"image": {"alt": "Horizontal bars of ns per number. Left, row sums of 17 numbers: x.sum takes several times as long as x @ ones. Right, a softmax of 64 MiB times v: with new arrays it takes longest, in place and slab by slab clearly less."}}
short = rng.standard_normal((2**14, 17)).astype("float32")  # 17 tokens
ones = np.ones((17, 1), "float32")
assert abs(short @ ones - row_sum(short)).max() < 1e-5

S, v = rng.standard_normal((4096, 4096), "float32"), rng.standard_normal((4096, 16), "float32")
m, E, o = S.max(axis=-1, keepdims=True), np.empty_like(S), np.empty((4096, 16), "float32")


def with_temporaries():
    A = np.exp(S - m)
    return (A / row_sum(A)) @ v


def in_place():
    np.subtract(S, m, out=E)
    np.exp(E, out=E)
    np.divide(E, row_sum(E), out=E)
    return E @ v


def in_slabs():
    slab = np.empty((16, 4096), "float32")  # 256 KiB, used again and again
    for start in range(0, len(S), len(slab)):
        rows = slice(start, start + len(slab))
        np.subtract(S[rows], m[rows], out=slab)
        np.exp(slab, out=slab)
        np.divide(slab, row_sum(slab), out=slab)
        np.matmul(slab, v, out=o[rows])
    return o


assert abs(with_temporaries() - in_place()).max() < 1e-6 and abs(with_temporaries() - in_slabs()).max() < 1e-6

measured = {
    "row sums, 17 in a row": {
        "x.sum(axis=-1)": (lambda: row_sum(short), short.size),
        "x @ ones": (lambda: short @ ones, short.size),
    },
    "softmax of 64 MiB, times v": {
        "new arrays": (with_temporaries, S.size),
        "in place": (in_place, S.size),
        "slab by slab": (in_slabs, S.size),
    },
}
fig, axes = plt.subplots(1, 2, figsize=(9, 2.5))
for ax, (title, variants) in zip(axes, measured.items(), strict=True):
    ns = [1e9 * median_time(f) / count for f, count in variants.values()]
    ax.barh(range(len(ns)), ns, color=[ORANGE] + [BLUE] * (len(ns) - 1), height=0.6)
    ax.set_yticks(range(len(ns)), list(variants), fontsize=8)
    ax.set(xlabel="ns per number", title=title)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    print(f"{title:26s} " + ", ".join(f"{name}: {each:.2f} ns" for name, each in zip(variants, ns, strict=True)))
    print(f"{'':26s} first over last: {ns[0] / ns[-1]:.1f}")
plt.show()

# %% [markdown]
# The orange bar is the plain line, and the library's formulas keep to it, since each of them would
# have to explain the blue ones. (The fast step takes those: nobody has to read it to understand
# attention.) On the right the operations are the same in all three; only the memory differs, and
# where it lies. The slab is the idea of all that follows. But it still has whole rows of the map.
# For long sequences we want more: **never to have the whole row**.
#
# ## 3. The softmax of two halves
#
# One query, four keys. We see the first two, and have to forget them before we see the other two.
# What must we remember? Three things: the largest score $m$, the sum $Z = \sum_j e^{S_j - m}$ and
# the weighted sum of values $o = \sum_j e^{S_j - m} v_j$, not yet divided by $Z$. (The maximum is
# subtracted so that no exponential overflows, as in [03](03_softmax_and_its_gradient.ipynb).) Half
# $a$ knows only its own maximum, and so does half $b$. To join them, both must be measured from the
# same maximum, and that is a factor: $e^{S_j - m} = e^{m_a - m}\, e^{S_j - m_a}$.
#
# $$ m = \max(m_a, m_b), \qquad Z = e^{m_a - m}\, Z_a + e^{m_b - m}\, Z_b, \qquad
# o = e^{m_a - m}\, o_a + e^{m_b - m}\, o_b $$
#
# and the output is $o / Z$. We take the scores $\ln 2, \ln 1$ and $\ln 8, \ln 4$, and the values
# $3, 6$ and $1, 10$. On paper: $m_a = \ln 2$, $Z_a = 1 + \frac12$, $o_a = 3 + 3 = 6$;
# $m_b = \ln 8$, $Z_b = 1 + \frac12$, $o_b = 1 + 5 = 6$. The second half has the larger maximum, so
# the first one **fades**, by $e^{\ln 2 - \ln 8} = \frac14$.

# %%
S, v = np.log([2.0, 1.0, 8.0, 4.0]), np.array([3.0, 6.0, 1.0, 10.0])


def summary(S, v):
    """What is to be remembered of some keys: m, Z, o."""
    m = S.max()
    E = np.exp(S - m)
    return m, E.sum(), (E * v).sum()


(m_a, Z_a, o_a), (m_b, Z_b, o_b) = summary(S[:2], v[:2]), summary(S[2:], v[2:])
m = max(m_a, m_b)
fade_a, fade_b = np.exp(m_a - m), np.exp(m_b - m)
Z, o = fade_a * Z_a + fade_b * Z_b, fade_a * o_a + fade_b * o_b
print(f"first half:  Z = {Z_a:.3f}, o = {o_a:.3f}, fades by {fade_a:.3f}")
print(f"second half: Z = {Z_b:.3f}, o = {o_b:.3f}, fades by {fade_b:.3f}")
print(f"joined:      Z = {Z:.3f}, o = {o:.3f}, output o / Z = {o / Z:.3f}")

assert abs(fade_a - 1 / 4) < 1e-15 and fade_b == 1
assert abs(Z - (1 / 4 * 3 / 2 + 3 / 2)) < 1e-15 and abs(o - (6 / 4 + 6)) < 1e-14
whole = np.exp(S) / np.exp(S).sum()  # 2/15, 1/15, 8/15, 4/15
assert abs(o / Z - whole @ v) < 1e-14 and abs(o / Z - 4) < 1e-14
m_whole, Z_whole, o_whole = summary(S, v)
assert abs(m - m_whole) == 0 and abs(Z - Z_whole) < 1e-15 and abs(o - o_whole) < 1e-14

# %% tags=["blank"]
# Your turn, on paper: a fifth key arrives, with the score ln 16 and the value 2. So far m = ln 8,
# Z = 15/8 and o = 15/2. What are Z and o now?
Z_of_five, o_of_five = ..., ...
blank((Z_of_five, o_of_five), summary(np.append(S, np.log(16)), np.append(v, 2))[1:],
      "By which number does the past fade?")  # fmt: skip

# %% mystnb={"image": {"alt": "Bars of four keys in three panels. After the first tile: 1 and 0.5, the other two unseen. After the second: the first two have faded by 1/4 to 0.25 and 0.125, the new ones are 1 and 0.5. Divided by Z, the softmax: 0.133, 0.0667, 0.533, 0.267."}}
fig, axes = plt.subplots(1, 3, figsize=(9, 2.9), sharey=True)
shades = [BLUE, BLUE, ORANGE, ORANGE]
panels = {
    "first tile: m = ln 2": [*np.exp(S[:2] - m_a), 0, 0],
    "second tile: m = ln 8, the first fades": np.exp(S - m),
    "divided by Z: the softmax": np.exp(S - m) / Z,
}
for ax, (title, heights) in zip(axes, panels.items(), strict=True):
    ax.bar(range(4), heights, color=shades, width=0.6)
    for j, height in enumerate(heights):
        ax.text(j, height + 0.02, f"{height:.3g}" if height else "unseen", ha="center", fontsize=9)
    ax.set(title=title, xlabel="key", ylim=(0, 1.22))
    ax.set_xticks(range(4))
    ax.grid(axis="x", visible=False)
axes[1].bar(range(2), np.exp(S[:2] - m_a), width=0.6, fill=False, edgecolor=BLUE, ls="--", lw=1)
axes[1].annotate(
    "times 1/4", (0.42, 0.42), (0.55, 0.85), color=BLUE, arrowprops={"arrowstyle": "->", "color": BLUE}
)
axes[0].set_ylabel("weight (no unit)")
plt.show()

# %% [markdown]
# Nothing of the first two keys is needed any more, only its $Z_a$ and $o_a$: the fading acts on
# sums as it acts on each term. No approximation was made. This is the *online softmax* (Milakov and
# Gimelshein 2018, arXiv:1805.02867).
#
# ## 4. As many tiles as we like
#
# What joins two halves joins any number: the first half is all that was seen so far. Here is the
# whole algorithm, for many queries at once, `[eq:streamed, standard]`. A *tile* is a slice of keys,
# and a `limit` that masks will use in section 6; for now it is `None`. Beside the output we return
# one number per row, the **log-sum-exp** $\ell_t = \ln \sum_s e^{S_{ts}} = m + \ln Z$. It will be
# all that the backward needs.


# %%
def scores(q, k, keys, limit):
    S = q @ swap(k[..., keys, :]) / math.sqrt(q.shape[-1])
    return S if limit is None else np.fmin(S, limit)


def stream(q, k, v, tiles):
    """softmax(q k^T / sqrt(d)) v and the log-sum-exp of the rows; one tile of scores at a time."""
    m = np.full((*q.shape[:-1], 1), np.finfo(q.dtype).min)  # the lowest number there is
    Z, o = np.zeros_like(m), np.zeros((*q.shape[:-1], v.shape[-1]))
    for keys, limit in tiles:
        S = scores(q, k, keys, limit)
        m_old, m = m, np.maximum(m, S.real.max(axis=-1, keepdims=True))
        E = np.exp(S - m)
        fade = np.exp(m_old - m)
        Z = fade * Z + E.sum(axis=-1, keepdims=True)
        o = fade * o + E @ v[..., keys, :]
    Z = Z + (Z == 0)  # a row without a key: section 6
    return o / Z, m + np.log(Z)


def cut(n, width):
    return [(slice(i, min(i + width, n)), None) for i in range(0, n, width)]


B, H, T, S_len, d, e = 2, 3, 7, 12, 4, 5
q, k, v = (rng.standard_normal((B, H, *s)) for s in ((T, d), (S_len, d), (S_len, e)))
plain, _ = softmax_head_forward(q, k, v)
all_scores = q @ swap(k) / math.sqrt(d)
for width in (1, 2, 5, 12):
    o, logsumexp = stream(q, k, v, cut(S_len, width))
    assert abs(o - plain).max() < 1e-12
    assert abs(logsumexp[..., 0] - np.log(np.exp(all_scores).sum(axis=-1))).max() < 1e-12
    print(f"{len(cut(S_len, width)):2d} tiles of {width:2d} keys: differs by {abs(o - plain).max():.0e}")

huge, _ = stream(1000 * q, k, v, cut(S_len, 5))  # scores in the thousands: nothing overflows
assert abs(huge - softmax_head_forward(1000 * q, k, v)[0]).max() < 1e-12

# %% tags=["blank"]
# Your turn: all 12 scores of a row are 0. What is its log-sum-exp?
of_twelve_zeros = ...
blank(of_twelve_zeros, stream(0 * q, k, v, cut(S_len, 5))[1][0, 0, 0, 0], "m + ln Z.", rtol=1e-3)

# %% [markdown]
# (`S.real` is there for the complex step, which compares by the real part; for real numbers it is
# the number itself.) Of the map there were never more than $T$ times `width` numbers. And the first
# tile needs no special case: what was summed before it is 0, and 0 may fade as it likes.
#
# ## 5. Sums of maps
#
# The differential heads apply a weighted sum of softmax maps to *the same* values. The weight $w_i$
# is one number per query and map, so it can wait until the map has been applied:
#
# $$ o = \Big(\sum_i w_i A_i\Big) v = \sum_i w_i\, (A_i v) = \sum_i w_i\, o_i $$
#
# So one streamed head serves them all: `softmax` has $w = 1$; `diff_v1` and `diff_v2` have $w = (1,
# -\lambda)$; `dgsa` has $w = (g, -(1 - g))$, `[eq:gated-head, machine review]`.
#
# There is a price: every map meets $v$ alone, where the plain head subtracts first and applies $v$
# once ([05](05_differential_attention.ipynb), section 8, counts both).

# %%
q_exc, q_inh = rng.standard_normal((2, B, H, T, d))
k_exc, k_inh = rng.standard_normal((2, B, H, S_len, d))
z_gate, lam = rng.standard_normal((B, H, T)), 0.3
tiles = cut(S_len, 5)
o_exc, o_inh = stream(q_exc, k_exc, v, tiles)[0], stream(q_inh, k_inh, v, tiles)[0]

dgsa = sigmoid(z_gate)[..., None] * o_exc - sigmoid(-z_gate)[..., None] * o_inh
assert abs(dgsa - gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate)[0]).max() < 1e-12
diff_v1 = o_exc - lam * o_inh
assert (
    abs(diff_v1 - differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, np.array(lam))[0]).max() < 1e-12
)

# %% tags=["blank"]
# Your turn: another head has the map A_exc - g A_inh with g = sigmoid(z_gate), (B, H, T).
# Make its output of o_exc and o_inh, (B, H, T, e), without a map.
from_two_outputs = ...
no_map = differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, sigmoid(z_gate))[0]
blank(from_two_outputs, no_map, "w = (1, -g). A weight belongs to a query: give it a last axis.")

# %% [markdown]
# ## 6. Masks: tiles that need not be made
#
# A mask says which keys a query may see. For a tile of some queries and some keys there are three
# cases:
#
# - **none** of its pairs is allowed: skip it;
# - **all** are allowed: compute it, without looking at the mask again;
# - **some** are: compute it, and *limit* its scores: `fmin(S, nan)` is $S$, no limit, where a query
#   may look, $\min(S, -\infty) = -\infty$ where it may not, and $e^{-\infty}$ is exactly 0.
#
# We need only go from the first to the last key that some row of the tile may see.


# %% mystnb={"image": {"alt": "Three masks of queries and keys, cut into tiles with white borders. Causal: staircase tiles along the diagonal are limited, those below are free, those above skipped; 58 % is computed. The last 8 of 24 queries: 92 %. A window of 6 keys: a band of limited tiles along the diagonal, 33 %. Beside each staircase lies a thin margin computed in vain."}}
def tiles_of(allowed, width):
    """The tiles of keys that these rows (rows, S) need, each with the limit of its scores."""
    seen = np.flatnonzero(allowed.any(axis=0))
    first, stop = (seen[0], seen[-1] + 1) if seen.size else (0, 0)
    tiles = []
    for start in range(first, stop, width):
        keys = slice(start, min(start + width, stop))
        free = allowed[:, keys].all()
        tiles.append((keys, None if free else np.where(allowed[:, keys], np.nan, -np.inf)))
    return tiles


def slabs_of(allowed, queries, width):
    """All slices of queries, each with its tiles."""
    slices = [rows for rows, _ in cut(len(allowed), queries)]
    return [(rows, tiles_of(allowed[rows], width)) for rows in slices]


T = 24
masks = {
    "causal": np.tri(T, dtype=bool),
    "causal, the last 8 of 24 ask": causal_mask(8, T)[0, 0],
    "a window: the last 6 keys": np.tri(T, dtype=bool) & ~np.tri(T, k=-6, dtype=bool),
}
assert (masks["causal"] == causal_mask(T)[0, 0]).all()
colors = ListedColormap(
    ["0.93", BLUE, ORANGE, "#F2C9A8"]
)  # skipped, free, limited: allowed, limited: forbidden
fig, axes = plt.subplots(1, 3, figsize=(9, 3.6))
for ax, (title, allowed) in zip(axes, masks.items(), strict=True):
    picture, computed = np.zeros(allowed.shape), 0
    for rows, tiles in slabs_of(allowed, 4, 6):
        for keys, limit in tiles:
            picture[rows, keys] = 1 if limit is None else np.where(allowed[rows, keys], 2, 3)
            corner, width, height = (keys.start - 0.5, rows.start - 0.5), keys.stop - keys.start, 4
            ax.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="white", lw=1.5))
            computed += width * height
    assert (allowed <= (picture > 0)).all()  # nothing that is allowed was skipped
    ax.imshow(picture, cmap=colors, vmin=-0.5, vmax=3.5)
    ax.set(title=f"{title}\n{100 * computed / allowed.size:.0f} % is computed", xlabel="key")
    ax.set(xticks=range(0, T, 6), yticks=range(0, len(allowed), 4))
    ax.grid(False)
axes[0].set_ylabel("query")
names = ("skipped", "computed, free", "computed, limited: allowed", "computed in vain")
handles = [Patch(color=colors(i), label=name) for i, name in enumerate(names)]
fig.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9)
plt.show()

# %% [markdown]
# White lines are the borders of tiles, here of 4 queries and up to 6 keys. Each slab of queries
# cuts its tiles from its own first key to its own last one, not on a common grid, so under a causal
# mask the waste is one triangle per slab of queries. With $n = T / u$ slabs of $u$ queries each,
# slab $r$ needs $r\,u$ keys, and of all scores we compute the part
#
# $$ \frac{1}{T^2} \sum_{r=1}^{n} u \cdot r\, u = \frac{n + 1}{2 n} $$
#
# which goes to one half as the sequence grows. Skipping saves operations, which streaming alone
# does not.

# %%
u = 4
for T in (8, 24, 96, 384):
    slabs = slabs_of(np.tri(T, dtype=bool), u, 6)
    computed = sum(u * (keys.stop - keys.start) for _, tiles in slabs for keys, _ in tiles)
    n = T // u
    assert abs(computed / T**2 - (n + 1) / (2 * n)) < 1e-15

# the library cuts in the same places
for allowed in masks.values():
    ours = tiles_of(allowed[4:8], 6)
    theirs = list(tiled._key_tiles(allowed[None, None, 4:8], allowed.shape[1], 6, np.dtype("float64")))
    assert [keys for keys, _ in ours] == [keys for keys, _ in theirs]
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        assert (one is None and other is None) or np.array_equal(one, other[0, 0], equal_nan=True)

# %% tags=["blank"]
# Your turn: a causal mask, 64 queries and keys, slabs of 16 queries. Which part of all scores is
# computed?
part_of_scores = ...
four_slabs = slabs_of(np.tri(64, dtype=bool), 16, 8)
key_slices = [piece[0] for one_slab in four_slabs for piece in one_slab[1]]
blank(part_of_scores, sum(16 * (its_keys.stop - its_keys.start) for its_keys in key_slices) / 64**2,
      "n is the number of slabs.")  # fmt: skip

# %% [markdown]
# **Rows that may see nothing.** In a padded batch a query may have no key at all. The library
# defines its output as 0. What does the stream make of it? Every score is $-\infty$. Had we started
# from $m = -\infty$, the first step would be $e^{-\infty - (-\infty)}$, which is not a number. So
# we start from the lowest number there is: then $E = e^{-\infty - m} = 0$, and $Z$ and $o$ stay 0.
# The last step would divide 0 by 0; `Z + (Z == 0)` makes it $0 / 1$. And where a whole slab of
# queries sees nothing it has no tile, with the same result.

# %%
with np.errstate(invalid="ignore"):
    assert np.isnan(np.exp(np.float64(-np.inf) - np.float64(-np.inf)))

T = S_len
allowed = np.tri(T, dtype=bool)
allowed[3] = False  # one query in a slab of others
allowed[8:] = False  # a slab in which nobody sees anything
q, k, v = (rng.standard_normal((B, H, T, n)) for n in (d, d, e))
o = np.concatenate(
    [stream(q[..., rows, :], k, v, tiles)[0] for rows, tiles in slabs_of(allowed, 4, 5)], axis=-2
)
assert abs(o - softmax_head_forward(q, k, v, allowed[None, None])[0]).max() < 1e-12
assert (o[..., 3, :] == 0).all() and (o[..., 8:, :] == 0).all()
print("tiles per slab of 4 queries:", [len(tiles) for _, tiles in slabs_of(allowed, 4, 5)])

# %% [markdown]
# ## 7. Backward
#
# Two things in the backward of a softmax map seem to need the whole map. Neither does.
#
# **The map itself.** We kept $\ell$, one number per row. A tile of the map is made again from its
# scores, already normalised: $A = e^{S - \ell}$.
#
# **The row sum** in $dS = A \odot (dA - \mathrm{rowsum}(dA \odot A))$. Notebook
# [04](04_attention_backward.ipynb) found it for one map. With a weighted sum of maps,
# $o = \sum_i w_i o_i$, the upstream gradient of $o_i$ is $w_i\, do$, so $dA_i = w_i\, do\, v^T$,
# and with $o_i = A_i v$
#
# $$ \mathrm{rowsum}(dA_i \odot A_i)_t = \sum_s w_{i,t} \sum_c do_{tc}\, v_{sc}\, A_{i,ts}
# = w_{i,t} \sum_c do_{tc}\, o_{i,tc} = w_{i,t}\, \langle do, o_i \rangle_t $$
#
# The same inner product is the gradient of the weight, $dw_i = \langle do, o_i \rangle$: it is
# computed once and used twice.

# %%
do = rng.standard_normal((B, H, 7, e))
k_exc, v = rng.standard_normal((B, H, S_len, d)), rng.standard_normal((B, H, S_len, e))
_, head = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate)
g = sigmoid(z_gate)[..., None]
for w, A in ((g, head.A_exc), (-(1 - g), head.A_inh)):
    dA, o_i = w * (do @ swap(v)), A @ v
    by_map, by_output = (dA * A).sum(axis=-1, keepdims=True), w * (do * o_i).sum(axis=-1, keepdims=True)
    assert abs(by_map - by_output).max() < 1e-12
dw_exc, dw_inh = ((do * (A @ v)).sum(axis=-1) for A in (head.A_exc, head.A_inh))
dg = dw_exc + dw_inh  # w_exc = g, w_inh = g - 1
assert abs(gated_head_backward(do, head)[-1] - sigmoid(z_gate) * sigmoid(-z_gate) * dg).max() < 1e-12
print("from the map, from the output:", by_map[0, 0, :3, 0], by_output[0, 0, :3, 0])

# %% tags=["blank"]
# Your turn, on paper: one query, two keys, one map A = (3/4, 1/4), v = (4, 8), do = 1 and w = 1.
# First <do, o>, then the two numbers of dS.
dS_first, dS_second = ..., ...
two_weights = np.array([3 / 4, 1 / 4])
by_jacobian = (np.diag(two_weights) - np.outer(two_weights, two_weights)) @ [4, 8]
blank((dS_first, dS_second), tuple(by_jacobian), "o = 5. dS = A (do v - 5), and it sums to 0.")

# %% [markdown]
# The rest is the five lines of notebook 04, tile by tile, `[eq:streamed-backward, derived]`. A
# query meets many tiles, so its gradient is added up; a key meets many slabs of queries, so its
# gradient is, too. Here $dS_i$ is the gradient of the scores *without its weight*, that is, for
# $dA = do\,v^T$; $w_i$ is put on where $dS_i$ is used, once per query and key instead of once per
# pair:
#
# $$ dS_i = A_i \odot \big(do\, v^T - \langle do, o_i \rangle\big), \qquad dq_i = \frac{w_i\, dS_i\, k_i}{\sqrt d},
# \qquad dk_i = \frac{(w_i\, dS_i)^T q_i}{\sqrt d}, \qquad dv = \Big(\sum_i w_i A_i\Big)^T do $$
#
# And the gate: $w = (g, -(1 - g))$ gives $dg = dw_{exc} + dw_{inh}$, and $dz = g\,(1 - g)\, dg$.


# %%
def gated_stream_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, allowed):
    slabs = slabs_of(allowed, 4, 5)
    w = sigmoid(z_gate)[..., None], -sigmoid(-z_gate)[..., None]
    maps = []
    for q, k in ((q_exc, k_exc), (q_inh, k_inh)):
        parts = [stream(q[..., rows, :], k, v, tiles) for rows, tiles in slabs]
        o_i, logsumexp = (np.concatenate(part, axis=-2) for part in zip(*parts, strict=True))
        maps.append((q, k, o_i, logsumexp))
    o = w[0] * maps[0][2] + w[1] * maps[1][2]
    return o, (maps, w, v, slabs)


def gated_stream_backward(do, cache):
    maps, w, v, slabs = cache
    dv, dmaps, dw = np.zeros_like(v), [], []
    for (q, k, o_i, logsumexp), w_i in zip(maps, w, strict=True):
        dq, dk, dw_i = np.zeros_like(q), np.zeros_like(k), (do * o_i).sum(axis=-1, keepdims=True)
        for rows, tiles in slabs:
            q_t, w_t, do_t = q[..., rows, :], w_i[..., rows, :], do[..., rows, :]
            for keys, limit in tiles:
                A = np.exp(scores(q_t, k, keys, limit) - logsumexp[..., rows, :])
                dS = A * (do_t @ swap(v[..., keys, :]) - dw_i[..., rows, :])
                dv[..., keys, :] += swap(w_t * A) @ do_t
                dq[..., rows, :] += w_t * (dS @ k[..., keys, :]) / math.sqrt(q.shape[-1])
                dk[..., keys, :] += swap(dS) @ (w_t * q_t) / math.sqrt(q.shape[-1])
        dmaps += [dq, dk]
        dw.append(dw_i)
    dz_gate = (-w[0] * w[1] * (dw[0] + dw[1]))[..., 0]
    return *dmaps, dv, dz_gate


T = 7
causal, nobody = causal_mask(T, S_len), causal_mask(T, S_len).copy()
nobody[..., 4:, :] = False
args = (q_exc, k_exc, q_inh, k_inh, v, z_gate)
for name, mask in {
    "none": np.ones((1, 1, T, S_len), bool),
    "causal": causal,
    "rows without a key": nobody,
}.items():
    o, cache = gated_stream_forward(*args, mask[0, 0])
    o_plain, cache_plain = gated_head_forward(*args, mask)
    assert abs(o - o_plain).max() < 1e-12
    for ours, plain in zip(
        gated_stream_backward(do, cache), gated_head_backward(do, cache_plain), strict=True
    ):
        assert abs(ours - plain).max() < 1e-12
    results = check_pair(gated_stream_forward, gated_stream_backward, (*args, mask[0, 0]))
    print(
        f"mask {name}: equal to the plain head; complex step: {max(r.error for r in results):.0e} at most"
    )

# %% [markdown]
# <details>
# <summary><b>Stop and think</b>:
# the backward makes every tile of the map a second time. Why is that not slower?</summary>
#
# It is more operations: one more product $q k^T$ and the exponentials again. But the plain backward
# has to fetch the kept maps from far memory, and to write and read several intermediate results of
# their size. Where the maps do not fit the cache, computing a number again is cheaper than fetching
# it. Where they do, it is not, and section 9 shows that side too.
# </details>
#
# ## 8. The library's tiles
#
# `dgsa_np/attention/tiled.py` is what you have just written, made to run on a batch, on heads, and
# on two devices. This is its heart:

# %%
print(inspect.getsource(tiled._stream))
same = ("m_old, m = m, xp.maximum(m, E.real.max(axis=-1, keepdims=True))", "fade = xp.exp(m_old - m)")
same += ("total = fade * total + row_sum(E)", "o = fade * o + E @ v[..., keys, :]")
assert all(line in inspect.getsource(tiled._stream) for line in same)
backward_source = inspect.getsource(tiled.streamed_backward)
assert "dS = do_t @ swap(v[b, h, keys]) - dw_t" in backward_source
assert "dw = row_sum(do * o_each)" in backward_source

# %% [markdown]
# Our $Z$ is called `total` there. `E -= m` and `out=E` write in place, as measured in section 2;
# the scale $1/\sqrt d$ goes into $Q$ once, not into every score. The $n$ maps of a head are stacked
# along a first axis, so that one call serves both. And `_slabs` takes as many heads at once as the
# cache holds. The formulas are yours. Each mechanism's row in the library's table, `MECHANISMS`,
# has the plain head and, where there is one, the tiled head:

# %%
B, H, T, S_len = 2, 3, 70, 300  # more than one tile of 64 queries and 256 keys
q_exc, q_inh = rng.standard_normal((2, B, H, T, d))
k_exc, k_inh = rng.standard_normal((2, B, H, S_len, d))
v, do = rng.standard_normal((B, H, S_len, e)), rng.standard_normal((B, H, T, e))
z_gate, lam = rng.standard_normal((B, H, T)), rng.random(H)[:, None]
arguments = {
    "softmax": (q_exc, k_exc, v),
    "diff_v1": (q_exc, k_exc, q_inh, k_inh, v, lam),
    "dgsa": (q_exc, k_exc, q_inh, k_inh, v, z_gate),
}
keep = rng.random((B, S_len)) < 0.8
masks = {
    "none": None,
    "causal": causal_mask(T, S_len),
    "causal and padding": causal_mask(T, S_len) & padding_mask(keep),
}
for kind, args in arguments.items():
    plain, on_tiles = MECHANISMS[kind].head, MECHANISMS[kind].tiled
    worst = 0
    for mask in masks.values():
        (o, cache), (o_tiled, cache_tiled) = plain.forward(*args, mask), on_tiles.forward(*args, mask)
        pairs = [(o, o_tiled), *zip(plain.backward(do, cache), on_tiles.backward(do, cache_tiled), strict=True)]
        worst = max([worst, *(abs(a - b).max() for a, b in pairs)])
    assert worst < 1e-12
    print(f"{kind:8s} plain and tiled, outputs and gradients: {worst:.0e} apart at most")

allowed = np.broadcast_to(masks["causal"], (1, 1, T, S_len))[0, 0]
o, cache = gated_stream_forward(*arguments["dgsa"], allowed)
o_tiled, cache_tiled = tiled.tiled_gated_head_forward(*arguments["dgsa"], masks["causal"])
assert abs(o - o_tiled).max() < 1e-12
gradients = tiled.tiled_gated_head_backward(do, cache_tiled)
for ours, library in zip(gated_stream_backward(do, cache), gradients, strict=True):
    assert abs(ours - library).max() < 1e-12
_, cache_plain = gated_head_forward(*arguments["dgsa"], masks["causal"])
assert abs(cache_tiled.A - cache_plain.A).max() < 1e-12  # made again

# %% tags=["blank"]
# Your turn: 70 queries, 300 keys, d = 4. To put 1/sqrt(d) on every score takes how many times as
# many multiplications as to put it on Q?
times_as_many = ...
blank(times_as_many, (q_exc @ swap(k_exc)).size / q_exc.size, "There are 70 x 300 scores. And Q has?")

# %% [markdown]
# ## 9. Memory and time, drawn
#
# The gated head, forward and backward, causal, in float32, one sequence and one head of width 16.
# `tracemalloc` counts the peak of what NumPy allocates. The plain head keeps and makes maps, $T^2$
# numbers each; the tiled one keeps $q, k, v, o$ and one number per row, all proportional to $T$,
# and a few tiles of fixed size. So if $T$ grows by 4, we expect memory to grow by 16 and by at most
# 4, the latter only where the fixed tiles have become small beside the rest:
#
# $$ \frac{\mathrm{plain}(4T)}{\mathrm{plain}(T)} \to 16, \qquad \frac{\mathrm{tiled}(4T)}{\mathrm{tiled}(T)} \to 4 $$

# %% tags=["blank"]
# Your turn: how many MiB (2^20 bytes) does one map take up in float32 at T = 8192? The plain head
# keeps and makes several.
MiB_of_a_map = ...
as_if = np.broadcast_to(np.float32(0), (8192, 8192))  # one number that says it were so many
blank(MiB_of_a_map, as_if.nbytes / 2**20, "T^2 numbers of 4 bytes. 8192 is 2^13.")

# %%
heads = {"plain": MECHANISMS["dgsa"].head, "tiled": MECHANISMS["dgsa"].tiled}
lengths, d = [64, 128, 256, 512, 1024, 2048], 16


def step_of(name, T):
    """One forward and backward of a head, to be called."""
    forward, backward = heads[name]
    q_exc, k_exc, q_inh, k_inh, v, do = rng.standard_normal((6, 1, 1, T, d)).astype("float32")
    z_gate, mask = rng.standard_normal((1, 1, T)).astype("float32"), causal_mask(T)
    return lambda: backward(do, forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask)[1])


def peak_of(step):
    tracemalloc.start()
    step()
    _, bytes_at_most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return bytes_at_most / 2**20


steps = {name: [step_of(name, T) for T in lengths] for name in heads}
seconds = {name: [median_time(step) for step in steps[name]] for name in heads}
peak = {name: [peak_of(step) for step in steps[name]] for name in heads}
growth = {name: peak[name][-1] / peak[name][lengths.index(512)] for name in heads}
longer = peak_of(step_of("tiled", 8192)) / peak["tiled"][-1]
fixed = (4 * peak["tiled"][lengths.index(512)] - peak["tiled"][-1]) / 3  # if the peak is fixed + T times the rest
shares = {T: fixed / peak["tiled"][lengths.index(T)] for T in (512, 2048)}
assert 14 < growth["plain"] < 17 and 1.5 < growth["tiled"] < longer < 4.2
assert shares[512] > 1 / 3 > shares[2048] > 0

# %% mystnb={"image": {"alt": "Peak memory and time of the plain and the tiled head against T from 64 to 2048, all logarithmic. Memory: plain runs along the slope of T squared to over 100 MiB, tiled stays flatter than the slope of T and ends near 2 MiB. Time: tiled starts above plain and ends below it, both bending towards the slope of T squared."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.7))
for ax, measured in ((left, peak), (right, {name: 1e3 * np.array(s) for name, s in seconds.items()})):
    for name, color, marker in (("plain", ORANGE, "s"), ("tiled", BLUE, "o")):
        ax.plot(lengths, measured[name], marker + "-", color=color, label=name)
    for power, style in ((2, ":"), (1, "--")) if ax is left else ((2, ":"),):
        end = measured["plain" if power == 2 else "tiled"][-1] * (1.6 if power == 2 else 0.5)
        guide = end * (np.array(lengths) / lengths[-1]) ** power
        ax.plot(
            lengths, guide, style, color="0.5", lw=1.2, label="slope of T²" if power == 2 else "slope of T"
        )
    ax.set(xscale="log", yscale="log", xlabel="tokens T")
    ax.set_xticks(lengths, [str(T) for T in lengths])
    ax.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    ax.minorticks_off()
left.set(ylabel="peak memory (MiB)", title="memory: a square, and less than a line")
right.set(ylabel="time, forward and backward (ms)", title="time: both turn towards the square")
left.legend(fontsize=9)
plt.show()
for name in heads:
    print(f"{name}: from T = 512 to 2048 the peak grows {growth[name]:.1f} times, ", end="")
    print(f"time {seconds[name][-1] / seconds[name][3]:.1f} times")
print(f"tiled: from T = 2048 to 8192 the peak grows {longer:.1f} times; of fixed size are ", end="")
print(", ".join(f"{share:.0%} at T = {T}" for T, share in shares.items()))
print(f"T = 2048: {peak['plain'][-1]:.0f} MiB plain, {peak['tiled'][-1]:.1f} tiled; ", end="")
print(f"time, plain over tiled: {seconds['plain'][-1] / seconds['tiled'][-1]:.1f}")
print(f"T = 64: time, plain over tiled: {seconds['plain'][0] / seconds['tiled'][0]:.2f}")
print("the library takes tiles at T =", [T for T in lengths if tiled.tiles_are_faster(np, T, T)])
assert not tiled.tiles_are_faster(np, 64, 64) and tiled.tiles_are_faster(np, 2048, 2048)

# %% [markdown]
# Read the slopes, at the right end. Memory: the plain head runs along the square. The tiled one is
# still flatter than the line: a part of its memory, the tiles, has a fixed size, and the print says
# how large a part. Time: **both turn towards the square** as the fixed costs of the calls stop to
# matter. Tiling does not make attention linear. It saves the fetching and the skipped half of the
# map, a factor and not a slope. And at the left end, where a whole map fits the cache anyway, tiles
# gain little or nothing and cost some calls; see the last lines. So the library chooses by size:
# `AttentionConfig(impl="auto")` asks `tiled.tiles_are_faster`, which asks whether the map is large.
#
# ## 10. A step on memory that stands still
#
# Tiles help long sequences. But a training step is more than its maps, and all of it pays what
# section 2 measured: each line of a formula makes a new array. The system finds its pages, clears
# them, and soon has them back. A step does so some hundreds of times, and the next step does it
# again, **with arrays of the same sizes**.
#
# So all arrays can be set aside once, before the first step. NumPy's functions take `out=`, the
# array that the result is to go to. And then something else stands still, too: each call has the
# same function and the same arrays as in the step before. Only the numbers in them are new. So the
# calls can be written down once, in a list, and a step is: make all calls of the list. Take the
# factor of RMSNorm, `[eq:rmsnorm, standard]`,
#
# $$ r = \frac{1}{\sqrt{\mathrm{mean}(x^2) + \epsilon}} $$
#
# On paper: two tokens, whose mean squares are 3 and 8, and $\epsilon = 1$, so that the roots are
# whole. Then $r$ is $\frac12$ and $\frac13$. One array holds the mean squares first, then the sums,
# then the roots, and in the end $r$.

# %%
r = np.empty(2)
calls = [partial(np.add, r, 1, out=r), partial(np.sqrt, r, out=r), partial(np.divide, 1, r, out=r)]

program = Program(np)  # the library writes the same list in this way
program.into(r).add(r, 1).sqrt(r).divide(1, r)
assert [call.func for call in program.calls] == [call.func for call in calls]
assert all(call.keywords["out"] is r for call in program.calls)

for mean_squares, by_hand in (((3, 8), (1 / 2, 1 / 3)), ((0, 15), (1, 1 / 4))):
    r[:] = mean_squares  # new numbers in the same memory
    for call in calls:
        call()
    assert abs(r - by_hand).max() < 1e-15
    r[:] = mean_squares
    program()
    assert abs(r - by_hand).max() < 1e-15
print("two batches, one list of", len(calls), "calls; r is now", r)

# %% tags=["blank"]
# Your turn: the memory holds the mean square 3, eps is 1. The list is called twice, and nobody writes
# new numbers in between. What does the memory hold then?
after_two_calls = ...
memory = np.array([3.0])
its_program = Program(np)
its_program.into(memory).add(memory, 1).sqrt(memory).divide(1, memory)
its_program()
its_program()
blank(after_two_calls, memory[0], "After the first call it holds 1/2. What is this to the second?", rtol=1e-3)

# %% [markdown]
# `into(r)` says where results go, and each word after it is one call. A real step has the same
# form. Here is the one of a tiny model: 2 sequences of 4 tokens out of 5, width 12, 2 heads, one
# block. Its calls come in *phases*, and the list of forward and backward begins like this:

# %%
tiny = ModelConfig(kind="dgsa", task="lm", width=12, n_heads=2, depth=1, max_len=4, vocab_size=5)
step = make_step(tiny, batch=2, threads=1)
names = "fold the matrices", "forward and backward", "unfold", "square the gradient", "clip", "AdamW"
phases = zip(names, step.gradient_phases + step.update_phases, strict=True)
print(", ".join(f"{name}: {sum(len(program.calls) for program in programs)}" for name, programs in phases), "calls\n")

meaning = ["x = table[tokens]", "x + positions", "x * x", "its means", "+ eps", "the root", "r, as above", "n = x r"]
meaning += ["queries, keys, values and gates: n W_in", "the gate's bias"]
first_calls = step.shards[0].program.calls[: len(meaning)]
for call, what in zip(first_calls, meaning, strict=True):
    shapes = " ".join(str(getattr(a, "shape", a)) for a in call.args)
    print(f"{call.func.__name__:9s} {shapes:27s} -> {call.keywords['out'].shape!s:13s} {what}")
expected = ["take", "add", "multiply", "matmul", "add", "sqrt", "divide", "multiply", "matmul", "add"]
assert [call.func.__name__ for call in first_calls] == expected
assert [first_calls[i].keywords["out"] is first_calls[4].args[0] for i in range(3, 7)] == 4 * [True]  # one r

# %% [markdown]
# A step is made for batches of one size. `make_step` sets its memory aside, `set` copies parameters
# in, `gradients` goes forward and backward, and `grads` copies the gradients out. What is still
# allocated then? `tracemalloc` watches one step of each kind.

# %%
cfg = ModelConfig(kind="dgsa", task="lm", width=64, n_heads=4, depth=2, max_len=128, vocab_size=64)
params = init_model(cfg, np.random.default_rng(0))
tokens = rng.integers(0, 64, (16, 129))
inputs, targets = tokens[:, :-1], tokens[:, 1:]

held = peak_of(lambda: make_step(cfg, batch=16, threads=1))
step = make_step(cfg, batch=16, threads=1)
step.set(params)
loss = step.gradients(inputs, targets)
loss_plain, grads_plain = loss_and_grads(params, inputs, targets, cfg)
assert abs(loss - loss_plain) < 1e-5  # float32
new = peak_of(lambda: step.gradients(inputs, targets))
new_plain = peak_of(lambda: loss_and_grads(params, inputs, targets, cfg))
assert new < new_plain / 20 and held < 1.5 * new_plain
print(f"the plain step has up to {new_plain:.0f} MiB of new arrays at once; the fast one {new:.1f} MiB")
print(f"making it took {held:.0f} MiB, which it keeps")

# %% [markdown]
# (The rest are the batch as it comes in, and rooms that NumPy makes for itself.) The price is to be
# seen in the code: it says where things lie, next to what is computed. That is why the formulas
# stay plain, and only the files of `fast/` are written so.
#
# ## 11. Folding: the gain goes into the matrix
#
# Behind a norm stand a gain and a matrix: $y = (n \odot w)\, W$. The gain multiplies each of $N$
# tokens. But it can as well multiply the other factor of each product:
#
# $$ y_{tj} = \sum_i (n_{ti}\, w_i)\, W_{ij} = \sum_i n_{ti}\, (w_i W_{ij}), \qquad
# W' = \mathrm{diag}(w)\, W, \quad y = n\, W' $$
#
# Backward, the tokens know only $W'$ and give $dW' = n^T dy$. From $W'_{ij} = w_i W_{ij}$ follows
# what $W$ and $w$ get of it:
#
# $$ dW_{ij} = w_i\, dW'_{ij}, \qquad dw_i = \sum_j W_{ij}\, dW'_{ij} $$
#
# On paper, one token: $n = (1, 2)$, $w = (3, \frac12)$, and $W$ has the rows $(1, 2)$ and $(4, 6)$.
# In the old order, $n \odot w = (3, 1)$ and $y = (3 + 4,\; 6 + 6) = (7, 12)$. In the new one, $W'$
# has the rows $(3, 6)$ and $(2, 3)$, and $y = (3 + 4,\; 6 + 6)$ again. Now $dy = (1, -1)$. Then
# $dW'$ has the rows $(1, -1)$ and $(2, -2)$, so $dW$ has $(3, -3)$ and $(1, -1)$, and
# $dw = (1 - 2,\; 8 - 12) = (-1, -4)$.
#
# The same works for several matrices that meet the same tokens. They are put side by side into one
# $W$, and one product serves queries, keys, values and gates.

# %%
n, w, W, dy = np.array([[1.0, 2]]), np.array([3, 0.5]), np.array([[1.0, 2], [4, 6]]), np.array([[1.0, -1]])
folded, dfolded = w[:, None] * W, n.T @ dy
assert ((n * w) @ W == [7, 12]).all() and (n @ folded == [7, 12]).all()
assert (w[:, None] * dfolded == [[3, -3], [1, -1]]).all() and ((W * dfolded).sum(axis=1) == [-1, -4]).all()

# against the library's pairs: a norm with a gain, then two matrices
x, w, W_1, W_2 = (rng.standard_normal(shape) for shape in ((7, 6), 6, (6, 4), (6, 3)))
dy = rng.standard_normal((7, 4 + 3))
nw, norm = rmsnorm_forward(x, w)
(y_1, pair_1), (y_2, pair_2) = linear_forward(nw, W_1), linear_forward(nw, W_2)
(dnw_1, dW_1), (dnw_2, dW_2) = linear_backward(dy[:, :4], pair_1), linear_backward(dy[:, 4:], pair_2)
dx, dw = rmsnorm_backward(dnw_1 + dnw_2, norm)

W = np.hstack([W_1, W_2])
folded = w[:, None] * W
n, bare = rmsnorm_forward(x, np.ones(6))  # no gain
assert abs(n @ folded - np.hstack([y_1, y_2])).max() < 1e-12
dfolded = n.T @ dy
assert abs(rmsnorm_backward(dy @ folded.T, bare)[0] - dx).max() < 1e-12
assert abs(w[:, None] * dfolded - np.hstack([dW_1, dW_2])).max() < 1e-12
assert abs((W * dfolded).sum(axis=1) - dw).max() < 1e-12
print("folded and unfolded: the same y, dx, dW and dw")

# %% tags=["blank"]
# Your turn, on paper: a second token joins the one above, n = (0, 1) with dy = (0, 2). W still has the
# rows (1, 2) and (4, 6). What is dw = (dw_1, dw_2) now?
dw_1, dw_2 = ..., ...
n_of_two, dy_of_two, W_on_paper = np.array([[[1, 2], [0, 1]], [[1, -1], [0, 2]], [[1.0, 2], [4, 6]]])
unfolded = (dy_of_two @ W_on_paper.T * n_of_two).sum(axis=0)  # the old order, over the tokens
blank((dw_1, dw_2), tuple(unfolded), "dW' has the rows (1, -1) and (2, 0).")

# %% [markdown]
# The three products have not changed. What has moved are the passes around them: the gain in the
# forward, the gain in the backward, and the sum for $dw$. They went over the $N$ rows of tokens,
# and now go over a matrix. Our step has $N = 16 \cdot 128 = 2048$ tokens of width 64, and all its
# projections together are a matrix of 196 columns. (With fewer tokens than columns we would lose.)

# %%
N, C, P = 2048, 64, 196
n, dn, room, w = (rng.standard_normal(shape, "float32") for shape in ((N, C), (N, C), (N, C), C))
W, dfolded, room_W, y = (rng.standard_normal(shape, "float32") for shape in ((C, P), (C, P), (C, P), (N, P)))


def passes_over_tokens():
    np.multiply(n, w, out=room)
    np.multiply(dn, n, out=room).sum(axis=0)
    np.multiply(dn, w, out=room)


def passes_over_matrix():
    np.multiply(W, w[:, None], out=room_W)
    np.multiply(W, dfolded, out=room_W).sum(axis=1)
    np.multiply(dfolded, w[:, None], out=room_W)


def three_products():
    np.matmul(n, W, out=y)
    np.matmul(y, W.T, out=dn)
    np.matmul(n.T, y, out=dfolded)


assert n.size / W.size == N / P
times = [1e6 * median_time(f) for f in (passes_over_tokens, passes_over_matrix, three_products)]
print("passes over {:,} and over {:,} numbers: {:.0f} and {:.0f} µs; ".format(n.size, W.size, *times), end="")
print(f"the products: {times[2]:.0f} µs")

# %% [markdown]
# In the same way $1/\sqrt d$ goes into the columns of the queries, and the gain of the head norm,
# times $1 - \lambda_{init}$, into $W_o$. `fold_block` in `fast/weights.py` says it for all of them.
#
# ## 12. Exponentials that are never divided
#
# A softmax map is $A = E / \mathrm{rowsum}(E)$ with $E = e^S$: a division for each *pair* of query
# and key. But a row has one sum. And the weight $w$ of a map, $g$ or $-(1 - g)$, is one number per
# row as well. So both go into one factor $c$ per row, and the two maps are never made:
#
# $$ F = c_{exc}\, E_{exc} + c_{inh}\, E_{inh}, \qquad c_i = \frac{w_i}{\mathrm{rowsum}(E_i)}, \qquad o = F v $$
#
# Backward, with $dF = do\, v^T$: the gradient of a map is $dA_i = w_i\, dF$, and notebook 04 says
# $dS_i = A_i \odot (dA_i - \mathrm{rowsum}(dA_i \odot A_i))$. Put in what $A_i$ is, and all factors
# of the row come together in $c_i$ again:
#
# $$ r_i = \frac{\mathrm{rowsum}(E_i \odot dF)}{\mathrm{rowsum}(E_i)}, \qquad X_i = E_i \odot (dF - r_i), \qquad
# dS_i = c_i\, X_i $$
#
# $$ dq_i = c_i\, (X_i\, k_i), \qquad dk_i = X_i^T (c_i\, q_i), \qquad dv = F^T do, \qquad dw_i = r_i $$
#
# ($q$ stands for $q / \sqrt d$, by section 11.) The factor $c$ waits until a row has become $d$
# numbers, instead of one per key.
#
# On paper, a query and two keys: excitatory scores $\ln 3, \ln 1$, inhibitory ones $0, 0$, and
# $g = \frac34$. Then $E_{exc} = (3, 1)$, $E_{inh} = (1, 1)$, $c_{exc} = \frac34 / 4 = \frac3{16}$,
# $c_{inh} = -\frac14 / 2 = -\frac18$, and $F = (\frac9{16} - \frac2{16},\; \frac3{16} - \frac2{16})
# = (\frac7{16}, \frac1{16})$. It sums to $2g - 1 = \frac12$, as it must. With $dF = (1, 0)$:
# $r_{exc} = \frac34$, $r_{inh} = \frac12$, $X_{exc} = (3 \cdot \frac14,\; -\frac34)$ and
# $dS_{exc} = (\frac9{64}, -\frac9{64})$. The gate gets $dg = r_{exc} + r_{inh} = \frac54$.


# %%
E, g, dF = np.array([[3.0, 1], [1, 1]]), 3 / 4, np.array([1.0, 0])  # E: excitatory, inhibitory
c = np.array([[g], [g - 1]]) / E.sum(axis=1, keepdims=True)
r = (E * dF).sum(axis=1, keepdims=True) / E.sum(axis=1, keepdims=True)
X = E * (dF - r)
assert ((c * E).sum(axis=0) == [7 / 16, 1 / 16]).all()
assert (X[0] == [3 / 4, -3 / 4]).all() and (c[0] * X[0] == [9 / 64, -9 / 64]).all() and r.sum() == 5 / 4


def undivided_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, limit=0.0):
    q, k = np.stack([q_exc, q_inh]) / math.sqrt(q_exc.shape[-1]), np.stack([k_exc, k_inh])
    w = np.stack([sigmoid(z_gate), -sigmoid(-z_gate)])[..., None]
    E = np.exp(q @ swap(k) + limit)
    sums = row_sum(E)
    c = w / sums
    F = (c * E).sum(axis=0)
    return F @ v, (q, k, v, w, E, sums, c, F)


def undivided_backward(do, cache):
    q, k, v, w, E, sums, c, F = cache
    dF = do @ swap(v)
    r = row_sum(E * dF) / sums
    X = E * (dF - r)
    dq, dk, dv = c * (X @ k) / math.sqrt(q.shape[-1]), swap(X) @ (c * q), swap(F) @ do
    dz_gate = (-w[0] * w[1] * (r[0] + r[1]))[..., 0]
    return dq[0], dk[0], dq[1], dk[1], dv, dz_gate


B, H, T, d = 16, 4, 64, 8
q_exc, k_exc, q_inh, k_inh = rng.standard_normal((4, B, H, T, d))
(v, do), z_gate = rng.standard_normal((2, B, H, T, 2 * d)), rng.standard_normal((B, H, T))
args, limit = (q_exc, k_exc, q_inh, k_inh, v, z_gate), np.where(causal_mask(T), 0, -np.inf)
for ours, plain in (((*args, limit), (*args, causal_mask(T))), (args, args)):
    (o, cache), (o_plain, cache_plain) = undivided_forward(*ours), gated_head_forward(*plain)
    assert abs(o - o_plain).max() < 1e-12
    gradients = undivided_backward(do, cache), gated_head_backward(do, cache_plain)
    assert all(abs(a - b).max() < 1e-11 for a, b in zip(*gradients, strict=True))
plain_head = median_time(lambda: gated_head_backward(do, gated_head_forward(*args)[1]))
our_head = median_time(lambda: undivided_backward(do, undivided_forward(*args)[1]))
print(f"forward and backward: the plain head {1e3 * plain_head:.1f} ms, undivided {1e3 * our_head:.1f} ms, ", end="")
print("both with new arrays")

# %% tags=["blank"]
# Your turn, on paper, as above, now for the inhibitory map: E = (1, 1), c = -1/8, dF = (1, 0).
# What are the two numbers of dS_inh?
dS_inh_first, dS_inh_second = ..., ...
blank((dS_inh_first, dS_inh_second), tuple(c[1] * X[1]), "r = 1/2. First X = E (dF - r).")

# %% [markdown]
# **And the shift?** Softmax subtracts the largest score, so that no exponential overflows, which in
# float32 happens from 88 on. Scores between $-40$ and $40$ are *mild*: $e^{40}$ is about $10^{17}$,
# and a million of them add up to far less than float32's $10^{38}$. So on a CPU the fast step looks
# at the smallest and the largest score, and if both are mild it takes exponentials as they are. (On
# a GPU it always shifts: looking would mean waiting.)
#
# <details>
# <summary><b>Stop and think</b>:
# all scores of a row are shifted by s. What happens to E, c, F, r, X and dS?</summary>
#
# $E$ has the factor $e^s$, and so has its sum: $c$ has $e^{-s}$. $F$ and $r$ stay as they are. $X$
# has the factor $e^s$, and $dS = c X$ has none. So no other line of the formulas has to know
# whether there was a shift. The cell asserts it.
# </details>
#
# **Blocks of queries.** One factor per row needs whole rows. So the fast step does not cut keys
# into tiles, as sections 3 to 8 do; it cuts queries into blocks. In a language model a block leaves
# out the keys behind its last query: with $n$ blocks the part $\frac{n + 1}{2n}$ of the scores is
# computed, as in section 6. For long sequences, whose maps would fill the memory, blocks have at
# most 64 queries, no map is kept, and the backward makes those of a block once more.

# %%
S = rng.standard_normal((1, 1, 5, 7), "float32")
top, dF = np.empty((1, 1, 5, 1), "float32"), rng.standard_normal((1, 1, 5, 7), "float32")
for loud in (1, 100):
    E = loud * S
    exponentials(np, E, top, [])  # the library's, in place
    print(f"scores up to {abs(loud * S).max():4.0f}: the largest exponential is {E.max():.2f}")
    assert abs(E - np.exp(S)).max() < 1e-4 if loud == 1 else E.max() == 1
    E_shifted = np.exp(loud * S - (loud * S).max(axis=-1, keepdims=True))
    c, c_shifted = 1 / row_sum(E), 1 / row_sum(E_shifted)
    r, r_shifted = row_sum(E * dF) * c, row_sum(E_shifted * dF) * c_shifted
    assert abs(c * E - c_shifted * E_shifted).max() < 1e-5 and abs(r - r_shifted).max() < 1e-5
    assert abs(c * E * (dF - r) - c_shifted * E_shifted * (dF - r_shifted)).max() < 1e-5
largest, smallest = np.exp(np.array([40, -40], "float32"))
assert 1e6 * float(largest) < 1e-14 * np.finfo("float32").max and float(smallest) > 1e20 * np.finfo("float32").tiny

blocks = query_blocks(128, causal=True, tiled=False)
n = len(blocks)
print("first query, end, keys that are seen:", blocks)
assert sum((stop - start) * keys for start, stop, keys in blocks) == (n + 1) / (2 * n) * 128**2
assert max(stop - start for start, stop, _ in query_blocks(2000, causal=True, tiled=True)) <= 64

# %% [markdown]
# ## 13. What threads add
#
# So far one core worked. NumPy gives Python's lock back while it computes, so two Python threads
# can compute at the same time on two cores. A step cuts its batch into one *shard* per thread, and
# each shard has memory and a program of its own. The loss is a mean over $n$ targets, so shard $i$,
# with $n_i$ of them, counts with the weight $n_i / n$; and so do its gradients:
#
# $$ L = \sum_i \frac{n_i}{n} L_i, \qquad dW = \sum_i \frac{n_i}{n}\, dW_i $$
#
# Which thread is first is chance. In floating point $(a + b) + c \ne a + (b + c)$, so if shards
# were added as they arrive, two runs would differ in their last bits. They are added in the order
# of the batch, whoever was first. So the same threads give the same bits; another *number* of
# threads is another order of summation, and equal to rounding.

# %%
assert (0.1 + 0.2) + 0.3 != 0.1 + (0.2 + 0.3)

params = init_model(cfg, np.random.default_rng(0), "float64")
inputs, targets = tokens[:7, :-1], tokens[:7, 1:]
parts = [slice(0, 3), slice(3, 7)]  # by hand: two shards, of 3 and 4 sequences
results = [loss_and_grads(params, inputs[rows], targets[rows], cfg) for rows in parts]
by_hand = 3 / 7 * results[0][0] + 4 / 7 * results[1][0]
dW_by_hand = 3 / 7 * results[0][1]["head"]["W"] + 4 / 7 * results[1][1]["head"]["W"]

loss, grads = loss_and_grads(params, inputs, targets, cfg)
flat = flatten(grads)
assert abs(by_hand - loss) < 1e-12 and abs(dW_by_hand - grads["head"]["W"]).max() < 1e-12
for threads in (1, 2, 3):
    step = make_step(cfg, batch=7, threads=threads, dtype="float64")
    step.set(params)
    once, twice = ((float(step.gradients(inputs, targets)), flatten(step.grads())) for _ in range(2))
    assert once[0] == twice[0] and all((once[1][name] == twice[1][name]).all() for name in flat)  # the same bits
    off = max(abs(once[1][name] - flat[name]).max() / abs(flat[name]).max() for name in flat)
    assert off < 1e-12 and abs(once[0] - loss) < 1e-12  # equal to rounding
    print(f"threads: {threads}, twice the same bits; {off:.0e} from the plain step, relative")
through_the_door = loss_and_grads_threaded(params, inputs, targets, cfg, threads=3)[1]
assert all((a == once[1][name]).all() for name, a in flatten(through_the_door).items())

# %% tags=["blank"]
# Your turn: shards of 3 and 4 sequences of equal length have the losses 2.0 and 2.7. The loss of all?
loss_of_all = ...
blank(loss_of_all, np.average([2.0, 2.7], weights=[3, 4]), "Not the mean of the two: a shard counts with its targets.")

# %% [markdown]
# The last lines are a door for those who want gradients once, as `loss_and_grads` gives them:
# `loss_and_grads_threaded` makes a step, takes it and throws it away. So it pays for fresh pages in
# each call, which is just what a step is there to avoid: whoever trains makes one and keeps it.
# From here on we count time as a clock does, since processor time does not shrink when two cores
# share the work.


# %%
def in_turns(contest, rounds=9):
    """{name: milliseconds} and cores at work. All take turns: what disturbs one disturbs all."""
    times, busy = {name: [] for name in contest}, {name: [] for name in contest}
    for _ in range(rounds):
        for name, f in contest.items():
            start, cpu = time.perf_counter(), time.process_time()
            f()
            times[name].append(1e3 * (time.perf_counter() - start))
            busy[name].append(1e3 * (time.process_time() - cpu))  # of all threads of this process
    return {name: np.median(ms) for name, ms in times.items()}, [sum(busy[n]) / sum(times[n]) for n in contest]


cfg = ModelConfig(kind="dgsa", task="lm", width=128, n_heads=4, depth=2, max_len=64, vocab_size=64)
params = init_model(cfg, np.random.default_rng(0))  # float32, as in training
tokens = rng.integers(0, 64, (32, 65))
batch = tokens[:, :-1], tokens[:, 1:]
steps = {threads: make_step(cfg, batch=32, threads=threads) for threads in (1, 2, 4)}
for step in steps.values():
    step.set(params)
contest = {threads: partial(step.gradients, *batch) for threads, step in steps.items()}
milliseconds, at_work = in_turns(contest | {"door": partial(loss_and_grads_threaded, params, *batch, cfg)})
one, two, four, door = milliseconds.values()
print(f"one thread takes {one:.0f} ms for a step; made for one call, on all cores, it takes {door:.0f} ms")
print(f"against one thread: two are {one / two:.2f} times as fast, four {one / four:.2f} times")
print("cores that worked for us, on average:", ", ".join(f"{a:.1f}" for a in at_work[:3]))
print(f"left to itself, the library takes {choose_threads('cpu', 32, cfg)} here")

# %% [markdown]
# On two cores, two threads can at best be twice as fast, on a machine with nothing else to do. The
# line "cores that worked for us" says how far we got: if two threads had little more than one core,
# another program had the rest, or they waited. Even alone they wait at times: Python's own work
# between the calls stays in one thread at a time, the cores share the way to the main memory, and
# the first one done waits for the last. More threads than cores add no hands. Left to itself, the
# library takes one per core for large steps and one in all for small ones, which are over before
# the work has been handed out.
#
# ## 14. One flat vector
#
# A model has dozens of parameters, and AdamW does the same with each number in them, whatever
# matrix it is in. So the step holds all parameters in one vector, one after the other; another
# holds their gradients, and two the moments. A parameter is a *view*, a window on its part of the
# vector. Clipping, `[eq:clip, published]`, and AdamW, `[eq:adamw, published]`, become
#
# $$ g \leftarrow g\, \min\Big(1, \frac{\mathrm{clip}}{\lVert g \rVert}\Big), \qquad m \leftarrow b_1 m + (1 - b_1)\, g,
# \qquad v \leftarrow b_2 v + (1 - b_2)\, g^2 $$
#
# $$ p \leftarrow p - \eta\, \Big( \frac{m / (1 - b_1^t)}{\sqrt{v / (1 - b_2^t)} + \epsilon}
# + \mathrm{decay} \odot p \Big) $$
#
# where decay is a vector, too: only matrices decay, and for all others it holds 0. On paper, the
# first step of two numbers, $p = (1, 2)$, of which the first decays by $\frac12$. With
# $g = (3, -4)$ and clip 1 the norm is 5, and $g$ becomes $(0.6, -0.8)$. In the first step the
# quotients are $m / (1 - b_1) = g$ and $v / (1 - b_2) = g^2$, so the fraction is the sign of $g$.
# With $\eta = 0.1$ we get $p = (1 - 0.1\, (1 + 0.5),\; 2 + 0.1) = (0.85,\; 2.1)$.


# %%
def flat_step(p, g, m, v, decay, t, lr, clip=1.0, b1=0.9, b2=0.999, eps=1e-8):
    norm = math.sqrt(g @ g)
    g = g * min(1, clip / (norm + 1e-12))
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    return p - lr * (m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * p), m, v, norm


p, m, v, norm = flat_step(*np.array([[1.0, 2], [3, -4], [0, 0], [0, 0], [0.5, 0]]), t=1, lr=0.1)
assert norm == 5 and abs(m - [0.06, -0.08]).max() < 1e-12 and abs(p - [0.85, 2.1]).max() < 1e-8


def as_vector(tree):
    return np.concatenate([a.reshape(-1) for a in flatten(tree).values()])


# five steps of a small model in float64, in three ways
small = ModelConfig(kind="dgsa", task="lm", width=24, n_heads=2, depth=2, max_len=16, vocab_size=64)
params = init_model(small, np.random.default_rng(0), "float64")
p, m, v = as_vector(params), 0.0, 0.0
decay = np.concatenate([np.full(a.size, 0.01 if a.ndim > 1 else 0) for a in flatten(params).values()])
windows = views(small, p)  # the library's: looks into p, copies nothing
assert (windows["head"]["W"] == params["head"]["W"]).all() and np.shares_memory(windows["head"]["W"], p)

optimizer, step = adamw_init(params), make_step(small, batch=6, threads=2, dtype="float64")
step.set(params)
for t in range(1, 6):
    tokens = rng.integers(0, 64, (6, 17))
    loss, grads = loss_and_grads(params, tokens[:, :-1], tokens[:, 1:], small)
    p, m, v, norm = flat_step(p, as_vector(grads), m, v, decay, t, lr=0.01)
    clipped, norm_plain = clip_by_norm(grads, 1.0)
    params, optimizer = adamw_step(params, clipped, optimizer, lr=0.01)
    loss_fast, norm_fast = step.train(tokens[:, :-1], tokens[:, 1:], lr=0.01)
    assert max(abs(loss_fast - loss), abs(norm_fast - norm), abs(norm_plain - norm)) < 1e-12
    fast = as_vector(step.state()[0])
    assert abs(p - as_vector(params)).max() < 1e-12 and abs(fast - as_vector(params)).max() < 1e-12
calls = sum(len(program.calls) for programs in step.update_phases for program in programs)
print(f"{count(params):,} parameters in {len(flatten(params))} arrays; clipping and AdamW on vectors: {calls} calls")

# %% tags=["blank"]
# Your turn: the first step on paper, p = (1, 2), g = (3, -4), decay (1/2, 0), lr = 0.1, but clip is 10
# in place of 1, so nothing is clipped. What is p = (p_1, p_2) after it?
p_1, p_2 = ..., ...
on_paper = np.array([[1.0, 2], [3, -4], [0, 0], [0, 0], [0.5, 0]])  # p, g, m, v, decay
blank((p_1, p_2), tuple(flat_step(*on_paper, t=1, lr=0.1, clip=10.0)[0]),
      "In the first step, does the size of g matter?")  # fmt: skip

# %% [markdown]
# Larger models have more calls, but not because of their matrices. On a CPU the vectors are cut
# into pieces of $2^{15}$ numbers, and each piece goes through all of AdamW before the next one is
# touched. Seven such pieces (of five vectors, and room for two results) are 896 KiB in float32: *do
# it in pieces that fit the cache.* And `step.train` is sections 10 to 14 in one call.
#
# ## 15. All of it, measured
#
# A whole training step, the model of section 13: as formulas, and by the fast step.

# %% mystnb={"image": {"alt": "Three horizontal bars of ms per training step, longest first: plain on one core, the fast step with one thread, the fast step with a thread per core."}}
params = init_model(cfg, np.random.default_rng(0))
optimizer = adamw_init(params)


def plain_train():
    loss, grads = loss_and_grads(params, *batch, cfg)
    clipped, norm = clip_by_norm(grads, 1.0)
    return adamw_step(params, clipped, optimizer, lr=1e-3)


contest = {"plain, one core": plain_train}
most = choose_threads("cpu", 32, cfg)  # one per core
for name, threads in {"fast, one thread": 1, f"fast, {most} threads": most}.items():
    step = make_step(cfg, batch=32, threads=threads)
    step.set(params)
    step.train(*batch)
    difference = as_vector(step.state()[0]) - as_vector(plain_train()[0])
    assert np.sqrt(np.mean(difference**2)) < 1e-5  # float32
    contest[name] = partial(step.train, *batch)
milliseconds, _ = in_turns(contest)

fig, ax = plt.subplots(figsize=(7.5, 2.3))
ax.barh(range(len(contest)), milliseconds.values(), color=[ORANGE, BLUE, BLUE], height=0.6)
for i, ms in enumerate(milliseconds.values()):
    ax.text(ms, i, f" {ms:.0f} ms", va="center", fontsize=9)
ax.set_yticks(range(len(contest)), list(contest), fontsize=9)
ax.set(xlabel="ms per training step", title="32 sequences of 64 tokens, width 128, two blocks of dgsa")
ax.set_xlim(0, 1.15 * max(milliseconds.values()))
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
plt.show()
plain, *fast = milliseconds.values()
print("times as fast as the plain step:", ", ".join(f"{plain / ms:.1f}" for ms in fast))

# %% [markdown]
# From the first bar to the second nothing was given up: the same formulas, up to rounding, on the
# same core. The matrix products are in both, and they set the floor. The library's commands train
# like this where a mechanism has a fast step, and so does `train` with
# `step=choose_step(model, cfg)`; `TrainConfig(step="plain")` asks for the formulas. And the tests
# ask of every such mechanism, task and mask what this notebook asked of one: that fast and plain
# agree.
#
# ## What you now know
#
# - A number costs by where it lies: cache, memory, or a page that nobody has touched. Lines come
#   whole, so neighbours are free; large fresh arrays are not.
# - A softmax can be summed in pieces: keep $m$, $Z$, $o$, and let them fade by $e^{m_{old} - m}$.
#   Nothing is approximated. Weighted sums of maps need nothing more.
# - The backward needs $\ell$, one number per row, and $\langle do, o_i\rangle$, another. Memory
#   becomes linear. Time stays a square, with a smaller factor.
# - A step is the same calls on the same arrays each time: write them down once, and set the memory
#   aside once.
# - A factor goes where it meets the fewest numbers: a gain into a matrix, a division into a row.
# - Threads share the batch; a fixed order of addition keeps the bits. And an optimiser needs no
#   matrices, only one long vector.
#
# ## Exercises
#
# **1.** Stream the tiles backwards, or in random order. What changes? For keys whose scores rise
# from tile to tile, in how many steps is the fading factor less than 1; for falling scores?
#
# <details><summary>Answer</summary>
#
# Joining is a maximum and sums, so the order changes the rounding alone. With rising scores every
# tile but the first lets the past fade; with falling scores none does. (In the first step there is
# nothing yet to fade.)
# </details>
#
# **2.** Two machines hold one half of the keys each. Each sends $o_i$ (already divided) and
# $\ell_i$, but neither $m$ nor $Z$. Can the halves be joined?
#
# <details><summary>Answer</summary>
#
# Yes: $\ell_i$ is $m$ and $Z$ in one number. With $\ell = \ln(e^{\ell_1} + e^{\ell_2})$, the output
# is $o = e^{\ell_1 - \ell} o_1 + e^{\ell_2 - \ell} o_2$: a softmax over the two halves. Very long
# sequences are shared by several GPUs in this way.
# </details>
#
# **3.** Section 11 folds the gain $w$ of a norm into the matrix behind it. LayerNorm has a bias as
# well: $y = (n \odot w + b)\, W$. Can $b$ be folded too? What is its gradient?
#
# <details><summary>Answer</summary>
#
# Yes: $y = n W' + b'$ with $b' = b\, W$, one row that is added to all tokens. Its gradient is the
# sum of the rows of $dy$, and $db = W\, db'$: a product with one row instead of with all tokens.
# </details>
#
# The cell below asserts what the answers say.

# %%
# 1
q, k, v = rng.standard_normal((3, 1, 1, 12, 4))
tiles, (plain, _) = cut(12, 3), softmax_head_forward(q, k, v)
for order in (tiles[::-1], [tiles[i] for i in rng.permutation(4)]):
    assert abs(stream(q, k, v, order)[0] - plain).max() < 1e-12


def fading_steps(maxima):
    """Steps after the first in which the running maximum rises."""
    running = np.maximum.accumulate(maxima)
    return int((np.exp(running[:-1] - running[1:]) < 1).sum())


assert fading_steps(np.arange(5.0)) == 4 and fading_steps(-np.arange(5.0)) == 0

# 2
(o_1, ell_1), (o_2, ell_2) = (
    stream(q, k[..., half, :], v[..., half, :], cut(6, 3)) for half in (slice(6), slice(6, 12))
)
ell = np.logaddexp(ell_1, ell_2)
assert abs(np.exp(ell_1 - ell) * o_1 + np.exp(ell_2 - ell) * o_2 - plain).max() < 1e-12

# 3
n, dy = rng.standard_normal((9, 5)), rng.standard_normal((9, 4))
w, b, W = rng.standard_normal(5), rng.standard_normal(5), rng.standard_normal((5, 4))
y, pair = linear_forward(n * w + b, W)
assert abs(n @ (w[:, None] * W) + b @ W - y).max() < 1e-12
db_by_tokens = linear_backward(dy, pair)[0].sum(axis=0)
assert abs(W @ dy.sum(axis=0) - db_by_tokens).max() < 1e-12

# %% [markdown]
# Back to [00 how to read](00_how_to_read.ipynb), to the detour
# [10 Three questions about the gate](10_three_questions_about_the_gate.ipynb), or on into the library:
# `dgsa_np/attention/tiled.py` should read like sections 3 to 8 now, and `dgsa_np/fast/` like
# sections 10 to 15. There, begin with `program.py`; then `Shard.attend` in `shard.py`, `fold_rows`
# and `AdamW` in `weights.py`, and `Step` in `step.py`, which puts them together.
