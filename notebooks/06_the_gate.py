# %% [markdown]
# # 06 The gate
# *Deep dive; the whole idea in 45 minutes is in [start_here](start_here.ipynb).*
#
# This is the notebook the others lead to. Differential Gated Self-Attention (M-DGSA) gives each
# head two softmax maps, one that excites and one that inhibits, and a *gate* per token and head
# that says how much of each is used. We build its forward pass, derive its backward pass line by
# line, and rebuild the whole layer. What is new in it, where it is dangerous and what it does not do
# are three questions with a notebook of their own,
# [10](10_three_questions_about_the_gate.ipynb).
#
# **You will do**: fuse two maps by hand, check the result against the library and against a loop,
# derive every gradient, plant four bugs and read what the gradient checker says, rebuild the layer.
#
# **You will learn**: what a gated map can and cannot be, how much hangs on the reading of the
# paper, why both branches *add* in the gate's gradient, and what chooses the key that is suppressed.
#
# **You need**: [03](03_softmax_and_its_gradient.ipynb) and [04](04_attention_backward.ipynb)
# (softmax attention and its backward); [05](05_differential_attention.ipynb) helps for section 8.
# Matrix calculus.
#
# **Time**: 50 minutes, and 15 for the nine blanks: in a cell that begins with `# Your turn` replace
# the dots and run it again, and it says whether you are right.

# %%
try:
    import dgsa_np  # noqa: F401
except ModuleNotFoundError:  # as on Colab: install it, from where this notebook comes
    source = "..[notebooks]"  # this checkout; make address puts the repository here
    get_ipython().run_line_magic("pip", f'install --quiet "{source}"')  # noqa: F821

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import sympy as sp

from dgsa_np import attention, data, gradcheck, ops
from dgsa_np.attention import gated_head_backward, gated_head_forward
from dgsa_np.attention.gated import gate_logits_forward
from dgsa_np.attention.softmax import softmax_map_backward
from dgsa_np.gradcheck import complex_step
from dgsa_np.lab.blank import blank
from dgsa_np.ops import sigmoid, swap  # swap transposes the last two axes
from dgsa_np.params import count

plt.style.use("dgsa_np.lab.viz")
rng = np.random.default_rng(0)
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"  # excitatory, inhibitory, fused

# %% [markdown]
# ## 1. The idea, in three numbers
#
# One token looks at three keys. Its **excitatory** map says where to look: (0.6, 0.2, 0.2). Its
# **inhibitory** map says what to ignore: (0.2, 0.2, 0.6). Both are softmax maps: positive, and each
# sums to 1. The gate of this token is $g = 0.75$. The fused weights are $g$ times the first minus
# $1-g$ times the second:
#
# | key | excitatory | inhibitory | fused |
# |---|---|---|---|
# | 1 | 0.6 | 0.2 | 0.75 · 0.6 − 0.25 · 0.2 = 0.40 |
# | 2 | 0.2 | 0.2 | 0.75 · 0.2 − 0.25 · 0.2 = 0.10 |
# | 3 | 0.2 | 0.6 | 0.75 · 0.2 − 0.25 · 0.6 = 0.00 |
#
# Keys 2 and 3 have equal excitatory weights. Inhibition tells them apart and removes key 3. With a
# lower gate its weight turns negative, which no softmax can do.

# %% mystnb={"image": {"alt": "Four rows of three bars, a bar per key. Excitatory: 0.6, 0.2, 0.2. Inhibitory: 0.2, 0.2, 0.6. Fused at g = 0.75: 0.4, 0.1, 0. Fused at g = 0.5: 0.2, 0, and key 3 below zero at -0.2."}}
A_exc, A_inh = np.array([0.6, 0.2, 0.2]), np.array([0.2, 0.2, 0.6])
fused = {g: g * A_exc - (1 - g) * A_inh for g in (0.75, 0.5)}
assert abs(fused[0.75] - [0.4, 0.1, 0.0]).max() < 1e-15
for g, row in fused.items():
    print(f"g = {g:.2f}: weights {np.round(row, 3) + 0}, sum {row.sum():.2f}")  # + 0 turns -0 into 0

bars = {"A_exc": (A_exc, BLUE), "A_inh": (A_inh, ORANGE)}
bars |= {f"fused, g = {g}": (row, GREEN) for g, row in fused.items()}
fig, axes = plt.subplots(1, 4, figsize=(9, 2.6), sharey=True)
for ax, (name, (row, colour)) in zip(axes, bars.items(), strict=True):
    ax.bar(["1", "2", "3"], row, color=colour)
    ax.axhline(0, color="0.3", lw=1)
    ax.set(title=name, xlabel="key")
fig.suptitle("The gate decides how far inhibition pulls a weight down, below zero if need be", fontsize=10)
_ = axes[0].set_ylabel("attention weight")

# %% [markdown]
# The two left panels are what the softmaxes give, the two right panels what reaches the values. At
# $g = 0.5$ the weights sum to 0: this token no longer takes a mean of the values, it takes a
# difference.

# %% tags=["blank"]
# Your turn, on paper: the fused weight of key 3 at g = 0.25.
weight_of_key_3 = ...
blank(weight_of_key_3, 2 * fused[0.5][2] - fused[0.75][2],  # a weight moves along a line as g moves
      "g times 0.2 minus 1 - g times 0.6.")  # fmt: skip

# %% [markdown]
# ## 2. The definition, and how we know it
#
# The paper is *Differential Gated Self-Attention*, E. M. Lygizou, M. Farsang, R. Grosu,
# arXiv:2505.24054 (2025). We had its abstract and the first lines of its introduction, not its
# body, and there was no public code. Beside them we had the human reviews of a submission, which
# state no formula, and two reports that a language model wrote about a damaged text of the paper.
# So every formula carries a **status** that says how we know it. A gradient check would not show a
# wrong formula: the backward of a wrong forward can be perfectly right. In the table $C$ is the
# width of a token, $H$ the number of heads; $\lambda_{init}$ (`lambda_init`) is a constant that
# section 8 uses.
#
# | what | formula | status |
# |---|---|---|
# | two branches, two maps, a sigmoid gate from the token, per head | in words | abstract |
# | the gate is a sigmoid and depends on the input | in words | human review |
# | fused map | `A = g A_exc - (1-g) A_inh` | machine review |
# | gate | `g = sigmoid(x W_gate + b_gate)`, from the query's token alone | machine review |
# | `lambda_init = 0.8` in every layer | | human review |
# | widths: `d = C/(2H)` for q and k, `2d` for v; scale `1/sqrt(d)` | | reading |
# | RMSNorm per head, then times `1 - lambda_init`; output matrix without bias | | reading |
# | the gate's input is that of q, k and v; `W_gate = 0` and `b_gate = 1` at the start | | choice |
# | everything about gradients | | derived |
#
# *Human review*: a reviewer says so. *Machine review*: only a language model's report says so;
# likely, unconfirmed. *Reading*: inferred, above all from the Differential Transformer
# (arXiv:2410.05258), on which the paper builds. *Choice*: open, we picked. *Derived*: our own
# algebra, to be tested. The end of section 3 says how much hangs on the weakest of these.
#
# Now the head itself; in brackets stand its label in `docs/equations.md` and its status:
# `[eq:gated-head, machine review]`. There is one $g_i$ per query $i$ (and batch entry and head),
# shared by all keys $j$; the values $v$ are shared by both branches:
#
# $$A^{exc} = \text{softmax}\Big(\frac{q_{exc} k_{exc}^T}{\sqrt d}\Big), \quad
# A^{inh} = \text{softmax}\Big(\frac{q_{inh} k_{inh}^T}{\sqrt d}\Big), \quad
# A_{ij} = g_i\,A^{exc}_{ij} - (1-g_i)\,A^{inh}_{ij}, \quad o = A\,v$$
#
# In the code `g[..., None]` makes the gate one number *per row*. The usual mistake,
# `g[..., None, :]`, makes it one per key: a different mechanism, and with as many keys as queries
# NumPy would not complain. So the second cell below computes the same with loops over single
# numbers, which have no axes to mix up.

