# %% [markdown]
# # 04 Attention, backward
# *Deep dive; the whole idea in 45 minutes is in [start_here](start_here.ipynb).*
#
# Attention is two matrix products with a softmax between them. Its backward pass is four matrix
# products with a softmax backward between them, in the opposite order. This notebook derives it:
# first for one query and three keys, on paper, then for many queries, a batch, heads, and a whole
# layer. Each step is compared with the library and with a numeric derivative that is exact to
# rounding. Then we break it on purpose, five times.
#
# **You will do**
# - push one gradient backwards through attention, number by number;
# - turn sums over indices into matrix products, and see where the transposes come from;
# - write a whole layer, forward and backward, in 25 lines, and see it agree with the library;
# - plant the five usual mistakes and read what the checker says of each.
#
# **You will learn** why the backward is the forward read upwards, where gradients add, what a mask
# does to gradients, why long sequences can be differentiated without storing the map, what
# `<G_Wq, W_q> = <G_Wk, W_k>` means and what it can detect.
#
# **You need** [03](03_softmax_and_its_gradient.ipynb) (the softmax and its backward, the complex
# step), the chain rule.
#
# **Time** about 50 minutes, and 20 for the twelve blanks: in a cell that begins with
# `# Your turn` replace the dots and run it again, and it says whether you are right.

# %%
try:
    import dgsa_np  # noqa: F401
except ModuleNotFoundError:  # as on Colab: install it, from where this notebook comes
    source = "..[notebooks]"  # this checkout; make address puts the repository here
    get_ipython().run_line_magic("pip", f'install --quiet "{source}"')  # noqa: F821

# %%
import math
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

from dgsa_np import attention, data, layers, model, ops
from dgsa_np.attention import attention_backward, attention_forward
from dgsa_np.attention.softmax import (
    softmax_head_backward,
    softmax_head_forward,
    softmax_map_backward,
    softmax_map_forward,
)
from dgsa_np.attention.tiled import tiled_softmax_head_forward
from dgsa_np.gradcheck import GradientError, check_pair, compare_pair, complex_step
from dgsa_np.lab.blank import blank
from dgsa_np.losses import cross_entropy_backward, cross_entropy_forward
from dgsa_np.ops import merge_heads, softmax_backward, split_heads, swap
from dgsa_np.params import tree_map
from dgsa_np.train import TrainConfig, train

plt.style.use("dgsa_np.lab.viz")
rng = np.random.default_rng(0)
BLUE, ORANGE = "#0072B2", "#D55E00"

# %% [markdown]
# ## 1. One query, three keys, forward
#
# A *query* $q$ is compared with each *key* $k_j$ by an inner product. The softmax turns the three
# scores into three weights, and the output is the weighted mean of the *values* $v_j$.
# `[eq:softmax-head, standard]`, for one query:
#
# $$ S_j = \frac{1}{\sqrt d} \sum_c q_c\, k_{jc}, \qquad A_j = \frac{e^{S_j}}{\sum_l e^{S_l}}, \qquad
# o_c = \sum_j A_j\, v_{jc} $$
#
# The numbers are chosen so that you can follow on paper: $d = 4$, so $\sqrt d = 2$, and the scores
# come out as $\ln 1, \ln 2, \ln 5$. So the weights are $1/8$, $2/8$, $5/8$.

# %%
d, e, n_keys = 4, 2, 3  # key width, value width, keys
q = np.array([2.0, 0.0, 0.0, 0.0])
k = np.array([[math.log(1), 1.0, 0.0, 2.0], [math.log(2), 0.0, 3.0, 0.0], [math.log(5), -1.0, 0.0, 0.0]])
v = np.array([[4.0, 0.0], [0.0, 4.0], [8.0, 8.0]])

S = [sum(q[c] * k[j, c] for c in range(d)) / math.sqrt(d) for j in range(n_keys)]
total = sum(math.exp(S[j]) for j in range(n_keys))
A = [math.exp(S[j]) / total for j in range(n_keys)]
o = [sum(A[j] * v[j, c] for j in range(n_keys)) for c in range(e)]
print("S", np.round(S, 4), " A", np.round(A, 4), " o", np.round(o, 4))

assert abs(np.array(A) - [1 / 8, 2 / 8, 5 / 8]).max() < 1e-15
assert abs(np.array(o) - [5.5, 6.0]).max() < 1e-14
o_lib, cache = softmax_head_forward(q[None, None, None], k[None, None], v[None, None])  # B = H = T = 1
assert abs(o_lib.ravel() - o).max() < 1e-14 and abs(cache.A.ravel() - A).max() < 1e-15

# %% tags=["blank"]
# Your turn: k[1, 2] is 3. Make it 300. What is o then?
o_then = ...  # a list of two
loud = k.copy()
loud[1, 2] = 300.0
o_loud = softmax_head_forward(q[None, None, None], loud[None, None], v[None, None])[0]
blank(o_then, o_loud.ravel(), "What stands in q at that place?")

# %% [markdown]
# ## 2. The graph of values
#
# Before any derivative, draw which value is made from which. One rule is all the chain rule asks
# for:
#
# > The gradient of a value is the sum, over every use of it in the forward pass, of what comes back
# > from that use.
#
# So two questions decide a backward pass. *In which order?* A gradient can be passed on only when
# it is complete, so we go through the forward from its last line to its first. *Where do gradients
# add?* Where an arrow forks.

# %% mystnb={"image": {"alt": "From x grey arrows lead to q, k and v, from q and k to S, on to A, from A and v to o, and to y. Beside each an orange arrow leads back. Three orange arrows meet at x."}}
places = {"x": (0, 1), "q": (1.5, 2), "k": (1.5, 1), "v": (1.5, 0)}
places |= {"S": (3, 1.5), "A": (4.5, 1.5), "o": (6, 0.75), "y": (7.5, 0.75)}
arrows = [
    ("x", "q", r"$W_q$"), ("x", "k", r"$W_k$"), ("x", "v", r"$W_v$"), ("q", "S", ""), ("k", "S", ""),
    ("S", "A", "softmax"), ("A", "o", ""), ("v", "o", ""), ("o", "y", r"$W_o$"),
]  # fmt: skip
fig, ax = plt.subplots(figsize=(9, 3.3))
for shift, color, forward in ((0.06, "0.45", True), (-0.06, ORANGE, False)):
    for start, end, _ in arrows:
        a, b = (start, end) if forward else (end, start)
        (x0, y0), (x1, y1) = places[a], places[b]
        look = {"arrowstyle": "-|>", "color": color, "shrinkA": 17, "shrinkB": 17, "lw": 1.4}
        ax.annotate("", (x1, y1 + shift), (x0, y0 + shift), arrowprops=look)
for start, end, text in arrows:
    (x0, y0), (x1, y1) = places[start], places[end]
    ax.text((x0 + x1) / 2, (y0 + y1) / 2 + 0.16, text, ha="center", va="bottom", color="0.3")
for name, (px, py) in places.items():
    circle = {"boxstyle": "circle", "fc": "white"}
    ax.text(px, py, f"${name}$", ha="center", va="center", size=14, bbox=circle)
ax.text(0.05, 0.2, "three arrows leave x:\nthree gradients add", ha="center", va="top", color=ORANGE)
ax.set(xlim=(-0.9, 8), ylim=(-0.35, 2.35))
ax.set_title("values run left to right (grey), gradients the same ways back (orange)")
ax.axis("off")
plt.show()

# %% tags=["blank"]
# Your turn: a layer uses its keys as values too, v = k. How many gradients add in dk?
add_in_dk = ...
blank(add_in_dk, sum(arrow[0] in "kv" for arrow in arrows), "Count the arrows that would leave k.")

# %% [markdown]
# Only $x$ has three arrows leaving it: $dx$ is a sum of three gradients. Everything else inside has
# one use.
#
# <details>
# <summary><b>Stop and think</b>:
# each key is used by every query. Where is that fork in the picture?</summary>
#
# It hides in the single arrow from $k$ to $S$. As a matrix, $k$ has one use. As a row, $k_j$ has
# $T$ uses, one per query, and its gradient is a sum over queries. Section 4 meets it again as a
# matrix product.
# </details>

# %% [markdown]
# ## 3. One query, backward
#
# Someone downstream hands us $do_c = \partial L / \partial o_c$. Take $do = (1, -1)$. We read the
# forward upwards.
#
# **Step 1: undo** $o_c = \sum_j A_j v_{jc}$. The number $A_j$ stands in every $o_c$, each time
# beside $v_{jc}$; so its gradient sums over $c$. The number $v_{jc}$ stands in one $o_c$ only,
# beside $A_j$; so no sum.
#
# $$ dA_j = \sum_c do_c\, v_{jc}, \qquad dv_{jc} = A_j\, do_c $$
#
# A rule to keep: *the upstream gradient times the other factor, summed over the indices that the
# argument lacks.*

# %%
do = np.array([1.0, -1.0])
dA = [sum(do[c] * v[j, c] for c in range(e)) for j in range(n_keys)]
dv = [[A[j] * do[c] for c in range(e)] for j in range(n_keys)]
print("dA", np.array(dA), "\ndv", np.array(dv), sep="\n")

assert dA == [4.0, -4.0, 0.0]  # by hand: 4 - 0, 0 - 4, 8 - 8
assert abs(complex_step(lambda A: (do * (A @ v)).sum(), np.array(A)) - dA).max() < 1e-14
assert abs(complex_step(lambda v: (do * (np.array(A) @ v)).sum(), v) - dv).max() < 1e-14

# %% tags=["blank"]
# Your turn, on paper: do = (1, 1) instead. What is dA?
dA_plus = ...  # a list of three
blank(dA_plus, complex_step(lambda A: (A @ v).sum(), np.array(A)), "Sum over c: a row of v for each key.")

# %% [markdown]
# **Step 2: undo the softmax.** From notebook 03, `[eq:softmax-backward, derived]`: the Jacobian is
# $\partial A_l / \partial S_j = A_l (\delta_{lj} - A_j)$, so
#
# $$ dS_j = \sum_l dA_l\, A_l\, (\delta_{lj} - A_j) = A_j \Big( dA_j - \sum_l dA_l\, A_l \Big) $$
#
# In words: compare each key's $dA_j$ with the mean of all, weighted by $A$. Here the mean is
# $4/8 - 2 \cdot 4/8 + 0 = -1/2$. So key 1 lies above the mean by $4.5$, key 2 below it by $3.5$,
# key 3 above it by $0.5$.

# %%
mean = sum(dA[j] * A[j] for j in range(n_keys))
dS = [A[j] * (dA[j] - mean) for j in range(n_keys)]
print("mean", round(mean, 4), " dS", np.round(dS, 4), f" sum of dS {sum(dS):.0e}")

assert abs(np.array(dS) - [4.5 / 8, -7 / 8, 2.5 / 8]).max() < 1e-14
to_loss = lambda S: (do * (np.exp(S) / np.exp(S).sum() @ v)).sum()  # noqa: E731
assert abs(complex_step(to_loss, np.array(S)) - dS).max() < 1e-14
assert abs(sum(dS)) < 1e-15  # raising all scores by one constant changes nothing

# %% [markdown]
# **Step 3: undo** $S_j = \sum_c q_c k_{jc} / \sqrt d$, with the same rule. $q_c$ stands in every
# score, so sum over $j$; $k_{jc}$ stands in one.
#
# $$ dq_c = \frac{1}{\sqrt d} \sum_j dS_j\, k_{jc}, \qquad dk_{jc} = \frac{1}{\sqrt d}\, dS_j\, q_c $$

# %%
dq = [sum(dS[j] * k[j, c] for j in range(n_keys)) / math.sqrt(d) for c in range(d)]
dk = [[dS[j] * q[c] / math.sqrt(d) for c in range(d)] for j in range(n_keys)]
print("dq", np.round(dq, 4), "\ndk", np.round(dk, 4), sep="\n")


def loss(q, k, v):
    """<do, o>, the number whose gradients we want, for one query."""
    A, _ = softmax_map_forward(q[None, None, None], k[None, None])
    return (do * (A[0, 0, 0] @ v)).sum()


assert abs(complex_step(lambda q: loss(q, k, v), q) - dq).max() < 1e-14
assert abs(complex_step(lambda k: loss(q, k, v), k) - dk).max() < 1e-14
dq_lib, dk_lib, dv_lib = softmax_head_backward(do[None, None, None], cache)
assert abs(dq_lib.ravel() - dq).max() < 1e-14 and abs(dk_lib[0, 0] - dk).max() < 1e-14
assert abs(dv_lib[0, 0] - dv).max() < 1e-14

# %% [markdown]
# What the numbers say: the loss grows if the query looks more at key 1 ($dS_1 > 0$) and less at
# key 2. A step of gradient descent does the opposite, of course. Key 3 has the largest weight and
# the smallest $|dS|$: its value $(8, 8)$ has $dA = 0$, close to the mean.
#
# ## 4. Many queries: sums become matrix products
#
# Now $T$ queries and $S$ keys, and we keep $T \ne S$, since different sizes make shapes speak. Each
# query is its own problem as far as $dA$, $dS$ and $dq$ go. Keys and values are shared by all
# queries, so **their gradients get a sum over the queries $t$**:
#
# $$ dv_{sc} = \sum_t A_{ts}\, do_{tc}, \qquad dA_{ts} = \sum_c do_{tc}\, v_{sc}, \qquad
# dq_{tc} = \frac{1}{\sqrt d}\sum_s dS_{ts}\, k_{sc}, \qquad
# dk_{sc} = \frac{1}{\sqrt d}\sum_t dS_{ts}\, q_{tc} $$
#
# A sum over an index that two factors share is a matrix product. It wants the shared index *last*
# in the left factor and *first* in the right one; a factor that has it in the other place is
# transposed. In $dv$ the shared $t$ comes first in the left factor $A_{ts}$: so $A^T do$. In $dA$
# the shared $c$ comes last in the right factor $v_{sc}$: so $do\,v^T$. In `einsum` the letters of
# the formula stand in the code, and nobody has to think of transposes.