# %%
B, H, T, S, d, e = 2, 3, 4, 5, 2, 4  # batch, heads, queries, keys, key width, value width
q_exc, q_inh = rng.standard_normal((2, B, H, T, d))
k_exc, k_inh = rng.standard_normal((2, B, H, S, d))
v, z = rng.standard_normal((B, H, S, e)), rng.standard_normal((B, H, T))
args = (q_exc, k_exc, q_inh, k_inh, v, z)


def softmax(scores):
    E = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return E / E.sum(axis=-1, keepdims=True)


A_exc = softmax(q_exc @ swap(k_exc) / math.sqrt(d))  # (B, H, T, S)
A_inh = softmax(q_inh @ swap(k_inh) / math.sqrt(d))
g = 1 / (1 + np.exp(-z))  # (B, H, T)
A = g[..., None] * A_exc - (1 - g)[..., None] * A_inh  # g is the same for all keys of a row
o = A @ v  # (B, H, T, e)
o_library, cache = gated_head_forward(*args)
assert abs(A - cache.A).max() < 1e-14 and abs(o - o_library).max() < 1e-14

# %%
def one_number(b, h, i, c):
    """o[b, h, i, c], with nothing but scalars."""
    gate, total = 1 / (1 + math.exp(-z[b, h, i])), 0.0
    exc = [math.exp(sum(q_exc[b, h, i] * k_exc[b, h, j]) / math.sqrt(d)) for j in range(S)]
    inh = [math.exp(sum(q_inh[b, h, i] * k_inh[b, h, j]) / math.sqrt(d)) for j in range(S)]
    for j in range(S):
        total += (gate * exc[j] / sum(exc) - (1 - gate) * inh[j] / sum(inh)) * v[b, h, j, c]
    return total


by_loop = np.array([one_number(*index) for index in np.ndindex(B, H, T, e)]).reshape(B, H, T, e)
assert abs(by_loop - o_library).max() < 1e-14

# %% tags=["blank"]
# Your turn: of all logits, z[0, 1, 2] alone is changed. How many of the 96 numbers in o change?
how_many_change = ...
z_nudged = z.copy()
z_nudged[0, 1, 2] += 1
o_nudged = gated_head_forward(*args[:5], z_nudged)[0]
blank(how_many_change, (o_nudged != o_library).sum(), "A gate belongs to one query of one head.")

# %% [markdown]
# ## 3. The gate
#
# The gate is a linear map of the token $x$ with one column of `W_gate` per head, then a sigmoid,
# `[eq:gate, machine review]`. Its argument $z$ is called the *logit*:
#
# $$z = x\,W_{gate} + b_{gate}, \qquad g = \sigma(z) = \frac{1}{1+e^{-z}}$$
#
# with $x$ of shape $(B, T, C)$, `W_gate` $(C, H)$, `b_gate` $(H,)$. The head wants $(B, H, T)$,
# hence the swap. At the start `W_gate = 0` and `b_gate = 1` (choice): every gate is
# $\sigma(1) = 0.731$, whatever the token. (Why not 1/2?
# [10](10_three_questions_about_the_gate.ipynb), section 2.)

# %%
cfg = attention.AttentionConfig(kind="dgsa", width=12, n_heads=3)
p = attention.init_attention(cfg, np.random.default_rng(1), "float64")
x = rng.standard_normal((2, 4, 12))  # (B, T, C)
z_start, _ = gate_logits_forward(x, p, cfg)
assert abs(sigmoid(z_start) - 1 / (1 + math.exp(-1))).max() < 1e-15
p["W_gate"] = rng.standard_normal((12, 3))  # as if trained: now the token matters
z_gate = swap(x @ p["W_gate"] + p["b_gate"])  # (B, T, H) -> (B, H, T)
assert abs(z_gate - gate_logits_forward(x, p, cfg)[0]).max() < 1e-14
print("gates of the first sequence, one row per head:\n", np.round(sigmoid(z_gate)[0], 2))

# %% [markdown]
# **A usual mistake: computing $1-g$ as `1 - g`.** For large $z$ the gate is 1 minus something tiny.
# A float near 1 keeps only the first digits of the tiny part, or none, and the subtraction cannot
# bring them back. It is not needed, since
#
# $$1 - \sigma(z) = \frac{e^{-z}}{1+e^{-z}} = \frac{1}{e^{z}+1} = \sigma(-z)$$
#
# The table compares both with the exact value, which SymPy computes to 30 digits.

# %%
errors = {}
for dtype in ("float32", "float64"):
    for logit in (2, 8, 16, 20, 36, 40):
        exact = float(sp.N(1 / (1 + sp.exp(logit)), 30))
        zt = np.array(logit, dtype)
        minus, sigma = float(np.array(1, dtype) - sigmoid(zt)), float(sigmoid(-zt))
        errors[dtype, logit] = abs(minus / exact - 1), abs(sigma / exact - 1)
        print(f"{dtype}  z = {logit:2}:  1 - g = {minus:.3e}  sigmoid(-z) = {sigma:.3e}  "
              f"relative errors {errors[dtype, logit][0]:.0e} and {errors[dtype, logit][1]:.0e}")  # fmt: skip
assert errors["float32", 20][0] == 1 and errors["float64", 40][0] == 1  # nothing is left: 1 - g is 0
assert all(e[1] < (3e-7 if dtype == "float32" else 1e-15) for (dtype, _), e in errors.items())