# %%
n_queries, n_keys, d, e = 3, 5, 4, 6
q, k, v = (rng.standard_normal(s) for s in ((n_queries, d), (n_keys, d), (n_keys, e)))
do = rng.standard_normal((n_queries, e))
A = softmax_map_forward(q[None, None], k[None, None])[0][0, 0]

dv, dA = np.einsum("ts,tc->sc", A, do), np.einsum("tc,sc->ts", do, v)
dS = A * (dA - (dA * A).sum(axis=-1, keepdims=True))
dq = np.einsum("ts,sc->tc", dS, k) / math.sqrt(d)
dk = np.einsum("ts,tc->sc", dS, q) / math.sqrt(d)

by_loops = np.zeros((n_keys, d))
for t in range(n_queries):
    for s in range(n_keys):
        by_loops[s] += dS[t, s] * q[t] / math.sqrt(d)  # every query adds to the gradient of every key
assert abs(dk - by_loops).max() < 1e-14

# %% tags=["blank"]
# Your turn: dk as a matrix product, with @ and without einsum.
dk_product = ...
blank(dk_product, dk, "t must come last in the left factor. And what divides it?")

# %% [markdown]
# The same, as matrix products. These are the five lines worth knowing by heart,
# `[eq:softmax-head-backward, derived]`:
#
# $$ dv = A^T do, \quad dA = do\, v^T, \quad dS = A \odot \big(dA - \mathrm{rowsum}(dA \odot A)\big), \quad
# dq = \frac{dS\, k}{\sqrt d}, \quad dk = \frac{dS^T q}{\sqrt d} $$
#
# Shapes catch a wrong transpose at once when $T \ne S$: $dS\, q$ is $(T, S)(T, d)$ and does not
# multiply. When $T = S$, as in self-attention, it multiplies, and is wrong. Section 10 plants
# exactly that.

# %%
assert abs(dv - A.T @ do).max() < 1e-14 and abs(dA - do @ v.T).max() < 1e-14
assert abs(dq - dS @ k / math.sqrt(d)).max() < 1e-14 and abs(dk - dS.T @ q / math.sqrt(d)).max() < 1e-14

_, cache = softmax_head_forward(q[None, None], k[None, None], v[None, None])
for ours, library in zip((dq, dk, dv), softmax_head_backward(do[None, None], cache), strict=True):
    assert abs(ours - library[0, 0]).max() < 1e-14
for ours, library in zip((dq, dk), softmax_map_backward(dA[None, None], cache.map), strict=True):
    assert abs(ours - library[0, 0]).max() < 1e-14

# %% [markdown]
# ## 5. The row sum without the map
#
# The correction in $dS$ is one number per query: $D_t = \mathrm{rowsum}(dA \odot A)_t$. Put in
# $dA_{ts} = \sum_c do_{tc} v_{sc}$ and swap the sums:
#
# $$ D_t = \sum_s dA_{ts} A_{ts} = \sum_s \sum_c do_{tc}\, v_{sc}\, A_{ts}
# = \sum_c do_{tc} \sum_s A_{ts} v_{sc} = \sum_c do_{tc}\, o_{tc} = \langle do_t, o_t \rangle $$
#
# The left side needs a whole row of two maps. The right side needs the output, which the forward
# has anyway: $e$ numbers instead of $S$.

# %%
o = A @ v
D_map, D_out = (dA * A).sum(axis=-1), (do * o).sum(axis=-1)
print("from the maps ", D_map, "\nfrom the output", D_out)
assert abs(D_map - D_out).max() < 1e-14

# %% tags=["blank"]
# Your turn: add 5 to every number in v, with the same do. How many of dq, dk, dv change?
how_many_change = ...
louder = [softmax_head_forward(q[None, None], k[None, None], plus + v[None, None])[1] for plus in (0.0, 5.0)]
was, now = (softmax_head_backward(do[None, None], held) for held in louder)
changed = [abs(then - later).max() > 1e-9 for then, later in zip(was, now, strict=True)]
blank(how_many_change, sum(changed), "By how much does dA_ts change, and by how much D_t?")

# %% [markdown]
# This is what makes long sequences possible. The map has $T \cdot S$ numbers; with $D$ known
# beforehand, each tile of it can be recomputed from $q$ and $k$, used, and forgotten. The forward
# has to keep one more number per query, the logarithm of the softmax's denominator,
# $\ell_t = \ln \sum_s e^{S_{ts}}$, so that a tile knows its normalisation:
# $A_{ts} = e^{S_{ts} - \ell_t}$. Fused GPU kernels work this way (FlashAttention, Dao et al. 2022,
# arXiv:2205.14135). Here it is with tiles of two keys.

# %%
scores = q @ k.T / math.sqrt(d)
ell = np.log(np.exp(scores).sum(axis=-1, keepdims=True))  # (T, 1): kept from the forward
D = (do * o).sum(axis=-1, keepdims=True)  # (T, 1): known before the first tile


def backward_by_tiles(width):
    """dq, dk, dv; never more than (T, width) numbers of a map at once."""
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for start in range(0, n_keys, width):
        keys = slice(start, start + width)
        A = np.exp(q @ k[keys].T / math.sqrt(d) - ell)
        dS = A * (do @ v[keys].T - D)
        dv[keys], dk[keys] = A.T @ do, dS.T @ q / math.sqrt(d)
        dq += dS @ k[keys] / math.sqrt(d)  # a query meets all tiles: its gradient adds up
    return dq, dk, dv


for width in (1, 2, 5):
    for tiled, whole in zip(backward_by_tiles(width), (dq, dk, dv), strict=True):
        assert abs(tiled - whole).max() < 1e-14

# %% [markdown]
# <details>
# <summary><b>Stop and think</b>:
# with one key, A = [1] and dS must be 0. Is it exactly 0 in both forms?</summary>
#
# In the map's form yes: $1 \cdot (dA - dA \cdot 1)$ is $0$ to the last bit. In the other form
# $dA = do \cdot v$ and $D = do \cdot o$ are two separate inner products, which may be rounded
# differently, so the result may be off 0 by rounding. That is harmless, but a test that demands
# exact zeros must know which form it tests. The library has both: the plain head uses the map's
# form, the head on tiles the other; with `impl="auto"` a layer takes tiles where $T S$ is $2^{15}$
# or more. Under a causal mask token 0 has one key. So the gradient of its query is exactly 0 in a
# layer of 128 tokens, and next to 0 in one of 256:
# </details>