# %% [markdown]
# In float32 all digits are gone before $z = 20$, in float64 before $z = 40$. Then `1 - g` is 0, the
# inhibitory branch is cut, and so is the gate's gradient, which has the factor $g(1-g)$ (section
# 7). With `sigmoid(-z)` both are small but right. The library keeps both, as `cache.gate` and
# `cache.one_minus_gate`. In this notebook's small cases either will do.
#
# **How much hangs on the reading?** One of the two reports that state the fused map says itself
# that the text it saw was ambiguous there. Two other maps are as natural: the gate weighs the
# inhibitory branch alone, as $A^{exc} - g\,A^{inh}$ or as $A^{exc} - (1-g)\,A^{inh}$. Behind each
# head stands a norm (section 8), and it divides any positive factor of a row out (05, section 5;
# here with $\epsilon = 0$). So only the *ratio* of the two weights acts. Call it $\lambda$; then
# all three are differential attention, `[eq:differential-head, published]`, with a $\lambda$ per
# token and head (derived):
#
# $$\begin{aligned}
# g\,A^{exc} - (1-g)\,A^{inh} &= g\,\big(A^{exc} - \lambda A^{inh}\big),
# & \lambda &= e^{-z} && \text{in } (0, \infty) \\
# A^{exc} - g\,A^{inh} &= A^{exc} - \lambda A^{inh}, & \lambda &= \sigma(z) && \text{in } (0, 1) \\
# A^{exc} - (1-g)\,A^{inh} &= A^{exc} - \lambda A^{inh}, & \lambda &= \sigma(-z) && \text{in } (0, 1)
# \end{aligned}$$
#
# (More on the first line, and on what $\epsilon$ does to it, in
# [10](10_three_questions_about_the_gate.ipynb), section 1.) The last two differ by the sign of $z$
# only. They are the form of the Differential Transformer's second version (notebook 05, section 10)
# with keys of its own for each branch. What hangs on the reading is therefore: whether inhibition
# may outweigh excitation ($\lambda > 1$), and how $\lambda$ depends on $z$, with it where training
# starts. Without the head norm the factor $g$ matters as well. The library's default is the first
# map; `AttentionConfig(gate_on="inhibition")` switches to the second.

# %%
def normed(o):
    return ops.rmsnorm_forward(o, np.ones(e), 0.0)[0]  # eps = 0


g_row, z_wide = g[..., None], np.linspace(-10, 10, 201)
readings = {  # the map, its lambda
    "g A_exc - (1-g) A_inh": (g_row * A_exc - (1 - g_row) * A_inh, lambda z: np.exp(-z)),
    "A_exc - g A_inh": (A_exc - g_row * A_inh, sigmoid),
    "A_exc - (1-g) A_inh": (A_exc - (1 - g_row) * A_inh, lambda z: sigmoid(-z)),
}
for name, (A_reading, lam) in readings.items():
    o_diff, diff = attention.differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, lam(z))
    assert abs(normed(A_reading @ v) - normed(o_diff)).max() < 1e-12  # behind the norm: differential attention
    factor = g_row if name.startswith("g") else 1  # before it: the same but for g
    assert abs(A_reading - factor * diff.A).max() < 1e-15
    assert lam(z_wide).min() > 0 and (lam(z_wide).max() > 1) == name.startswith("g")
    print(f"{name:22}: lambda is {lam(np.array(1.0)):.2f} at z = 1, {lam(np.array(-1.0)):.2f} at z = -1")
assert abs(readings["g A_exc - (1-g) A_inh"][0] - cache.A).max() < 1e-15  # the library's

# %% tags=["blank"]
# Your turn: the lambda of the first map from its gate alone, without an exponential.
def lambda_of(some_gate):
    return ...


blank(lambda_of(g), np.exp(-z), "Take g out of g A_exc - (1-g) A_inh. What is left in front of A_inh?")

# %% [markdown]
# ## 4. What the fused map can be
#
# Each softmax row sums to 1 and lies in $[0, 1]$. From that alone follow three facts (derived):
#
# $$\sum_j A_{ij} = g_i - (1-g_i) = 2g_i - 1$$
#
# $$-(1-g_i) \le A_{ij} \le g_i, \qquad \sum_j |A_{ij}| \le g_i + (1-g_i) = 1$$
#
# The last is the triangle inequality. A softmax row has an l1 norm (the sum of absolute values) of
# exactly 1; here 1 is the ceiling, approached where no key has weight in both maps, or where the
# gate is near 0 or 1.

# %%
s = sp.symbols("s1:4 t1:4", real=True)  # scores of three keys, excitatory and inhibitory
gs = sp.symbols("g")
row = [gs * sp.exp(s[j]) / sum(map(sp.exp, s[:3])) - (1 - gs) * sp.exp(s[3 + j]) / sum(map(sp.exp, s[3:]))
       for j in range(3)]  # fmt: skip
assert sp.simplify(sum(row) - (2 * gs - 1)) == 0

largest = 0.0
for seed in range(50):
    normal = np.random.default_rng(seed).standard_normal
    qk = [3 * normal((B, H, n, d)) for n in (T, S, T, S)]  # times 3, so that the maps are sharp
    head = gated_head_forward(*qk, normal((B, H, S, e)), normal((B, H, T)))[1]
    l1, low, high = abs(head.A).sum(axis=-1), head.A.min(axis=-1), head.A.max(axis=-1)
    assert abs(head.A.sum(axis=-1) - (2 * head.gate - 1)).max() < 1e-14
    assert (high - head.gate).max() < 1e-15 and (-low - head.one_minus_gate).max() < 1e-15
    assert l1.max() < 1 + 1e-14
    largest = max(largest, l1.max())
print(f"largest l1 norm of a row in 50 draws: {largest:.6f}")

# %% tags=["blank"]
# Your turn: of a head you see the fused map (B, H, T, S), nothing else. Find its gates (B, H, T).
def gates_from(fused_map):
    return ...


blank(gates_from(head.A), head.gate, "The sum of each row tells. Solve for g.")

# %% [markdown]
# **Limits** (derived). At $g = 1$ the inhibitory branch is gone and the head *is* softmax
# attention. At $g = 0$ it is minus the inhibitory map. And the two branches have no fixed roles:
# negating $z$ exchanges $g$ and $1-g$, so if the branches are swapped as well, only the sign flips,
#
# $$A(\text{inh}, \text{exc}, -z) = -A(\text{exc}, \text{inh}, z)$$
#
# A branch deserves the name "excitatory" only as long as its share $g$ is above 1/2.

# %%
far = np.full((B, H, T), 800.0)  # sigmoid(800) is 1 and sigmoid(-800) is 0, exactly
o_one, one = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, far)
o_zero, zero = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, -far)
assert abs(one.A - one.A_exc).max() == 0 and abs(zero.A + zero.A_inh).max() == 0
assert abs(o_one - attention.softmax_head_forward(q_exc, k_exc, v)[0]).max() == 0  # bit for bit
o_swapped, swapped = gated_head_forward(q_inh, k_inh, q_exc, k_exc, v, -z)
assert abs(swapped.A + cache.A).max() < 1e-15 and abs(o_swapped + o_library).max() < 1e-14

# %% [markdown]
# **Stop and think.** What is $A$ where both branches happen to have the same map, and what if also
# $g = 1/2$?
#
# <details><summary>Answer</summary>
#
# With $A^{exc} = A^{inh}$ the fused row is $(2g-1) A^{exc}$: softmax attention times a signed
# factor. At $g = 1/2$ it is zero: the head says nothing. Keep this in mind: it is harmless here and
# becomes a hazard once a norm follows ([10](10_three_questions_about_the_gate.ipynb), section 2).
#
# </details>
#
# ## 5. The gate as the knob of a differential amplifier
#
# An electronic differential amplifier has two inputs. It passes their difference and is meant to
# reject what they have in common. Its quality is the ratio of the two gains, the *common-mode
# rejection ratio* (CMRR). Call what each branch brings $o^{exc} = A^{exc} v$ and
# $o^{inh} = A^{inh} v$, and sort the terms of $g\,o^{exc} - (1-g)\,o^{inh}$ (derived):
#
# $$o = \tfrac12\,(o^{exc} - o^{inh}) + (2g-1)\,\tfrac12\,(o^{exc} + o^{inh})$$
#
# The difference has the gain 1/2, *whatever the gate*. The common part,
# $\tfrac12 (o^{exc} + o^{inh})$, has the gain $2g-1$, from $-1$ to 1: the gate is its volume knob.
# Hence $\text{CMRR} = \frac{1/2}{|2g-1|}$, drawn below in decibels, $20 \log_{10} \text{CMRR}$. The
# purest common signal is a constant: add one vector $c$ to *all* values. Both branches pass it
# unchanged, since their rows sum to 1, so row $i$ of the output becomes
#
# $$\sum_j A_{ij}\,(v_j + c) = o_i + (2g_i-1)\,c$$

# %% mystnb={"image": {"alt": "Common-mode rejection in decibels against the gate from 0 to 1: a sharp peak at g = 1/2, where the ratio is infinite, falling off on both sides to -6 dB at the ends. Marked are g = 0.556 with 13.1 dB (lambda = 0.8) and g = 0.731 with 0.7 dB (b_gate = 1)."}}
o_exc, o_inh, gate = A_exc @ v, A_inh @ v, g[..., None]
assert abs(0.5 * (o_exc - o_inh) + (2 * gate - 1) * 0.5 * (o_exc + o_inh) - o).max() < 1e-14
c = rng.standard_normal(e)
assert abs(A @ (v + c) - (A @ v + (2 * gate - 1) * c)).max() < 1e-14
o_half, _ = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, 0 * z)  # g = 1/2
o_half_shifted, _ = gated_head_forward(q_exc, k_exc, q_inh, k_inh, v + 1000 * c, 0 * z)
assert abs(o_half_shifted - o_half).max() < 1e-11  # a shift by some 1000 leaves no trace but rounding

grid = np.linspace(0, 1, 400)  # an even number of points: none is 1/2, where the ratio is infinite
cmrr = 20 * np.log10(0.5 / abs(2 * grid - 1))
fig, ax = plt.subplots(figsize=(6.4, 3))
ax.plot(grid, cmrr, color=GREEN)
for mark, name in ((sigmoid(np.array(1.0)), "b_gate = 1"), (1 / 1.8, "lambda = 0.8")):
    y = 20 * math.log10(0.5 / abs(2 * mark - 1))
    ax.plot(mark, y, "o", color="k")
    ax.text(mark + 0.015, y + 1.5, f"g = {mark:.3f}, {y:.1f} dB\n({name})", fontsize=9)
ax.set(title="The common part is rejected only near g = 1/2", ylabel="CMRR (dB)", xlim=(0, 1), ylim=(-8, 45))
_ = ax.set_xlabel("gate g")

# %% [markdown]
# The higher the curve, the better the common part is suppressed. The start $g = 0.731$ hardly
# rejects at all (0.7 dB). A head would have to *learn* a gate near 1/2 to become a good
# differential amplifier. (The other point is the gate that stands for the Differential
# Transformer's $\lambda = 0.8$. Whether a head ignores the brightness of an image is asked in
# [10](10_three_questions_about_the_gate.ipynb), section 4.)

# %% tags=["blank"]
# Your turn: at which gate above 1/2 have the difference and the common part the same gain (0 dB)?
same_gain = ...
right_half = grid > 0.5
blank(same_gain, np.interp(0, -cmrr[right_half], grid[right_half]), "The gains are 1/2 and 2g - 1.", rtol=5e-3)

# %% [markdown]
# ## 6. The gate by eye, on a real digit
#
# A digit of 8 x 8 pixels is cut into 16 patches of 2 x 2. To see the gate and nothing else we use
# *given* weights, not trained ones. A token is (ink, row, column, row² + column², 1), with ink the
# patch's mean grey level and rows and columns counted in patches. We want a branch to look at near
# patches, within some radius $\rho$, and at inky ones, with a strength $\beta$. So its scores shall
# be
#
# $$S_{ij} = -\frac{(\text{row}_i - \text{row}_j)^2 + (\text{col}_i - \text{col}_j)^2}{2\,\rho^2}
# + \beta\,\text{ink}_i\,\text{ink}_j$$
#
# Expand the squares. The terms in $\text{row}_i^2$ and $\text{col}_i^2$ are the same for all keys,
# and softmax ignores them. What is left is an inner product of four numbers of each token, which is
# why the token carries row² + col² and 1:
#
# $$\frac{\text{row}_i}{\rho^2}\,\text{row}_j + \frac{\text{col}_i}{\rho^2}\,\text{col}_j
# + \beta\,\text{ink}_i\,\text{ink}_j + 1 \cdot \frac{-(\text{row}_j^2 + \text{col}_j^2)}{2\,\rho^2}$$
#
# The excitatory branch is narrow and likes ink ($\rho = 1$, $\beta = 4$), the inhibitory branch is
# wide and blind to ink ($\rho = 2$, $\beta = 0$): the centre and surround of
# [notebook 02](02_centre_and_surround.ipynb), with content added.

# %%
digit = data.load("digits").train.inputs[3].astype("float64")
ink = digit.reshape(4, 2, 4, 2).mean(axis=(1, 3)).ravel()  # (16,): patches row by row
row_of, col_of = np.divmod(np.arange(16), 4)
tokens = np.stack([ink, row_of, col_of, row_of**2 + col_of**2, np.ones(16)], axis=1)  # (16, 5)


def given_weights(rho, beta):
    """W_q and W_k (5, 4), a column per term; the 2 is for sqrt(d), by which the head divides."""
    W_q, W_k = np.zeros((2, 5, 4))
    W_q[1, 0], W_q[2, 1], W_q[0, 2], W_q[4, 3] = 1 / rho**2, 1 / rho**2, beta, 1
    W_k[1, 0], W_k[2, 1], W_k[0, 2], W_k[3, 3] = 1, 1, 1, -1 / (2 * rho**2)
    return 2 * W_q, W_k