# %%
cfg = attention.AttentionConfig(kind="softmax", width=16, n_heads=2)  # impl="auto"
for T in (128, 256):
    head_forward, head_backward = cfg.head_pair(np, T, T)  # what a layer of this size takes
    heads = rng.standard_normal((4, 1, 2, T, 8))  # q, k, v, do
    _, cache_T = head_forward(*heads[:3], attention.causal_mask(T))
    dq_first = abs(head_backward(heads[3], cache_T)[0][:, :, 0]).max()
    print(f"T = {T}: {head_forward.__name__:26} |dq| of token 0: {dq_first:.0e}")
    assert (head_forward is softmax_head_forward) == (T * T < 2**15)
    assert dq_first == 0 if head_forward is softmax_head_forward else dq_first < 1e-14

# %% [markdown]
# ## 6. Batch and heads
#
# A batch is many independent sequences, heads are many independent attentions. NumPy's `@` works on
# the last two axes and repeats over those before, so the five lines stay as they are: only `.T`
# becomes `swap`, the transpose of the last two axes.

# %%
B, H = 2, 3
q, k, v = (rng.standard_normal((B, H, *s)) for s in ((n_queries, d), (n_keys, d), (n_keys, e)))
do = rng.standard_normal((B, H, n_queries, e))
_, cache = softmax_head_forward(q, k, v)
dq, dk, dv = softmax_head_backward(do, cache)
for b in range(B):
    for h in range(H):
        A = cache.A[b, h]
        dA = do[b, h] @ v[b, h].T
        dS = A * (dA - (dA * A).sum(axis=-1, keepdims=True))
        assert abs(dv[b, h] - A.T @ do[b, h]).max() < 1e-14
        assert abs(dq[b, h] - dS @ k[b, h] / math.sqrt(d)).max() < 1e-14
        assert abs(dk[b, h] - dS.T @ q[b, h] / math.sqrt(d)).max() < 1e-14
for result in check_pair(softmax_head_forward, softmax_head_backward, (q, k, v)):
    print(f"d{result.argument}: {result.error:.1e} from the complex step, {result.tolerance:.0e} is allowed")

# %% [markdown]
# A layer has its heads side by side in the columns of one matrix: $(B, T, H d)$. `split_heads`
# makes $(B, H, T, d)$ of it, and `merge_heads` puts them back. Both only move numbers. A map that
# moves numbers is a permutation matrix $P$, its transpose is its inverse, so **each is the backward
# of the other**. The test of a transpose needs no derivative:
#
# $$ \langle \mathrm{split}(x),\, y \rangle = \langle x,\, \mathrm{merge}(y) \rangle \quad
# \text{for all } x, y $$

# %%
B, T, H, d = 2, 4, 3, 5
x, y = rng.standard_normal((B, T, H * d)), rng.standard_normal((B, H, T, d))
assert abs((split_heads(x, H) * y).sum() - (x * merge_heads(y)).sum()) < 1e-13
assert (merge_heads(split_heads(x, H)) == x).all()
slope = complex_step(lambda x: (y * split_heads(x, H)).sum(), x)
assert abs(slope - merge_heads(y)).max() < 1e-15

# %% tags=["blank"]
# Your turn: split_heads(x, H) in one line of NumPy, from (B, T, H d) to (B, H, T, d).
split_by_hand = ...
blank(split_by_hand, split_heads(x, H), "First cut every token into its heads, then exchange two axes.")

# %% [markdown]
# **The usual mistake.** `x.reshape(B, H, T, d)` has the right shape as well, and runs. But it cuts
# the memory into pieces without asking whose they are. Colour shows where each number came from:
# here 4 tokens, 3 heads of width 2.

# %% mystnb={"image": {"alt": "The colour of a number is the token it came from. Left: four tokens, a band each. Middle: each of three heads has all four bands in order. Right, after a bare reshape: each head has only two of the four colours."}}
B, T, H, d = 1, 4, 3, 2
token = np.repeat(np.arange(T), H * d).reshape(B, T, H * d).astype(float)  # each number is its token
right, wrong = split_heads(token, H), token.reshape(B, H, T, d)
fig, axes = plt.subplots(1, 3, figsize=(9, 2.9))
stack = {"x: a row per token": token[0], "split_heads: all in each": right, "reshape alone: mixed up": wrong}
for ax, (title, numbers) in zip(axes, stack.items(), strict=True):
    shown = numbers if numbers.ndim == 2 else numbers[0].reshape(H * T, d)  # heads below each other
    image = ax.imshow(shown, cmap="viridis", vmin=0, vmax=T - 1, aspect="auto")
    if numbers.ndim == 4:
        for h in range(1, H):
            ax.axhline(h * T - 0.5, color="white", lw=3)
        ax.set_yticks([1.5, 5.5, 9.5], ["head 0", "head 1", "head 2"])
        ax.set(xlabel="column of the head", xticks=range(d))
    else:
        ax.set(xlabel="column", ylabel="token", yticks=range(T))
    ax.set_title(title)
    ax.grid(False)
fig.colorbar(image, ax=axes, label="token it came from", ticks=range(T))
plt.show()
assert all((right[0, h, t] == t).all() for h in range(H) for t in range(T))
assert set(wrong[0, 0].ravel()) == {0.0, 1.0}  # "head 0" holds tokens 0 and 1 only

# %% [markdown]
# In the middle each head has one row per token, in order. On the right "head 0" consists of tokens
# 0 and 1 (three pieces of the one, one of the other), and never sees tokens 2 and 3.
#
# <details>
# <summary><b>Stop and think</b>:
# if forward and backward both use the wrong reshape, will a gradient check fail?</summary>
#
# No. The two agree with each other: it is the right gradient of the wrong function. That is why the
# library's forward is tested against loops as well. Section 10 shows what happens when only one of
# them is wrong.
# </details>
#
# ## 7. The whole layer
#
# Before the heads stand three projections of the same $x$, after them $W_o$
# `[eq:attention, reading; the kind "softmax" is standard]`. For a product $q = x W_q$ the rule of
# section 3 gives $dW_q = x^T dq$, summed over all tokens of the batch, and $dx = dq\, W_q^T$. And
# the fork at $x$:
#
# $$ dx = dq\, W_q^T + dk\, W_k^T + dv\, W_v^T $$
#
# Here is the layer, with nothing but NumPy. Read the backward beside the forward, from its last
# line upwards.

# %%
def layer_forward(x, p, n_heads):
    q, k, v = (split_heads(x @ p[name], n_heads) for name in ("W_q", "W_k", "W_v"))
    S = q @ swap(k) / math.sqrt(q.shape[-1])
    E = np.exp(S)  # fine for small scores; the library subtracts the row's maximum first, see notebook 03
    A = E / E.sum(axis=-1, keepdims=True)
    o = A @ v
    merged = merge_heads(o)
    return merged @ p["W_o"], (x, p, q, k, v, A, merged)