# %%
branches = [(1, 4), (2, 0)]  # rho and beta, excitatory and inhibitory
projected = [(tokens @ W)[None, None] for branch in branches for W in given_weights(*branch)]


def digit_head(g):
    """A_exc, A_inh, A (16, 16) and the output A ink (16,) at one gate for all tokens."""
    logit = 800.0 * (2 * g - 1) if g in (0, 1) else math.log(g / (1 - g))  # its sigmoid is g
    logit = np.full((1, 1, 16), logit)
    out, head = gated_head_forward(*projected, ink[None, None, :, None], logit)
    return head.A_exc[0, 0], head.A_inh[0, 0], head.A[0, 0], out[0, 0, :, 0]


distance2 = (row_of[:, None] - row_of) ** 2 + (col_of[:, None] - col_of) ** 2
narrow, wide = softmax(-distance2 / 2 + 4 * np.outer(ink, ink)), softmax(-distance2 / (2 * 2**2))
assert abs(digit_head(0.8)[0] - narrow).max() < 1e-14 and abs(digit_head(0.8)[1] - wide).max() < 1e-14

# %% mystnb={"image": {"alt": "Above, the digit in its 16 patches and five fused maps of 16 by 16 patches for g from 0 to 1. At g = 0 the map is pale blue everywhere, at g = 1 a red band along the diagonal, in between both at once. Below, the ink of each patch and the output of each map as 4 by 4 patches: evenly blue at g = 0, pale red on inky patches and pale blue elsewhere at g = 1/2, a blurred red digit at g = 1."}}
def show(ax, image, m, title):
    ax.grid(False)
    ax.set_title(title)
    ax.set(xticks=[], yticks=[])
    return ax.imshow(image, cmap="RdBu_r", vmin=-m, vmax=m)


fig, axes = plt.subplots(2, 6, figsize=(9, 3.7))
axes[0, 0].imshow(digit, cmap="gray_r", extent=(0, 8, 8, 0))
axes[0, 0].set(title="the digit", xticks=[2, 4, 6], yticks=[2, 4, 6], xticklabels=[], yticklabels=[])
axes[0, 0].grid(color="0.6")
show(axes[1, 0], ink.reshape(4, 4), 0.75, "ink")
for (top, low), g_ in zip(axes[:, 1:].T, (0.0, 0.25, 0.5, 0.75, 1.0), strict=True):
    *_, A_digit, out = digit_head(g_)
    maps = show(top, A_digit, 0.45, f"A, g = {g_:g}")
    outs = show(low, out.reshape(4, 4), 0.75, "A ink")
    top.set_xlabel("key patch", fontsize=8)
axes[0, 1].set_ylabel("query patch", fontsize=8)
fig.colorbar(maps, ax=axes[0].tolist(), label="weight", shrink=0.9)
fig.colorbar(outs, ax=axes[1].tolist(), label="ink", shrink=0.9)
fig.suptitle("Minus a wide mean (g = 0), contrast (g = 1/2), a narrow mean (g = 1)", fontsize=10)
assert abs(digit_head(0.5)[3] - 0.5 * (narrow @ ink - wide @ ink)).max() < 1e-14

# %% [markdown]
# Upper row: the fused map (16 x 16), red positive, blue negative. $g = 1$ is the narrow excitatory
# map, $g = 0$ minus the wide inhibitory one; between them both are seen at once, a red band on a
# pale blue field. Lower row: the output $A\,\text{ink}$ (the values are the ink) as a 4 x 4 image.
# At $g = 1$ the digit is blurred. At $g = 1/2$ a patch is red where the narrow mean of ink exceeds
# the wide one, blue where it falls short.

# %% tags=["blank"]
# Your turn: the output at g = 1/4, made of the outputs at g = 0 and g = 1, without a map.
at_0, at_1 = digit_head(0)[3], digit_head(1)[3]
at_a_quarter = ...
blank(at_a_quarter, digit_head(0.25)[3], "at_1 is the narrow mean, at_0 is minus the wide one.")

# %% [markdown]
# Where the notebook is live, the slider moves the gate continuously:

# %%
def draw_one(g):
    """One figure: the two maps, their fusion at this gate, and what comes out."""
    maps = dict(zip(("A_exc", "A_inh", f"A, g = {g:.2f}"), digit_head(g)[:3], strict=True))
    fig, axes = plt.subplots(1, 4, figsize=(9, 2.5))
    for ax, (name, image) in zip(axes, maps.items(), strict=False):
        drawn = show(ax, image, 0.45, name)
        ax.set(xlabel="key patch", ylabel="query patch")
    fig.colorbar(drawn, ax=axes[:3].tolist(), label="weight", shrink=0.8)
    out = show(axes[3], digit_head(g)[3].reshape(4, 4), 0.75, "A ink")
    fig.colorbar(out, ax=axes[3], label="ink", shrink=0.8)


try:
    from ipywidgets import FloatSlider, interact

    interact(draw_one, g=FloatSlider(value=0.8, min=0, max=1, step=0.05))
except ImportError:
    pass

# %% [markdown]
# ## 7. The backward, line by line
#
# Back to the random head of section 2. The loss $L$ is any number computed from $o$; all we need of
# it is the upstream gradient $do = \partial L/\partial o$. To test, we take a random $do$ and the
# loss $L = \sum do \cdot o$, which has exactly this gradient. The forward, top to bottom:
#
#     A_exc, A_inh = softmax(..), softmax(..)
#     g, 1-g       = sigmoid(z), sigmoid(-z)
#     A            = g A_exc - (1-g) A_inh
#     o            = A v
#
# and we undo it from the last line to the first. **Line 4, $o = A v$**, is the matrix product of
# notebook 04:
#
# $$dA = do\,v^T, \qquad dv = A^T\,do$$

# %%
do = rng.standard_normal(o.shape)
dA, dv = do @ swap(v), swap(A) @ do
grads = gated_head_backward(do, cache)
grads = dict(zip(("q_exc", "k_exc", "q_inh", "k_inh", "v", "z_gate"), grads, strict=True))
assert abs(dA - complex_step(lambda A_: (do * (A_ @ v)).sum(), A)).max() < 1e-12
assert abs(dv - complex_step(lambda v_: (do * (A @ v_)).sum(), v)).max() < 1e-12
assert abs(dv - grads["v"]).max() < 1e-12

# %% [markdown]
# Each line is tested twice, as here: against a **complex step** (the derivative of the forward line
# itself, exact to rounding) and, where the library returns the quantity, against
# `gated_head_backward`.
#
# **Line 3, the maps.** $A_{ij}$ depends on $A^{exc}_{ij}$ with the factor $g_i$ and on
# $A^{inh}_{ij}$ with the factor $-(1-g_i)$, so where the loss pushes a key's excitation up, it
# pushes its inhibition down, `[eq:gated-head-backward, derived]`:
#
# $$dA^{exc} = g\;dA, \qquad dA^{inh} = -(1-g)\;dA$$

# %%
def loss(A_exc, A_inh, g):
    """L as a function of line 3 alone."""
    return (do * ((g[..., None] * A_exc - (1 - g)[..., None] * A_inh) @ v)).sum()


dA_exc, dA_inh = g[..., None] * dA, -(1 - g)[..., None] * dA
assert abs(dA_exc - complex_step(lambda a: loss(a, A_inh, g), A_exc)).max() < 1e-12
assert abs(dA_inh - complex_step(lambda a: loss(A_exc, a, g), A_inh)).max() < 1e-12

# %% [markdown]
# **Line 3, the gate.** $g_i$ is one number shared by row $i$, so its gradient sums over the keys.
# It stands in the formula twice: $\partial A_{ij}/\partial g_i = A^{exc}_{ij} - (-1) A^{inh}_{ij}$.
# Opening the gate gives more of the one *and takes away less of the other*. The two contributions
# **add**:
#
# $$dg_i = \sum_j dA_{ij}\,(A^{exc} + A^{inh})_{ij} = \langle do_i,\; o^{exc}_i + o^{inh}_i \rangle$$
#
# The second form follows from $dA_{ij} = \langle do_i, v_j\rangle$ and
# $\sum_j A^{exc}_{ij} v_j = o^{exc}_i$ (likewise inh). It needs only the two outputs: useful for
# code that never stores the maps. It agrees with section 5, where $g$ stands in the one term
# $(2g-1)\,\tfrac12 (o^{exc} + o^{inh})$.

# %%
dg = (dA * (A_exc + A_inh)).sum(axis=-1)  # (B, H, T)
assert abs(dg - (do * (o_exc + o_inh)).sum(axis=-1)).max() < 1e-12
assert abs(dg - complex_step(lambda g_: loss(A_exc, A_inh, g_), g)).max() < 1e-12

# %% [markdown]
# **Line 2, the sigmoid.** With $\sigma' = \sigma(1-\sigma)$:
#
# $$dz = g\,(1-g)\;dg$$
#
# SymPy confirms the algebra, the complex step the number, this time through the whole head.

# %%
zs, a, b = sp.symbols("z a b", real=True)  # one logit, and one entry of each map
sigma = 1 / (1 + sp.exp(-zs))
assert sp.simplify(sp.diff(sigma, zs) - sigma * (1 - sigma)) == 0
assert sp.simplify(sp.diff(sigma * a - (1 - sigma) * b, zs) - sigma * (1 - sigma) * (a + b)) == 0

dz = g * (1 - g) * dg
head_loss = lambda z_: (do * gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_)[0]).sum()  # noqa: E731
assert abs(dz - grads["z_gate"]).max() < 1e-12
assert abs(dz - complex_step(head_loss, z)).max() < 1e-12

# %% [markdown]
# $g(1-g)$ is at most 1/4, and next to nothing where the gate is saturated, at either end.
#
# **Line 1, the two softmaxes.** Each branch is the ordinary attention map of notebooks 03 and 04,
# with its own upstream $dA^{exc}$ or $dA^{inh}$. In the next line $q$, $k$, $A$, $dA$ are those of
# one branch, and $S = q k^T / \sqrt d$ are its scores, `[eq:softmax-backward, derived]`:
#
# $$dS = A \odot (dA - \text{rowsum}(dA \odot A)), \qquad
# dq = \frac{dS\,k}{\sqrt d}, \qquad dk = \frac{dS^T q}{\sqrt d}$$

# %%
def branch_backward(A_branch, dA_branch, q, k):
    dS = A_branch * (dA_branch - (dA_branch * A_branch).sum(axis=-1, keepdims=True))
    return dS @ k / math.sqrt(d), swap(dS) @ q / math.sqrt(d)


mine = {}
mine["q_exc"], mine["k_exc"] = branch_backward(A_exc, dA_exc, q_exc, k_exc)
mine["q_inh"], mine["k_inh"] = branch_backward(A_inh, dA_inh, q_inh, k_inh)
for place, name in enumerate(mine):
    def moved(value, place=place):
        return (do * gated_head_forward(*args[:place], value, *args[place + 1 :])[0]).sum()

    assert abs(mine[name] - grads[name]).max() < 1e-12, name
    assert abs(mine[name] - complex_step(moved, args[place])).max() < 1e-12, name

# %% tags=["blank"]
# Your turn: both branches get the same queries and keys, and all gates are 3/4.
# dq_inh is then dq_exc times one number. Which?
one_number_of_both = ...
twins = gated_head_forward(q_exc, k_exc, q_exc, k_exc, v, 0 * z + math.log(3))[1]
of_twins = gated_head_backward(do, twins)
blank(one_number_of_both, (of_twins[2] / of_twins[0]).mean(), "Compare dA_inh with dA_exc.")

# %% [markdown]
# That is the whole backward of the head. **The usual mistakes** are now planted on purpose, one at
# a time. `gradcheck.compare_pair` differentiates the forward numerically and lets `diagnose` say
# what kind of mistake it sees.

# %%
def backward_with(mistake):
    def backward(do, cache):
        A, A_exc, A_inh, g, rest, v, exc, inh = cache  # rest is 1 - g; exc, inh: caches of the softmaxes
        dA, dv = do @ swap(v), swap(A) @ do
        dA_exc, dA_inh = g[..., None] * dA, -rest[..., None] * dA
        dg = (dA * (A_exc + A_inh)).sum(axis=-1)
        if mistake == "the inhibitory sign dropped":
            dA_inh = -dA_inh
        if mistake == "dA_inh without 1-g":
            dA_inh = -dA
        if mistake == "dg with A_exc - A_inh":
            dg = (dA * (A_exc - A_inh)).sum(axis=-1)
        dz = g * dg if mistake == "dz without 1-g" else g * rest * dg
        return *softmax_map_backward(dA_exc, exc), *softmax_map_backward(dA_inh, inh), dv, dz

    return backward


# %%
wrong = {}
signs, lost = "the inhibitory sign dropped", "dA_inh without 1-g"
for mistake in ("none", signs, lost, "dg with A_exc - A_inh", "dz without 1-g"):
    results = gradcheck.compare_pair(gated_head_forward, backward_with(mistake), args)
    wrong[mistake] = {r.argument: r.message for r in results if not r.ok}
    print(f"{mistake}:", *[f"\n   {name}: {said}" for name, said in wrong[mistake].items()] or ["all right"])

assert not wrong["none"] and set(wrong[signs]) == set(wrong[lost]) == {"q_inh", "k_inh"}
assert all("the inhibitory branch enters with a minus" in said for said in wrong[signs].values())
assert "is a gate or lambda lost" in wrong[lost]["q_inh"]
assert set(wrong["dg with A_exc - A_inh"]) == set(wrong["dz without 1-g"]) == {"z_gate"}