def layer_backward(dy, cache):
    x, p, q, k, v, A, merged = cache
    dmerged, dW_o = dy @ p["W_o"].T, np.einsum("btc,bto->co", merged, dy)
    do = split_heads(dmerged, q.shape[1])
    dA, dv = do @ swap(v), swap(A) @ do
    dS = A * (dA - (dA * A).sum(axis=-1, keepdims=True))
    scale = 1 / math.sqrt(q.shape[-1])
    dq, dk = scale * (dS @ k), scale * (swap(dS) @ q)
    dq, dk, dv = (merge_heads(a) for a in (dq, dk, dv))
    dx = dq @ p["W_q"].T + dk @ p["W_k"].T + dv @ p["W_v"].T  # three uses of x, three gradients
    grads = {f"W_{n}": np.einsum("btc,bto->co", x, a) for n, a in (("q", dq), ("k", dk), ("v", dv))}
    return dx, grads | {"W_o": dW_o}

# %%
cfg = attention.AttentionConfig(kind="softmax", width=12, n_heads=3)
p = attention.init_attention(cfg, rng, dtype="float64")
x, dy = rng.standard_normal((2, 2, 5, 12))
y_ours, cache_ours = layer_forward(x, p, 3)
dx_ours, grads_ours = layer_backward(dy, cache_ours)
y, cache = attention_forward(x, p, cfg)
dx, grads = attention_backward(dy, cache)

assert abs(y_ours - y).max() < 1e-13 and abs(dx_ours - dx).max() < 1e-13
assert all(abs(grads_ours[name] - grads[name]).max() < 1e-12 for name in p)
check_pair(layer_forward, layer_backward, (x, p, 3))  # ours against the complex step; raises if wrong
results = check_pair(attention_forward, attention_backward, (x, p, cfg))
print(f"library against complex step, largest error: {max(r.error for r in results):.1e}")

# %% tags=["blank"]
# Your turn: a layer starts with W_o = 0. Of the gradients dW_q, dW_k, dW_v, dW_o one is not 0. Which?
moves_first = ...  # "W_q", "W_k", "W_v" or "W_o"
at_zero = layer_backward(dy, layer_forward(x, p | {"W_o": 0 * p["W_o"]}, 3)[1])[1]
blank(moves_first, max(at_zero, key=lambda name: abs(at_zero[name]).max()), "What does dmerged become?")

# %% [markdown]
# ## 8. Look at it: A, dA and dS for a real digit
#
# A small softmax transformer (one block, four heads) is trained on scikit-learn's digits for a few
# seconds. We take one test digit, and walk the gradient of its classification loss back to the
# head. Nothing new happens on the way: each line calls the backward of what came later in the
# forward.

# %%
digits = data.load("digits")
cfg = model.ModelConfig(kind="softmax", width=32, depth=1, patch_size=2)
trained = train(cfg, TrainConfig(epochs=8, device="cpu"), digits)
params = tree_map(lambda a: a.astype("float64"), trained.params)
print(f"validation accuracy after {len(trained.epochs)} epochs: {trained.epochs[-1]['valid_accuracy']:.3f}")

image, target = digits.test.inputs[7:8].astype("float64"), digits.test.targets[7:8]
logits, c = model.model_forward(image, params, cfg)
_, loss_cache = cross_entropy_forward(logits, target)
dlogits = cross_entropy_backward(loss_cache)
dy, *_ = ops.linear_backward(dlogits, c.head)
dx, _ = ops.rmsnorm_backward(layers.mean_pool_backward(dy, c.pool), c.norm)
block = c.blocks[0]
dn2, *_ = ops.swiglu_backward(dx, block.mlp)
dx = dx + ops.rmsnorm_backward(dn2, block.norm2)[0]
dmerged, dW_o = ops.linear_backward(dx, block.attention.output)
do = split_heads(dmerged, cfg.n_heads)
assert abs(dW_o - model.model_backward(dlogits, c)["blocks"][0]["attention"]["W_o"]).max() < 1e-15

# %% mystnb={"image": {"alt": "A digit 8 of 8 by 8 pixels, and three maps of 16 by 16 patches. A has pale and strong red columns. dA has red and blue columns. dS is nearly white but for a few strong cells, where A and dA are both large."}}
head = block.attention.head
A, dA = head.A, do @ swap(head.v)
dS = softmax_backward(dA, head.map.softmax)
h = int(abs(dS[0]).sum(axis=(1, 2)).argmax())  # the head with the largest gradient of its scores
fig, axes = plt.subplots(1, 4, figsize=(9, 2.75), width_ratios=(0.75, 1, 1, 1))
axes[0].imshow(image[0], cmap="gray_r")
axes[0].set_title(f"a test digit: {target[0]}")
axes[0].axis("off")
unit = "loss per unit"
maps = {"map A": (A, "weight"), "dA: gradient of weights": (dA, unit), "dS: gradient of scores": (dS, unit)}
for ax, (title, (values, unit)) in zip(axes[1:], maps.items(), strict=True):
    m = abs(values[0, h]).max()
    drawn = ax.imshow(values[0, h], cmap="RdBu_r", vmin=-m, vmax=m)
    ax.set(title=title, xlabel="key patch", ylabel="query patch" if title == "map A" else "")
    ax.grid(False)
    bar = fig.colorbar(drawn, ax=ax, label=unit, shrink=0.9, orientation="horizontal")
    bar.formatter.set_powerlimits((-2, 2))
plt.show()
print(f"head {h}; row sums of dS: {abs(dS.sum(axis=-1)).max():.1e} at most, dS itself: {abs(dS).max():.1e}")
assert abs(dS.sum(axis=-1)).max() < 1e-13 * abs(dS).max()

# %% tags=["blank"]
# Your turn, without counting: in how many of the 16 rows of dS are there entries of both signs?
of_both_signs = ...
blank(of_both_signs, ((dS[0, h] > 0).any(axis=-1) & (dS[0, h] < 0).any(axis=-1)).sum(), "What does a row sum to?")

# %% [markdown]
# Patches are numbered row by row. $dA$ answers, for every query and key, what more weight there
# would do to the loss; it does not ask how much weight there is. $dS$ does: where $A$ is small
# (white on the left) $dS$ is small too, and each of its rows sums to zero, so red and blue balance
# in every row. **A key that gets no weight gets no gradient.** How good it would have been does not
# matter.
#
# ## 9. Masks
#
# A mask forbids keys *before* the softmax. A forbidden key has $A_{ts} = 0$ exactly, and $A$ is a
# factor of $dS$:
#
# $$ A_{ts} = 0 \;\Rightarrow\; dS_{ts} = A_{ts}\,(dA_{ts} - D_t) = 0 $$
#
# So a backward that has kept the map needs no mask, and its zeros are exact: we test with `== 0`.
# (A backward on tiles makes the map again, and needs the mask for it. The zeros of forbidden pairs
# are exact there too, those of a row with one key are not, as section 5 showed.)