# %% [markdown]
# The first two are recognised: a sign, and a factor $1/(1-g_i)$ per row of `q_inh` (in `dk` the
# rows are summed, so for `k_inh` the checker gives only an angle). The two mistakes of the gate are
# *not* named. But `z_gate` alone is wrong, so the error is in `dg` or `dz` and nowhere else.
#
# **Stop and think.** You write $A = g A^{exc} + (1-g) A^{inh}$ in the forward, and derive its
# backward correctly. Does the gradient check notice?
#
# <details><summary>Answer</summary>
#
# No. The pair is consistent; it is only a different mechanism. What notices are tests of the
# *forward*: the row sum is $1$ instead of $2g-1$, the limit at $g = 0$ has the wrong sign, and a
# loop over scalars differs, provided that the loop was written from the definition.
#
# </details>
#
# ## 8. The whole layer
#
# Around the head stand the projections, the gate's linear map, the norm of each head
# `[eq:head-norm, reading]` and the output matrix `[eq:attention, reading]`. *RMSNorm* divides each
# vector by its root mean square and multiplies it by a learned gain $w$, entry by entry:
# $\text{rmsnorm}(o;\,w)_c = w_c\,o_c / \sqrt{\text{mean}(o^2) + \epsilon}$. Notebook 05 says what
# the norm and the factor $1 - \lambda_{init}$ are for. With $o_h$ for the output of head $h$:
#
# $$y = \text{concat}_h\big[(1-\lambda_{init})\;\text{rmsnorm}(o_h;\,w_{norm})\big]\,W_o, \qquad
# \lambda_{init} = 0.8$$
#
# Here it is from the operations of `dgsa_np.ops` alone, with `W_gate` as drawn in section 3 and a
# gain other than 1: `W_gate = 0` or a gain of 1 would hide mistakes. Each `*_forward` returns its
# result and a cache for the way back.

# %%
NAMES = ("q_exc", "k_exc", "q_inh", "k_inh", "v")
p["w_norm"] = rng.uniform(0.5, 1.5, p["w_norm"].shape)  # cfg, x and p are those of section 3, with H = 3


def layer_forward(x, p, lambda_init=0.8, eps=1e-5, mask=None):
    c, heads = {}, {}
    for name in NAMES:
        projected, c[name] = ops.linear_forward(x, p[f"W_{name}"])
        heads[name] = ops.split_heads(projected, H)  # (B, T, H d) -> (B, H, T, d), for v (B, H, T, 2d)
    z, c["gate"] = ops.linear_forward(x, p["W_gate"], p["b_gate"])  # (B, T, H)
    g, rest = sigmoid(swap(z))[..., None], sigmoid(-swap(z))[..., None]  # (B, H, T, 1)
    scale = 1 / math.sqrt(heads["q_exc"].shape[-1])
    A_exc, c["exc"] = ops.softmax_forward(scale * heads["q_exc"] @ swap(heads["k_exc"]), mask)
    A_inh, c["inh"] = ops.softmax_forward(scale * heads["q_inh"] @ swap(heads["k_inh"]), mask)
    A = g * A_exc - rest * A_inh
    o = A @ heads["v"]
    n, c["norm"] = ops.rmsnorm_forward(o, p["w_norm"], eps)
    y, c["output"] = ops.linear_forward(ops.merge_heads((1 - lambda_init) * n), p["W_o"])
    return y, (c, heads, g, rest, A, A_exc, A_inh, scale, lambda_init)


y, cache = layer_forward(x, p)
y_library, cache_library = attention.attention_forward(x, p, cfg)
assert abs(y - y_library).max() < 1e-12 and abs(cache[4] - cache_library.head.A).max() < 1e-12

# %% [markdown]
# The backward is that function read upwards (`rmsnorm_backward` is derived in 05). Only one thing
# is new: $x$ feeds six linear maps (five projections and the gate), so its gradient is the sum of
# six. Forgetting the gate's share is the mistake to avoid: nothing crashes. The second cell
# compares with the library. Since two programs may share a mistake, it then tests $x$ and every
# parameter by complex step: `check_pair` raises an error if an element is off by more than 1e-12 of
# the largest.

# %%
def layer_backward(dy, cache):
    c, heads, g, rest, A, A_exc, A_inh, scale, lambda_init = cache
    grads, dheads = {}, {}
    dmerged, grads["W_o"] = ops.linear_backward(dy, c["output"])
    dn = (1 - lambda_init) * ops.split_heads(dmerged, H)
    do, grads["w_norm"] = ops.rmsnorm_backward(dn, c["norm"])
    dA, dheads["v"] = do @ swap(heads["v"]), swap(A) @ do
    dg = (dA * (A_exc + A_inh)).sum(axis=-1, keepdims=True)
    for branch, dA_branch in (("exc", g * dA), ("inh", -rest * dA)):
        dS = scale * ops.softmax_backward(dA_branch, c[branch])
        dheads[f"q_{branch}"] = dS @ heads[f"k_{branch}"]
        dheads[f"k_{branch}"] = swap(dS) @ heads[f"q_{branch}"]
    dz = (g * rest * dg)[..., 0]  # (B, H, T)
    dx, grads["W_gate"], grads["b_gate"] = ops.linear_backward(swap(dz), c["gate"])
    for name in NAMES:
        dx_name, grads[f"W_{name}"] = ops.linear_backward(ops.merge_heads(dheads[name]), c[name])
        dx = dx + dx_name
    return dx, {name: grads[name] for name in p}


# %%
dy = rng.standard_normal(y.shape)
(dx, mine), (dx_library, library) = layer_backward(dy, cache), attention.attention_backward(dy, cache_library)
assert abs(dx - dx_library).max() < 1e-12 and list(mine) == list(library)
for name in p:
    assert abs(mine[name] - library[name]).max() < 1e-12, name
for r in gradcheck.check_pair(layer_forward, layer_backward, (x, p)):
    assert r.error < 1e-12
    print(f"{r.argument:9} {r.shape!s:11} error {r.error:.0e}")

# %% tags=["blank"]
# Your turn: a backward forgets the gate's share of dx, and is tested at the start, where W_gate = 0.
# Which gradients does the checker call wrong: "x", "W_gate", "x and W_gate" or "none"?
called_wrong = ...


def forgetful_backward(dy, cache):
    of_layer, *others = cache
    cut = of_layer["gate"]._replace(W=0 * of_layer["gate"].W)  # dx = dz W^T: nothing comes back
    return layer_backward(dy, (of_layer | {"gate": cut}, *others))


at_the_start = gradcheck.compare_pair(layer_forward, forgetful_backward, (x, p | {"W_gate": 0 * p["W_gate"]}))
blank(called_wrong, " and ".join(found.argument for found in at_the_start if not found.ok) or "none",
      "The share is dz W_gate^T. How large is it there?")  # fmt: skip

# %% [markdown]
# **What it costs in parameters** (derived). Softmax attention has four $C \times C$ matrices. Here
# there are two matrices more, but the four of the queries and keys have half the columns
# ($d = C/(2H)$), so their sum is $4C^2$ too. The gate adds $C H + H$, the norm's gain $2d$. V1 and
# V2 are the two versions of the Differential Transformer (notebook 05).
#
# $$N_{dgsa} = 4C^2 + (CH + H) + 2d, \qquad
# N_{softmax} = 4C^2, \qquad N_{V1} = 4C^2 + 4d + 2d, \qquad N_{V2} = 5C^2 + CH$$

# %%
C_, H_ = 64, 4
d_ = C_ // (2 * H_)
expected = {"dgsa": 4 * C_**2 + (C_ * H_ + H_) + 2 * d_, "softmax": 4 * C_**2}
expected |= {"diff_v1": 4 * C_**2 + 4 * d_ + 2 * d_, "diff_v2": 5 * C_**2 + C_ * H_}
for kind, n in expected.items():
    config = attention.AttentionConfig(kind=kind, width=C_, n_heads=H_)
    assert count(attention.init_attention(config, np.random.default_rng(0))) == n
    print(f"{kind:8} {n} parameters, {100 * (n / (4 * C_**2) - 1):+.1f} % against softmax")

# %% [markdown]
# ## 9. The gate sees the query only. How then can it suppress one key?
#
# This was asked of the paper. By itself the gate cannot. Hold the maps still and move $g$: every
# weight changes at the rate
#
# $$\frac{\partial A_{ij}}{\partial g_i} = A^{exc}_{ij} + A^{inh}_{ij} \ge 0$$
#
# so *all* weights of the row rise with the gate. No gate lowers one and lifts another. The choice
# of the key is made by the **inhibitory map**, and the gate decides how much that choice counts.
# Setting $A_{ij}$ to 0 gives the gate at which a key is removed,
# $g^* = A^{inh}_{ij} / (A^{exc}_{ij} + A^{inh}_{ij})$. To show it we construct maps with given rows
# $p$: with $d = 1$, $q = 1$ and $k_j = \log p_j$ the scores are $\log p_j$, and softmax returns
# $p$.

# %%
def row_with(p_exc, p_inh, g):
    """The fused row (3,) of one query whose maps are p_exc and p_inh."""
    one, key = np.ones((1, 1, 1, 1)), lambda weights: np.log(weights)[None, None, :, None]
    logit = np.full((1, 1, 1), math.log(g / (1 - g)))
    return gated_head_forward(one, key(p_exc), one, key(p_inh), np.zeros((1, 1, 3, 1)), logit)[1].A[0, 0, 0]


p_exc = np.array([0.5, 0.4, 0.1])  # key 2 is a distractor: it excites almost as much as key 1
on_2, on_3 = np.array([0.1, 0.8, 0.1]), np.array([0.1, 0.1, 0.8])  # inhibition that picks key 2, or key 3
steps = np.linspace(0.02, 0.98, 49)
assert (np.diff([row_with(p_exc, on_2, g_) for g_ in steps], axis=0) > 0).all()  # all weights rise with g
g_star = 0.8 / (0.4 + 0.8)
print("g* =", round(g_star, 3), " inhibition on key 2:", np.round(row_with(p_exc, on_2, g_star), 3) + 0,
      " on key 3:", np.round(row_with(p_exc, on_3, g_star), 3))  # fmt: skip
assert abs(row_with(p_exc, on_2, g_star) - [0.3, 0, 1 / 30]).max() < 1e-15
slope = (row_with(p_exc, on_2, 0.6 + 1e-6) - row_with(p_exc, on_2, 0.6 - 1e-6)) / 2e-6
assert abs(slope - (p_exc + on_2)).max() < 1e-9

# %% mystnb={"image": {"alt": "Fused weights of three keys against the gate, all rising straight lines. Left, with inhibition on key 2, the line of key 2 is the steepest and crosses zero at g = 2/3. Right, with inhibition on key 3, the line of key 3 is below zero there and crosses near g = 0.9, while key 2 is positive."}}
fig, axes = plt.subplots(1, 2, figsize=(9, 2.9), sharey=True)
for ax, p_inh, title in ((axes[0], on_2, "inhibition on key 2"), (axes[1], on_3, "inhibition on key 3")):
    rows = np.array([row_with(p_exc, p_inh, g_) for g_ in steps])
    for j, (style, colour) in enumerate((("-", BLUE), ("--", ORANGE), (":", "0.2"))):
        ax.plot(steps, rows[:, j], style, color=colour, label=f"key {j + 1}")
    ax.axhline(0, color="0.3", lw=1)
    ax.axvline(g_star, color="0.6", lw=1)
    ax.text(g_star - 0.01, -0.75, "g = 2/3", ha="right", color="0.4")
    ax.set(title=title, xlabel="gate g")
axes[1].legend(loc="lower right")
fig.suptitle("The gate lifts all keys; the inhibitory map decides which key is held down", fontsize=10)
_ = axes[0].set_ylabel("fused weight")

# %% [markdown]
# All lines rise. The same gate, $g = 2/3$, removes key 2 on the left and not on the right. "Query
# only" is a statement about one layer: from the second layer on, the query's token carries traces
# of other tokens.

# %% tags=["blank"]
# Your turn: inhibition on key 3, as on the right. At which gate is key 3 removed?
removes_key_3 = ...
blank(removes_key_3, np.interp(0, rows[:, 2], steps), "A_inh / (A_exc + A_inh), for key 3.", rtol=1e-2)

# %% [markdown]
# **Three questions are left.** What is new here, if behind the norm it is differential attention?
# Why does the gate not start in the middle, at $g = 1/2$? And does a balanced gate cancel the
# brightness of an image? [10 Three questions about the gate](10_three_questions_about_the_gate.ipynb)
# answers them. It may be read now or later; nothing in 07 to 09 needs it.
#
# ## What you now know
#
# 1. M-DGSA's map is $g A^{exc} - (1-g) A^{inh}$: rows sum to $2g-1$, weights may be negative, the
#    l1 norm is at most 1.
# 2. Backward, two lines are its own: $dA^{inh} = -(1-g)\,dA$ and
#    $dz = g(1-g)\,\langle do, o^{exc} + o^{inh}\rangle$. The rest is softmax attention twice.
# 3. With the head norm it is, up to $\epsilon$, differential attention with $\lambda = e^{-z}$ per
#    token and head.
# 4. The gate lifts all weights of a row together; which key is suppressed is the choice of the
#    inhibitory map.
#
# **Three things to try**
#
# - Put `z = np.zeros((B, H, T))` in section 2. What does the checker of section 7 now say of the
#   two forgotten $1-g$, and why is that a bad test? (Its asserts on the messages fail, rightly.)
# - In section 8 drop the gate's share of `dx` and the asserts against the library. What does
#   `check_pair` say, and of which argument?
# - In section 6 give both branches the same radius and strength. What does the head then show at
#   $g = 1/2$, and what at $g = 3/4$? (The asserts on `narrow` or `wide` fail, rightly.)
#
# Next: [07 A transformer by hand](07_a_transformer_by_hand.ipynb), where this layer becomes part of
# a model that learns.