# %%
B, H, T, d = 1, 2, 5, 4
q, k, v, do = rng.standard_normal((4, B, H, T, d))
keep = np.array([[True, True, True, False, False]])  # two tokens of padding at the end
causal, padding = attention.causal_mask(T), attention.padding_mask(keep)
for mask in (causal, padding, causal & padding):
    o, cache = softmax_head_forward(q, k, v, mask)
    dS = softmax_backward(do @ swap(v), cache.map.softmax)
    allowed = np.broadcast_to(mask, cache.A.shape)
    assert (cache.A[~allowed] == 0).all() and (dS[~allowed] == 0).all()
    check_pair(softmax_head_forward, softmax_head_backward, (q, k, v, mask))

_, on_tiles = tiled_softmax_head_forward(q, k, v, causal & padding)
assert (on_tiles.A[~allowed] == 0).all() and abs(on_tiles.A - cache.A).max() < 1e-14  # the map, made again
assert abs(on_tiles._replace(mask=None).A - cache.A).max() > 0.1  # without the mask it would be another

# %% tags=["blank"]
# Your turn: a causal mask, five tokens, the plain head. How many of the 25 entries of dS are exactly 0?
exact_zeros = ...
held_back = softmax_head_forward(q, k, v, causal)[1]
zeros = softmax_backward(do @ swap(v), held_back.map.softmax)[0, 0] == 0
blank(exact_zeros, zeros.sum(), "Not only the forbidden ones: one query has no choice.")

# %% [markdown]
# **What gets gradient exactly 0?** Answer before you run the cell.
# 1. Causal mask: the query of token 0. It has one key, so $A = [1]$ whatever its score. (Exactly 0
#    in the plain head, which this is.)
# 2. Padding: the keys and values of dropped tokens. Nobody looks at them.
# 3. Padding: the *queries* of dropped tokens? **Not zero.** The mask drops them as keys only; their
#    outputs exist, and if the loss uses them they get gradients. Whoever averages over tokens must
#    leave them out there too (`keep` in the model does).

# %%
_, cache = softmax_head_forward(q, k, v, attention.causal_mask(T))
dq, dk, dv = softmax_head_backward(do, cache)
assert (dq[:, :, 0] == 0).all() and (dq[:, :, 1] != 0).any()  # 1. one key: no choice, no gradient
_, cache = softmax_head_forward(q, k, v, attention.padding_mask(keep))
dq, dk, dv = softmax_head_backward(do, cache)
assert (dk[:, :, 3:] == 0).all() and (dv[:, :, 3:] == 0).all()  # 2. dropped as keys
assert (dq[:, :, 3:] != 0).all()  # 3. but their queries still ask

# %% [markdown]
# **A query with no key left.** All of its row is forbidden. The softmax of nothing is $0/0$; many
# programs return `nan` here, others a uniform row over the forbidden keys. The library defines the
# row as 0, so output and gradients are exactly 0 as well.
#
# **Fewer queries than keys** ($S \ne T$): the last $T$ of $S$ tokens ask, as when a text is
# continued. `causal_mask(T, S)` knows the offset.

# %%
nobody = attention.causal_mask(T).copy()
nobody[..., 2, :] = False  # query 2 may look nowhere
o, cache = softmax_head_forward(q, k, v, nobody)
dq, dk, dv = softmax_head_backward(do, cache)
assert (cache.A[:, :, 2] == 0).all() and (o[:, :, 2] == 0).all() and (dq[:, :, 2] == 0).all()
other = do.copy()
other[:, :, 2] = 99.0  # whatever comes back for this query reaches nobody
assert all((a == b).all() for a, b in zip((dq, dk, dv), softmax_head_backward(other, cache), strict=True))
with np.errstate(invalid="ignore"):
    naive = np.exp(np.full(T, -np.inf) - np.max(np.full(T, -np.inf)))  # -inf as the mask: inf - inf
assert np.isnan(naive).all()

print(attention.causal_mask(2, 5)[0, 0].astype(int))  # two queries, the last two of five tokens
check_pair(softmax_head_forward, softmax_head_backward, (q[:, :, :2], k, v, attention.causal_mask(2, T)))
all_at_once, _ = softmax_head_forward(q, k, v, attention.causal_mask(T))
last_two, _ = softmax_head_forward(q[:, :, -2:], k, v, attention.causal_mask(2, T))
assert abs(last_two - all_at_once[:, :, -2:]).max() < 1e-15

# %% [markdown]
# ## 10. Five mistakes, and what the checker says
#
# All five give gradients of the right shape; nothing crashes. `compare_pair` compares along a
# *random* upstream gradient and lets `diagnose` guess the cause. It is told the sizes, so that it
# can name a forgotten factor.

# %%
def softmax_backward_with(mistake):
    """The backward of one head, with one line wrong."""

    def head_backward(do, cache):
        A, v, (q, k, softmax) = cache
        scale = 1 / math.sqrt(q.shape[-1])
        dA, dv = do @ swap(v), swap(A) @ do
        correction = (dA * A).sum(axis=-1, keepdims=True)
        dS = A * dA if mistake == "minus rowsum forgotten" else A * (dA - correction)
        dq = dS @ k if mistake == "1/sqrt(d) forgotten in dq" else scale * (dS @ k)
        dk = scale * (dS @ q) if mistake == "dS not transposed in dk" else scale * (swap(dS) @ q)
        if mistake == "mean over queries for sum in dv":
            dv = dv / A.shape[-2]
        return dq, dk, dv

    return head_backward

# %% tags=["blank"]
# Your turn, before you run the next cell: with the row sum forgotten, which of dq, dk, dv are wrong?
wrong_ones = ...  # "q", "k", "v", "qk", "qv", "kv" or "qkv"
told = compare_pair(softmax_head_forward, softmax_backward_with("minus rowsum forgotten"), (q, k, v))
blank(wrong_ones, "".join(one.argument for one in told if not one.ok), "Which lines use dS?")

# %%
B, H, T, d = 1, 2, 5, 3
q, k, v = rng.standard_normal((3, B, H, T, d))
found = {}
mistakes = ["none", "1/sqrt(d) forgotten in dq", "minus rowsum forgotten", "dS not transposed in dk"]
for mistake in (*mistakes, "mean over queries for sum in dv"):
    wrong_backward = softmax_backward_with(mistake)
    results = compare_pair(softmax_head_forward, wrong_backward, (q, k, v), sizes={"d": d, "T": T})
    found[mistake] = {r.argument: r.message for r in results if not r.ok}
    print(f"{mistake}:", "" if found[mistake] else "all right")
    for name, said in found[mistake].items():
        print(f"    d{name}: {said}")

assert found["none"] == {}
assert "1/sqrt(d) is missing" in found["1/sqrt(d) forgotten in dq"]["q"]
assert set(found["minus rowsum forgotten"]) == {"q", "k"}
assert "a mean over T where a sum belongs" in found["mean over queries for sum in dv"]["v"]

# %% [markdown]
# Forgotten constants are named. The other two are seen, but not named: a forgotten row sum and a
# wrong transpose turn the gradient by an angle and leave no simple trace. What helps then is
# *which* arguments are wrong. If $dq$ and $dk$ are both wrong and $dv$ is right, the fault lies
# between $dA$ and $dS$. If $dk$ alone is wrong, it is in the line of $dk$.
#
# The fifth mistake: heads merged by a bare reshape on the way back, though the forward merged them
# rightly.

# %%
def layer_backward_reshaped(dy, cache):
    """As attention_backward, but do is split by reshape alone."""
    do_flat, dW_o = ops.linear_backward(dy, cache.output)
    B, H, T, d = cache.head.v.shape
    do = do_flat.reshape(B, H, T, d)  # should be split_heads(do_flat, H)
    grads, dx = {"W_o": dW_o}, 0
    for name, dhead in zip("qkv", softmax_head_backward(do, cache.head), strict=True):
        dx_name, grads[f"W_{name}"] = ops.linear_backward(merge_heads(dhead), cache.projections[name].linear)
        dx = dx + dx_name
    return dx, {name: grads[name] for name in ("W_q", "W_k", "W_v", "W_o")}


cfg = attention.AttentionConfig(kind="softmax", width=6, n_heads=2)
p = attention.init_attention(cfg, rng, dtype="float64")
x = rng.standard_normal((1, 4, 6))
results = compare_pair(attention_forward, layer_backward_reshaped, (x, p, cfg))
for r in results:
    print(f"{r.argument:7} {'right' if r.ok else 'wrong: ' + r.message}")
assert [r.argument for r in results if r.ok] == ["p.W_o"]  # all that the backward reaches later is wrong
try:
    check_pair(attention_forward, layer_backward_reshaped, (x, p, cfg))
    caught = False
except GradientError:
    caught = True
assert caught

# %% [markdown]
# **Read the list upwards, like the backward.** The backward begins with `W_o`, the last line:
# right. All that it reaches after that, printed above, is wrong. So the fault lies directly after
# `W_o`. A gradient check of a whole layer is also a search by halves.
#
# ## 11. Identities that hold without any numeric derivative
#
# Scale $W_q$ by $c$ and $W_k$ by $1/c$. The scores do not change, so neither does the loss.
# Differentiate $L(c W_q, W_k / c)$ at $c = 1$; it must be 0. And the output is linear in $W_o$:
# $c\,W_o$ gives $c\,y$. Differentiate $\langle dy, c\,y \rangle$ at $c = 1$: once as it stands,
# once by the chain rule through $W_o$. It is linear in $W_v$ as well, since the maps are made of
# queries and keys alone, and nothing stands between the values and $y$ but matrix products. These
# are statements of Euler's kind, `derived`, with $G_W$ for $\partial L / \partial W$ and
# $\langle X, Y\rangle = \sum_{ij} X_{ij} Y_{ij}$:
#
# $$ \langle G_{W_q}, W_q \rangle = \langle G_{W_k}, W_k \rangle, \qquad
# \langle G_{W_o}, W_o \rangle = \langle G_{W_v}, W_v \rangle = \langle dy, y \rangle $$
#
# They cost one inner product, at any size, in any training run. But know what they rest on. A norm
# after the head, as differential and gated attention have it, ends the second for $W_v$: with
# $\epsilon = 0$ the output does not change at all when $W_v$ grows, so there
# $\langle G_{W_v}, W_v \rangle = 0$.

# %%
cfg = attention.AttentionConfig(kind="softmax", width=12, n_heads=3)
p = attention.init_attention(cfg, rng, dtype="float64")
x, dy = rng.standard_normal((2, 2, 5, 12))
y, cache = attention_forward(x, p, cfg)
_, G = attention_backward(dy, cache)
inner = {name: float((G[name] * p[name]).sum()) for name in p}
print({name: round(value, 6) for name, value in inner.items()}, f" <dy, y> = {(dy * y).sum():.6f}")
assert abs(inner["W_q"] - inner["W_k"]) < 1e-12 * abs(inner["W_q"])
assert abs(inner["W_o"] - (dy * y).sum()) < 1e-12 * abs(inner["W_o"])
assert abs(inner["W_v"] - (dy * y).sum()) < 1e-12 * abs(inner["W_v"])
scaled, _ = attention_forward(x, p | {"W_q": 4 * p["W_q"], "W_k": p["W_k"] / 4}, cfg)
assert (scaled == y).all()  # powers of two are exact: the same bits

normed = attention.AttentionConfig(kind="dgsa", width=12, n_heads=3, eps=0)  # a head with a norm
p_normed = attention.init_attention(normed, rng, dtype="float64")
y_normed, cache_normed = attention_forward(x, p_normed, normed)
_, G_normed = attention_backward(dy, cache_normed)
assert abs((G_normed["W_o"] * p_normed["W_o"]).sum() - (dy * y_normed).sum()) < 1e-12  # W_o: as before
assert abs((G_normed["W_v"] * p_normed["W_v"]).sum()) < 1e-12 < abs((dy * y_normed).sum())  # W_v: 0

# %% tags=["blank"]
# Your turn: divide all scores by one more number tau. What is the derivative of <dy, y> by tau, at tau = 1?
slope_in_tau = ...  # from the numbers in `inner`
warmer = lambda tau: (dy * attention_forward(x, p | {"W_q": p["W_q"] / tau}, cfg)[0]).sum()  # noqa: E731
blank(slope_in_tau, complex_step(warmer, np.array(1.0)), "W_q / tau moves along -W_q when tau grows.")

# %% [markdown]
# More is true. Within a head any invertible $(d, d)$ matrix $M$ may stand between queries and keys,
# $q M$ and $k M^{-T}$, since $q M M^{-1} k^T = q k^T$. Differentiating at $M = I$ in every
# direction gives, with the columns of one head, $d^2$ equations instead of one:
#
# $$ W_q^T\, G_{W_q} = \big(W_k^T\, G_{W_k}\big)^T $$
#
# <details>
# <summary><b>Stop and think</b>:
# is there one mistake of section 10 that these identities cannot see?</summary>
#
# The forgotten row sum. $\langle dq, q\rangle = \langle dS, S\rangle = \langle dk, k\rangle$ holds
# for *any* matrix in the place of $dS$. The next cell shows it. What does see it is the row sum of
# $dS$, which must be 0. (The mean in $dv$ leaves queries and keys alone; there the identity of
# $W_v$ speaks up.) Identities are cheap necessary conditions; a gradient check is what suffices.
# </details>

# %%
for h in range(cfg.n_heads):
    columns = slice(h * 4, (h + 1) * 4)
    left = p["W_q"][:, columns].T @ G["W_q"][:, columns]
    right = (p["W_k"][:, columns].T @ G["W_k"][:, columns]).T
    assert abs(left - right).max() < 1e-13

q, k, v, do = rng.standard_normal((4, 1, 2, 5, 4))
o, cache = softmax_head_forward(q, k, v)
ratio = {}
for mistake in found:
    dq, dk, dv = softmax_backward_with(mistake)(do, cache)
    ratio[mistake] = (dq * q).sum() / (dk * k).sum()
    values_agree = abs((dv * v).sum() - (do * o).sum()) < 1e-12  # the identity of W_v, for one head
    assert values_agree == (mistake != "mean over queries for sum in dv")
    print(f"{mistake:33} <dq, q> / <dk, k> = {ratio[mistake]:.6f}")
assert abs(ratio["none"] - 1) < 1e-12 and abs(ratio["1/sqrt(d) forgotten in dq"] - 2) < 1e-12  # sqrt(4)
assert abs(ratio["minus rowsum forgotten"] - 1) < 1e-12  # blind
assert abs(ratio["dS not transposed in dk"] - 1) > 0.01  # seen

# %% [markdown]
# ## 12. What it costs
#
# A product of $(n, m)$ and $(m, p)$ takes $2nmp$ operations: a multiplication and an addition each.
# Per head the forward has two products, $q k^T$ and $A v$. The backward has four, since each
# product $Z = XY$ leaves two behind: $dX = dZ\, Y^T$ and $dY = X^T dZ$, each as large as the first.
# So, in matrix products:
#
# $$ \text{forward} = 2\,TS\,(d + e), \qquad \text{backward} = 2 \times \text{forward} $$
#
# We do not believe it, we count: arrays that note the size of every product they take part in go
# through the lines of section 4, for a batch and heads.

# %%
class Counted(np.ndarray):
    """An array that counts the operations of the matrix products it takes part in."""

    flops = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [np.asarray(a) for a in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            Counted.flops += 2 * result.size * plain[0].shape[-1]
        return result.view(Counted)


B, H, T, n_keys, d, e = 2, 4, 16, 12, 8, 10
shapes = (T, d), (n_keys, d), (n_keys, e), (T, e)
q, k, v, do = (rng.standard_normal((B, H, *shape)).view(Counted) for shape in shapes)

E = np.exp(q @ swap(k) / math.sqrt(d))
A = E / E.sum(axis=-1, keepdims=True)
o = A @ v
forward, Counted.flops = Counted.flops, 0
dv, dA = swap(A) @ do, do @ swap(v)
dS = A * (dA - (dA * A).sum(axis=-1, keepdims=True))
dq, dk = dS @ k / math.sqrt(d), swap(dS) @ q / math.sqrt(d)
backward = Counted.flops

print(f"forward {forward:,}, backward {backward:,}")
assert forward == B * H * 2 * T * n_keys * (d + e) and backward == 2 * forward
o_lib, cache = softmax_head_forward(*(np.asarray(a) for a in (q, k, v)))
assert abs(o - o_lib).max() < 1e-14
for ours, library in zip((dq, dk, dv), softmax_head_backward(np.asarray(do), cache), strict=True):
    assert abs(ours - library).max() < 1e-14

# %% tags=["blank"]
# Your turn: twice as many heads, each half as wide. By which factors do two things change: the operations of
# all products q k^T, and the numbers in all maps?
two_factors = ...  # (of the operations, of the numbers)
few, many = np.ones((2, 16, 8)), np.ones((4, 16, 4))  # (heads, tokens, width); 2 T operations for each number
maps_grow = (many @ swap(many)).size / (few @ swap(few)).size
blank(two_factors, (many.size / few.size, maps_grow), "An operation count has the width in it, a map has not.")

# %% [markdown]
# **Memory.** The map has $T^2$ numbers per head, while $q, k, v, o$ have $4Td$ together. They are
# equal at $T = 4d$; beyond, the map rules. We measure the peak of what a forward allocates, with
# NumPy's own book-keeping. It should be three maps. The formula makes a new array in each step:
# while the exponentials are computed, the scores are there, and the scores less their maximum;
# while the weights are, the scores and the exponentials. ([09](09_from_formulas_to_fast_code.ipynb)
# asks what one could save.)

# %%
lengths, d, peaks = [32, 64, 128, 256, 512, 1024], 32, []
for T in lengths:
    q, k, v = rng.standard_normal((3, 1, 1, T, d))
    tracemalloc.start()
    _, cache = softmax_head_forward(q, k, v)
    peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
    tracemalloc.stop()
one_map = [8 * T * T / 2**20 for T in lengths]
inputs = [8 * 4 * T * d / 2**20 for T in lengths]
assert abs(peaks[-1] / one_map[-1] - 3) < 0.1  # scores, exponentials, weights
assert lengths[2] == 4 * d and one_map[2] == inputs[2]
print(f"peak at T = 1024: {peaks[-1]:.1f} MiB, {peaks[-1] / one_map[-1]:.2f} maps")

# %% mystnb={"image": {"alt": "Memory over the number of tokens, both logarithmic. The measured peak runs above the line of one map and parallel to it in the end. The line of q, k, v and o rises half as steeply and crosses the line of one map at 128 tokens."}}
fig, ax = plt.subplots(figsize=(6.5, 3.3))
ax.plot(lengths, peaks, "o-", color=ORANGE, label="peak of the forward, measured")
ax.plot(lengths, one_map, "--", color=BLUE, label="one map: 8 T² bytes")
ax.plot(lengths, inputs, ":", color="0.3", label="q, k, v, o: 32 T d bytes")
ax.set(xlabel="tokens T", ylabel="memory (MiB)", xscale="log", yscale="log")
ax.set_title("Three maps at the peak; from T = 4 d = 128 on one map outweighs q, k, v and o")
ax.set_xticks(lengths, [str(T) for T in lengths])
ax.minorticks_off()
ax.legend(fontsize=9)
plt.show()

# %% [markdown]
# Read the slopes: the dashed line and the measured one rise by 4 where $T$ doubles, the dotted one
# by 2. Operations and bytes are counted here and are the same everywhere. Times are another matter,
# and not in the ratio of the products: the forward also computes $T^2$ exponentials, the backward
# none, and both wait for memory. [09](09_from_formulas_to_fast_code.ipynb) is about times.
#
# ## What you now know
#
# - Attention's backward is five lines, each the forward line read upwards: $dv$, $dA$, $dS$, $dq$,
#   $dk$. Keys and values are shared, so their gradients sum over queries; $x$ forks, so three
#   gradients add.
# - $\mathrm{rowsum}(dA \odot A) = \langle do, o\rangle$: the map need not be kept. Where it is
#   kept, masks need nothing: a weight of exactly 0 has a gradient of exactly 0.
# - Wrong constants are named by the checker, wrong structure is only located; cheap identities hold
#   at any size, and are blind to some mistakes.
#
# **Three things to try**
# 1. In section 3 let $do = (1, 1)$, as in its blank. Predict which key gets the largest $dS$, then run.
# 2. In section 7 leave out one of the three terms of `dx`. What does `compare_pair` say? Which of
#    the identities of section 11 notices?
# 3. Extend `backward_by_tiles` by a causal mask. Which tiles can be skipped?
#
# Next: [05 Differential attention](05_differential_attention.ipynb), which subtracts one such map
# from another.
