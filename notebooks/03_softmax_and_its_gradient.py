# %% [markdown]
# # 03 Softmax and its gradient
# *Deep dive; the whole idea in 45 minutes is in [start_here](start_here.ipynb).*
#
# Every attention map of this project is made of softmax maps. This notebook takes the softmax
# apart: how it is computed without overflow, what a mask does to it, what its derivative looks like
# as a matrix, and why no program ever builds that matrix. The second half asks how one knows that a
# derivative is right, and measures how good the three usual numeric derivatives are.
#
# **You will do**
# - compute a softmax and its backward pass on paper, with the numbers 1, 2 and 5
# - make it overflow, and mend it
# - draw the Jacobian, and derive the one-line backward pass from it
# - write wrong backward passes that a careless check lets through
# - measure the error of forward differences, central differences and the complex step over the step
#   size
#
# **You will learn** why upstream gradients must be random, where the rules `h = eps^(1/2)` and
# `h = eps^(1/3)` come from, why the complex step needs no such rule, and what no gradient check can
# see.
#
# **You need** notebook 00 (pairs, caches, `dX`), matrix calculus, Taylor series.
#
# **Time** about 60 minutes, and 15 for the nine blanks: in a cell that begins with `# Your turn`
# replace the dots and run it again, and it says whether you are right.

# %%
try:
    import dgsa_np  # noqa: F401
except ModuleNotFoundError:  # as on Colab: install it, from where this notebook comes
    source = "..[notebooks]"  # this checkout; make address puts the repository here
    get_ipython().run_line_magic("pip", f'install --quiet "{source}"')  # noqa: F821

# %%
import inspect
import math
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

from dgsa_np.gradcheck import central_difference, check_pair, compare_pair, complex_step, relative_error
from dgsa_np.lab.blank import blank
from dgsa_np.losses import cross_entropy_backward, cross_entropy_forward
from dgsa_np.ops import softmax_backward, softmax_forward

plt.style.use("dgsa_np.lab.viz")
rng = np.random.default_rng(0)
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"

# %% [markdown]
# ## 1. From scores to weights
#
# A query compares itself with the keys and gets one score $S_i$ for each: any real number, large
# where the key fits. We want weights: positive, with sum 1, in the order of the scores. The
# exponential makes anything positive and keeps the order. Dividing by the sum makes the sum 1. That
# is all a softmax is, `[eq:softmax, standard]`:
#
# $$A_i = \frac{e^{S_i}}{\sum_k e^{S_k}}$$
#
# To do it on paper, take scores that are logarithms: $S = (\ln 1, \ln 2, \ln 5)$. Then
# $e^S = (1, 2, 5)$ with sum 8, and $A = (1/8,\ 2/8,\ 5/8)$. These three numbers stay with us.

# %%
S = np.log([1.0, 2.0, 5.0])
E = np.exp(S)
A = E / E.sum()
print("exp(S)      ", E)
print("A           ", A)

library, cache = softmax_forward(S)
assert abs(A - [1 / 8, 2 / 8, 5 / 8]).max() < 1e-15
assert abs(A - library).max() < 1e-15

# %% tags=["blank"]
# Your turn, on paper: add ln 2 to the last score. The three weights?
after_ln_2 = ...  # a list of three
blank(after_ln_2, softmax_forward(S + np.log([1, 1, 2]))[0], "exp(S) becomes (1, 2, 10). What is the sum?")

# %% [markdown]
# With a batch, softmax runs along the last axis, one row per query. The definition as loops is
# slow, and too plain to be wrong. Such loops are the *oracle* of the library's tests, and we use
# them again at the end of this notebook.


# %%
def softmax_by_loops(S):
    """The definition, row by row, number by number."""
    A = np.zeros(S.shape)
    for t in range(S.shape[0]):
        total = sum(math.exp(S[t, k]) for k in range(S.shape[1]))
        for i in range(S.shape[1]):
            A[t, i] = math.exp(S[t, i]) / total
    return A


scores = rng.standard_normal((4, 6))  # 4 queries, 6 keys
A_rows, _ = softmax_forward(scores)
assert abs(A_rows - softmax_by_loops(scores)).max() < 1e-15
assert abs(A_rows.sum(axis=-1) - 1).max() < 1e-15

# %% [markdown]
# ### Only differences count
#
# Divide one weight by another and the sum cancels. With $c$ added to every score, $e^c$ cancels as
# well:
#
# $$\frac{A_i}{A_j} = e^{S_i - S_j}, \qquad \mathrm{softmax}(S + c) = \mathrm{softmax}(S)$$
#
# A softmax does not know how high its scores are, only how far apart.

# %%
assert abs(A[2] / A[1] - np.exp(S[2] - S[1])) < 1e-14
for c in (-3.0, 0.5, 40.0):
    assert abs(softmax_forward(S + c)[0] - A).max() < 1e-13
print("S + 40 gives", softmax_forward(S + 40)[0])

# %% [markdown]
# ### Overflow, and how to mend it
#
# The exponential leaves float64 soon after 709, and float32 after 88. Scores of 1000 are ordinary
# in a model that has gone astray, and then the formula as written says infinity divided by
# infinity. (`np.errstate` only silences NumPy's warning.)

# %%
large = np.array([1000.0, 999.0, 0.0])
with np.errstate(over="ignore", invalid="ignore"):
    E = np.exp(large)
    naive = E / E.sum()
    assert np.isfinite(np.exp(709.0)) and np.isinf(np.exp(710.0))
    assert np.isfinite(np.exp(np.float32(88))) and np.isinf(np.exp(np.float32(89)))
print("exp ", E)
print("A   ", naive)
assert np.isnan(naive[:2]).all()

# %% [markdown]
# The invariance mends it. Subtract the largest score, which changes nothing:
#
# $$A_i = \frac{e^{S_i - m}}{\sum_k e^{S_k - m}}, \qquad m = \max_k S_k$$
#
# The largest exponent is now 0, so the largest term is 1 and the sum lies between 1 and the number
# of keys: no overflow, no division by 0. Very small terms become 0, which is what they are to 16
# digits. The library does this, in silence: below, NumPy is told to raise an error at any overflow
# or invalid operation, for scores of $\pm 10^4$.

# %%
E = np.exp(large - large.max())
mended = E / E.sum()
print(mended)
assert abs(mended[:2] - [1 / (1 + math.exp(-1)), 1 / (1 + math.e)]).max() < 1e-15 and mended[2] == 0

huge = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]])
with np.errstate(over="raise", invalid="raise", divide="raise"):
    A_huge, cache_huge = softmax_forward(huge)
    dS_huge = softmax_backward(np.ones_like(huge), cache_huge)
print(A_huge)
assert abs(A_huge - [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]).max() < 1e-15 and np.isfinite(dS_huge).all()

# %% [markdown]
# > **Stop and think.** One maximum per row, or one for the whole array? Both are constants along a
# > row, so both are right on paper.
# >
# > <details><summary>Answer</summary>
# > Per row. With one maximum for all, a row whose scores lie 800 below it has only zeros after the
# > exponential, and its sum is 0. The second row of the example above would be 0/0: it lies 20,000
# > below the first row's maximum.
# > </details>

# %% [markdown]
# ## 2. Masks
#
# A causal model must not see later tokens, and padding is no token at all. A mask $M_i$ is 1
# (`True`) where the query may look. What is forbidden is left out of numerator and sum alike, so
# the others share the whole weight:
#
# $$A_i = \frac{M_i\, e^{S_i}}{\sum_k M_k\, e^{S_k}}$$
#
# On paper, with 5 forbidden: $(1, 2)/3$. **The usual mistake** is to mask after the softmax: then
# the sum is 3/8, not 1.

# %%
mask = np.array([True, True, False])
A_masked, _ = softmax_forward(S, mask)
too_late = A * mask
print("masked before the sum ", A_masked, "sum", A_masked.sum())
print("masked afterwards     ", too_late, "           sum", too_late.sum())
assert abs(A_masked - [1 / 3, 2 / 3, 0]).max() < 1e-15
assert A_masked[2] == 0  # exactly
assert abs(too_late.sum() - 3 / 8) < 1e-15

# %% tags=["blank"]
# Your turn: four tokens, a causal mask, all scores equal. How much weight does token 0 get from all four
# queries together?
column_sum = ...
equal = softmax_forward(np.zeros((4, 4)), np.tri(4, dtype=bool))[0]
blank(column_sum, equal[:, 0].sum(), "Query 0 has one key, query 1 has two, ... Columns need not sum to 1.")

# %% [markdown]
# Could one mask afterwards and divide by the new sum? On paper, yes. In floating point the
# forbidden score still takes part in the maximum. If it is large it pushes all allowed terms to 0,
# and 0/0 is not a number. So the library masks *before* exp: forbidden scores are replaced by
# $-\infty$, whose exponential is exactly 0. Whatever stood there before, even nan, is gone.

# %%
S_bad = np.array([0.0, 0.0, 1000.0])  # the third is forbidden, and large
E = np.exp(S_bad - S_bad.max()) * mask
with np.errstate(invalid="ignore"):
    renormalised = E / E.sum()
print("masked after exp  ", renormalised)
print("masked before exp ", softmax_forward(S_bad, mask)[0])
assert np.isnan(renormalised).all()
for forbidden in (1000.0, np.inf, np.nan):
    A_bad, _ = softmax_forward(np.array([0.0, 0.0, forbidden]), mask)
    assert abs(A_bad - [0.5, 0.5, 0]).max() == 0

# %% [markdown]
# And if *everything* is forbidden? Then the formula is 0/0. In code the largest score is $-\infty$
# as well, $-\infty - (-\infty)$ is nan, and nan spreads through the model. The library's answer is
# a row of zeros: a query without keys takes nothing from anybody. Its gradient is exactly 0, too.
# It takes two small additions: never subtract less than the lowest finite number, so that every
# exponential of the row is 0; and where the sum is 0, divide by 1.

# %%
nothing = np.zeros(3, bool)
with np.errstate(invalid="ignore"):
    S_inf = np.where(nothing, S, -np.inf)
    E = np.exp(S_inf - S_inf.max())
    print("as it is   ", E / E.sum())
    assert np.isnan(E / E.sum()).all()
E = np.exp(S_inf - max(S_inf.max(), np.finfo(float).min))
print("guarded    ", E / (E.sum() + (E.sum() == 0)))
assert (E / (E.sum() + (E.sum() == 0)) == 0).all()
A_none, cache_none = softmax_forward(S, nothing)
dS_none = softmax_backward(rng.standard_normal(3), cache_none)
print("library    ", A_none, "  gradient", dS_none)
assert not A_none.any() and not dS_none.any()

# %% [markdown]
# ## 3. Temperature
#
# Divide the scores by a temperature $\tau > 0$ before the softmax. Ratios of weights are then taken
# to the power $1/\tau$:
#
# $$\frac{A_i(\tau)}{A_j(\tau)} = \left(\frac{A_i(1)}{A_j(1)}\right)^{1/\tau}$$
#
# A large $\tau$ makes all ratios 1: uniform weights. A small $\tau$ blows them up: the best key
# takes all.

# %% tags=["blank"]
# Your turn: at temperature 1 the last key has 5 times the weight of the first. At which temperature 125 times?
that_cold = ...
blank(that_cold, math.log(5) / math.log(125), "125 is 5 to the power 3.")

# %% mystnb={"image": {"alt": "Three weights over the temperature. In the cold the score ln 5 has all the weight; at temperature 1 the weights are 1/8, 2/8 and 5/8; in the heat all three approach one third."}}
for tau in (0.5, 2.0):
    A_tau, _ = softmax_forward(S / tau)
    assert abs(A_tau[2] / A_tau[0] - 5 ** (1 / tau)) < 1e-13  # 25 and 2.236
assert abs(softmax_forward(S / 1e-2)[0] - [0, 0, 1]).max() < 1e-15
assert abs(softmax_forward(S / 1e6)[0] - 1 / 3).max() < 1e-6

taus = np.geomspace(0.05, 50, 200)
curves = np.array([softmax_forward(S / tau)[0] for tau in taus])
fig, ax = plt.subplots(figsize=(6.5, 3.2))
for i, (value, color, style) in enumerate(zip("125", (BLUE, ORANGE, GREEN), (":", "--", "-"), strict=True)):
    ax.plot(taus, curves[:, i], style, color=color, label=rf"$S = \ln\,{value}$")
ax.axvline(1, color="0.6", lw=1)
ax.set(xscale="log", xlabel=r"temperature $\tau$", ylabel="weight", ylim=(-0.02, 1.02))
ax.set_title("Cold: the winner takes all. Hot: everybody gets the same.")
ax.legend()
plt.show()

# %% [markdown]
# At the grey line ($\tau = 1$) the weights are 1/8, 2/8, 5/8. From left to right one function is a
# hard maximum, a soft one and a plain mean.
#
# In attention the temperature is $\sqrt d$, where $d$ is the width of queries and keys. The dot
# product of two vectors of $d$ independent standard normal numbers has the variance $d$. Without
# the division, wide heads would start cold.

# %%
d = 64
q, k = rng.standard_normal((2000, d)), rng.standard_normal((50, d))
dots = q @ k.T
cold, warm = softmax_forward(dots)[0], softmax_forward(dots / np.sqrt(d))[0]
print(f"standard deviation of q.k     {dots.std():.2f}, divided by sqrt(d) {dots.std() / np.sqrt(d):.2f}")
top_cold, top_warm = cold.max(axis=-1).mean(), warm.max(axis=-1).mean()
print(f"largest of 50 weights, mean   {top_cold:.2f}, divided by sqrt(d) {top_warm:.2f}")
assert abs(dots.std() / np.sqrt(d) - 1) < 0.1 and top_cold > 5 * top_warm

# %% [markdown]
# One more reading of the formula: each score is *divided* by what all of them add up to, so a key
# can only rise if the others fall. Physiologists call such a thing divisive inhibition. Notebook 02
# makes this exact, and sets it beside the subtractive kind which gated attention adds.
#
# ## 4. The Jacobian
#
# How does weight $i$ move when score $j$ moves? The logarithm makes it short. From
# $\ln A_i = S_i - \ln \sum_k e^{S_k}$,
#
# - the first term has the derivative $\delta_{ij}$, which is 1 for $i = j$ and else 0;
# - the second has $e^{S_j} / \sum_k e^{S_k} = A_j$.
#
# So $\partial \ln A_i / \partial S_j = \delta_{ij} - A_j$, and since
# $\partial A_i = A_i\, \partial \ln A_i$,
#
# $$J_{ij} = \frac{\partial A_i}{\partial S_j} = A_i\,(\delta_{ij} - A_j), \qquad
# J = \mathrm{diag}(A) - A A^T$$
#
# On paper, with $A = (1, 2, 5)/8$: $64\,J$ has $1 \cdot 7,\ 2 \cdot 6,\ 5 \cdot 3$ on its diagonal,
# and minus the products of the numerators beside it.

# %%
J = np.diag(A) - np.outer(A, A)
print(np.round(64 * J, 12))
assert abs(64 * J - [[7, -2, -5], [-2, 12, -10], [-5, -10, 15]]).max() < 1e-13

# row i of J is the gradient of the number A_i; we get it from the forward alone, see section 8
numeric = np.array([complex_step(lambda s, i=i: softmax_forward(s)[0][i], S) for i in range(3)])
assert abs(J - numeric).max() < 1e-15

# %% tags=["blank"]
# Your turn: how large can an entry on the diagonal of J be, whatever the scores are?
largest_on_diagonal = ...
weights = np.linspace(0, 1, 1001)
blank(largest_on_diagonal, (weights - weights**2).max(), "J_ii = A_i (1 - A_i).")

# %% [markdown]
# Three things can be read off the matrix.
#
# - It is **symmetric**: score $j$ moves weight $i$ as much as score $i$ moves weight $j$.
# - **Constants are its null space**: raising all scores alike changes nothing, that is the
#   invariance of section 1 once more.
# - It is **positive semi-definite**: for any vector $u$ the quadratic form is the variance of $u$,
#   drawn with the probabilities $A$, and no variance is negative.
#
# $$J = J^T, \qquad J\,\mathbf 1 = 0, \qquad
# u^T J u = \sum_i A_i u_i^2 - \Big(\sum_i A_i u_i\Big)^2 = \mathrm{Var}_A(u) \ge 0$$

# %%
assert abs(J - J.T).max() == 0
assert abs(J @ np.ones(3)).max() < 1e-16
for _ in range(100):
    u = rng.standard_normal(3)
    variance = (A * (u - A @ u) ** 2).sum()
    assert abs(u @ J @ u - variance) < 1e-14 and variance >= 0
eigenvalues, eigenvectors = np.linalg.eigh(J)
print("eigenvalues", np.round(eigenvalues, 4))
assert eigenvalues.min() > -1e-16
assert abs(abs(eigenvectors[:, 0]) - 3**-0.5).max() < 1e-12  # the one with eigenvalue 0 is constant

# %% [markdown]
# Now eight keys, with the same scores at three temperatures. (The Jacobian is taken with respect to
# the scores as softmax sees them, after the division.)


# %% mystnb={"image": {"alt": "Three 8 by 8 Jacobians. Hot: red along the whole diagonal, pale blue beside it. Warm: dark red at the best key, blue where it meets other good keys, much of the rest white. Cold: all white."}}
def jacobian(A):
    return np.diag(A) - np.outer(A, A)


S8 = rng.standard_normal(8)
maps = {tau: softmax_forward(S8 / tau)[0] for tau in (5.0, 0.7, 0.05)}
m = max(abs(jacobian(a)).max() for a in maps.values())
fig, axes = plt.subplots(1, 3, figsize=(9, 3.2))
for ax, (tau, a) in zip(axes, maps.items(), strict=True):
    drawn = ax.imshow(jacobian(a), cmap="RdBu_r", vmin=-m, vmax=m)
    ax.set(title=rf"$\tau = {tau:g}$: largest weight {a.max():.2f}", xlabel="score j")
    ax.set(xticks=range(0, 8, 2), yticks=range(0, 8, 2))
    ax.grid(False)
axes[0].set_ylabel("weight i")
fig.colorbar(drawn, ax=axes, label=r"$\partial A_i / \partial S_j$", shrink=0.85)
fig.suptitle("A hot softmax reacts a little everywhere, a warm one at its best keys, a cold one nowhere")
plt.show()
assert abs(jacobian(maps[0.05])).max() < 0.02 < abs(jacobian(maps[5.0])).max()

# %% [markdown]
# Red on the diagonal: a score raises its own weight. Blue beside it: it lowers the others. Each row
# and each column sums to 0. On the right the softmax is sure of itself, and hardly any gradient
# passes through it. A cold head passes little to its queries and keys.

# %% [markdown]
# ## 5. The backward pass, without the Jacobian
#
# A backward pass is handed `dA`, the derivative of the loss with respect to every weight, and must
# return `dS`. The chain rule sums over all weights which a score has moved. Put $J$ in, and it
# folds up:
#
# $$dS_j = \sum_i dA_i\, A_i (\delta_{ij} - A_j) = dA_j A_j - A_j \sum_i dA_i A_i$$
#
# With $\circ$ for the product element by element, this is the library's line,
# `[eq:softmax-backward, derived]`:
#
# $$dS = A \circ \big(dA - \mathrm{rowsum}(dA \circ A)\big)$$
#
# In words: the row sum is the mean of `dA` under the weights. Each score is told how much better or
# worse its key is *than the average*, times how much weight the key has.
#
# On paper, for $A = (1, 2, 5)/8$ and $dA = (8, 0, 0)$: the mean is 1, $dA - 1 = (7, -1, -1)$, and
# $dS = (7, -2, -5)/8$.

# %%
dA = np.array([8.0, 0.0, 0.0])
mean = (dA * A).sum()
dS = A * (dA - mean)
print("mean under A ", mean)
print("dS           ", dS, " = ", 8 * dS, "/ 8")
assert abs(8 * dS - [7, -2, -5]).max() < 1e-14
assert abs(dS - J.T @ dA).max() < 1e-15  # the same as with the matrix
assert abs(dS - softmax_backward(dA, cache)).max() < 1e-15  # and as the library

# %% tags=["blank"]
# Your turn, on paper: dA = (0, 0, 8). What is dS?
dS_last = ...  # a list of three
blank(dS_last, softmax_backward(np.array([0.0, 0.0, 8.0]), cache), "First the mean of dA under A.")

# %% [markdown]
# > **Stop and think.** The three numbers 7, -2 and -5 have sum 0. Is that a coincidence?
# >
# > <details><summary>Answer</summary>
# > No. The sum of dS is the derivative of the loss when all scores rise alike, and nothing changes
# > then. Every row of dS sums to 0, whatever dA is: it is the null space of section 4, seen from
# > the other side. It is also a cheap test.
# > </details>
#
# The same for many rows at once. One softmax per query needs one Jacobian per query; the formula
# needs none. We count the memory of both ways, on paper and with Python's own meter.

# %%
T = 128  # queries and keys
A_big, cache_big = softmax_forward(rng.standard_normal((T, T)))
dA_big = rng.standard_normal((T, T))


def through_jacobians(dA, A):
    """One (S, S) matrix per query, then a product of vector and matrix for each."""
    jacobians = A[:, :, None] * (np.eye(T) - A[:, None, :])  # (T, S, S)
    return np.einsum("ti,tij->tj", dA, jacobians)


def peak_memory(f, *args):
    tracemalloc.start()
    result = f(*args)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return result, peak


# %%
slow, peak_slow = peak_memory(through_jacobians, dA_big, A_big)
fast, peak_fast = peak_memory(softmax_backward, dA_big, cache_big)
print(f"one attention map:             {A_big.nbytes / 2**20:8.3f} MiB")
print(f"peak through the Jacobians:    {peak_slow / 2**20:8.3f} MiB")
print(f"peak of softmax_backward:      {peak_fast / 2**20:8.3f} MiB")
numbers = 32 * 8 * 512 * 512
gib = 4 * numbers / 2**30  # float32
print(f"batch 32, 8 heads, 512 tokens: {gib:8.3f} GiB of maps, {512 * gib:.0f} GiB of Jacobians")
assert abs(slow - fast).max() < 1e-15
assert abs(fast.sum(axis=-1)).max() < 1e-15  # every row sums to 0
assert peak_slow > T * A_big.nbytes and peak_fast < 4 * A_big.nbytes

# %% [markdown]
# The Jacobians are larger than the map by the number of keys. This is the rule for every backward
# pass in the project: derive with the Jacobian, compute the product of vector and Jacobian. Here is
# the function of the library. It needs `A` from the forward and nothing else, so `A` is all its
# cache holds. The comments quote the forward lines that it undoes.

# %%
print(inspect.getsource(softmax_backward))
assert cache_big._fields == ("A",)

# %% [markdown]
# ## 6. Why an upstream of ones proves nothing
#
# To test a backward pass one needs a loss, a single number. The first that comes to mind is the sum
# of the outputs, whose upstream gradient is $dA = \mathbf 1$. For a softmax that is the worst
# choice there is: every row sums to 1, so this "loss" is the number of rows, whatever the scores
# are. Its gradient is 0:
#
# $$dS = A \circ \big(\mathbf 1 - \mathrm{rowsum}(A)\big) = A \circ (1 - 1) = 0$$

# %%
ones = np.ones_like(scores)
_, cache = softmax_forward(scores)
by_formula = softmax_backward(ones, cache)
by_number = central_difference(lambda s: softmax_forward(s)[0].sum(), scores)
print("largest |dS|, by the formula  ", abs(by_formula).max())
print("largest |dS|, by differences  ", abs(by_number).max())
assert abs(by_formula).max() < 1e-15 and abs(by_number).max() < 1e-9

# %% [markdown]
# Exactly 0 in mathematics, and rounding dust in the computer. A check that compares 0 with 0
# passes, for the right formula and for wrong ones. Here are five wrong backward passes; each is a
# mistake that people make.
#
# We give each the usual test: the largest deviation from a central difference must be below
# $10^{-7}$. Once with an upstream of ones, once with a random one.


# %%
def wrong_sign(dA, cache):
    return -cache.A * (dA - (dA * cache.A).sum(axis=-1, keepdims=True))


def half(dA, cache):
    return 0.5 * cache.A * (dA - (dA * cache.A).sum(axis=-1, keepdims=True))


def plain_mean(dA, cache):  # the mean of dA, not the mean under A
    return cache.A * (dA - dA.mean(axis=-1, keepdims=True))


def forgotten(dA, cache):
    return np.zeros_like(dA)


def diagonal_only(dA, cache):  # the derivative of a sigmoid
    return cache.A * (1 - cache.A) * dA


# %%
candidates = (softmax_backward, wrong_sign, half, plain_mean, forgotten, diagonal_only)
upstreams = {"ones": ones, "random": rng.standard_normal(scores.shape)}
deviation = {}
for kind, upstream in upstreams.items():
    reference = central_difference(lambda s, u=upstream: (u * softmax_forward(s)[0]).sum(), scores)
    for f in candidates:
        deviation[f.__name__, kind] = abs(f(upstream, cache) - reference).max()
for f in candidates:
    passed = {kind: "passes" if deviation[f.__name__, kind] < 1e-7 else "fails " for kind in upstreams}
    print(f"{f.__name__:16s}   ones: {passed['ones']}   random: {passed['random']}")
assert [f.__name__ for f in candidates if deviation[f.__name__, "random"] < 1e-7] == ["softmax_backward"]
assert sum(deviation[f.__name__, "ones"] < 1e-7 for f in candidates[1:]) == 4

# %% tags=["blank"]
# Your turn: an upstream that is drawn at random for every row, but is the same for all keys of a row.
# How many of the five wrong functions pass?
go_unseen = ...
per_row = np.ones_like(scores) * [[0.3], [-1.2], [0.8], [2.1]]
unseen = [abs(mistaken(per_row, cache)).max() < 1e-7 for mistaken in candidates[1:]]  # the right dS is 0
blank(go_unseen, sum(unseen), "How does a constant along the row differ from ones?")

# %% mystnb={"image": {"alt": "Deviations of six functions from the central difference, and a dashed line at 1e-7. With a random upstream only softmax_backward lies on the side that passes; with an upstream of ones wrong_sign, half, plain_mean and forgotten lie there too."}}
fig, ax = plt.subplots(figsize=(7, 3.2))
rows = np.arange(len(candidates))[::-1]
for kind, color, marker in (("ones", ORANGE, "s"), ("random", BLUE, "o")):
    values = [deviation[f.__name__, kind] for f in candidates]
    ax.plot(values, rows, marker, color=color, markersize=8, label=f"upstream: {kind}")
ax.axvline(1e-7, color="0.4", lw=1.2, ls="--")
ax.text(2e-7, 5.35, "fails", color="0.3")
ax.text(5e-8, 5.35, "passes", color="0.3", ha="right")
ax.set(xscale="log", xlim=(1e-14, 10), ylim=(-0.5, 5.8))
ax.set(yticks=rows, yticklabels=[f.__name__ for f in candidates])
ax.set_xlabel("largest deviation from the central difference")
ax.set_title("With an upstream of ones, four of five wrong backward passes go unseen")
ax.legend(loc="center left", bbox_to_anchor=(0.49, 0.5))
plt.show()

# %% [markdown]
# The orange squares on the left of the line, but for the first, are mistakes that went unseen. Random
# upstreams (blue) separate the one right function from the five wrong ones. So `check_pair` draws its upstream at
# random, and refuses a comparison in which the reference is all but zero: its relative error is
# then infinite. With a wrong function it also says what is wrong.

# %%
assert relative_error(by_formula, np.zeros_like(scores)) == math.inf  # 0 against 0 checks nothing
check_pair(softmax_forward, softmax_backward, (scores,))
for f in candidates[1:]:
    (result,) = compare_pair(softmax_forward, f, (scores,))
    print(f"{f.__name__:14s}", result.message)
    assert not result.ok

# %% [markdown]
# ## 7. Cross-entropy
#
# A classifier ends in a softmax as well: $P = \mathrm{softmax}(z)$ over the classes. The loss is
# the surprise at the right class $t$, in nats: $L = -\ln P_t$. Put the softmax in, and the
# logarithm meets the exponential, `[eq:cross-entropy, standard]`:
#
# $$L = \ln \sum_j e^{z_j} - z_t = m + \ln \sum_j e^{z_j - m} - z_t, \qquad m = \max_j z_j$$
#
# The first term is called log-sum-exp, a soft maximum of the logits. The second form cannot
# overflow.

# %%
z = np.array([[2.0, 1.0, 0.0, -1.0, 0.5], [0.0, 3.0, 0.0, 0.0, 1.0]])
targets = np.array([0, 4])
N = len(targets)
m = z.max(axis=-1)
log_sum_exp = m + np.log(np.exp(z - m[:, None]).sum(axis=-1))
losses = log_sum_exp - z[np.arange(N), targets]
loss, cache_loss = cross_entropy_forward(z, targets)
print("losses", losses, " mean", loss)
assert abs(losses.mean() - loss) < 1e-15
assert abs(losses + np.log(softmax_forward(z)[0][np.arange(N), targets])).max() < 1e-15

# %% [markdown]
# Its gradient is the neatest of all. The derivative of log-sum-exp is
# $e^{z_j} / \sum_k e^{z_k} = P_j$, and that of $-z_t$ is $-1$ at the target:
#
# $$dz_j = P_j - \delta_{jt}, \qquad
# \text{for the mean of } N \text{ rows:} \quad dz = (P - \mathrm{onehot}) / N$$
#
# It says: take away what you gave to the wrong classes, add what the right one lacks.

# %%
P, _ = softmax_forward(z)
one_hot = np.eye(5)[targets]
dz = (P - one_hot) / N
assert abs(dz - cross_entropy_backward(cache_loss)).max() < np.finfo(float).eps  # the sums are rounded apart
assert abs(dz - complex_step(lambda x: cross_entropy_forward(x, targets)[0], z)).max() < 1e-15
assert abs(dz.sum(axis=-1)).max() < 1e-15  # every row sums to 0

# the long way round: through dP = -1/P_t, then through the softmax
dP = -one_hot / P / N
assert abs(softmax_backward(dP, softmax_forward(z)[1]) - dz).max() < 1e-15

# %% tags=["blank"]
# Your turn: one row, ten classes, all logits 0. The gradient at the right class?
at_the_right_class = ...
undecided = cross_entropy_forward(np.zeros((1, 10)), np.array([3]))[1]
blank(at_the_right_class, cross_entropy_backward(undecided)[0, 3], "P is 1/10 everywhere.")

# %% [markdown]
# Both ways agree here. But the long way divides by $P_t$, which may underflow to 0: then the loss
# is infinite, and the gradient is nan. **The usual mistake** is to write softmax and logarithm as
# two steps. The joint form does not mind: below, the right class has a logit 800 below the other.

# %%
far, right_class = np.array([[0.0, -800.0]]), np.array([1])
P_far, cache_far = softmax_forward(far)
with np.errstate(divide="ignore", invalid="ignore"):
    two_steps = softmax_backward(-np.eye(2)[1:] / P_far, cache_far)
    print("two steps:  loss", -np.log(P_far[0, 1]), " gradient", two_steps[0])
    assert np.isnan(two_steps).all()
loss_far, cache_far = cross_entropy_forward(far, right_class)
print("one step:   loss", loss_far, "gradient", cross_entropy_backward(cache_far)[0])
assert P_far[0, 1] == 0 and abs(loss_far - 800) < 1e-12
assert abs(cross_entropy_backward(cache_far) - [[1, -1]]).max() < 1e-15

# %% mystnb={"image": {"alt": "Gradients of five logits as bars. Sure and right: all are near 0. Undecided: -0.8 at the right class, 0.2 at the others. Sure and wrong: nearly -1 at the right class, nearly 1 at the wrong one."}}
cases = {
    "sure and right": [4.0, 0, 0, 0, 0],
    "undecided": [0.0, 0, 0, 0, 0],
    "sure and wrong": [0.0, 0, 4, 0, 0],
}
fig, axes = plt.subplots(1, 3, figsize=(9, 2.9), sharey=True)
for ax, (title, logits) in zip(axes, cases.items(), strict=True):
    logits = np.array([logits])
    L, cache_case = cross_entropy_forward(logits, np.array([0]))
    gradient = cross_entropy_backward(cache_case)[0]
    ax.bar(range(5), gradient, color=[ORANGE if g > 0 else BLUE for g in gradient])
    ax.axhline(0, color="0.3", lw=1)
    ax.set(title=f"{title}: loss {L:.2f} nats", xlabel="class (0 is right)", ylim=(-1.05, 1.05))
    assert abs(gradient.sum()) < 1e-15 and abs(gradient).max() < 1
axes[0].set_ylabel(r"$dz = P - \mathrm{onehot}$")
fig.suptitle("The gradient never exceeds 1, however large the loss, and fades only where the model is right")
plt.show()

# %% [markdown]
# Gradient descent subtracts these bars: logits with orange bars fall, those with blue bars rise. A
# sure softmax *inside* a model passes hardly any gradient (section 4). A sure softmax with
# cross-entropy behind it still learns when it is wrong, since the $1/P_t$ of the logarithm makes up
# for the small Jacobian.
#
# One thing ties both together: $P$ is the gradient of log-sum-exp, so
# $J = \mathrm{diag}(P) - P P^T$ is its second derivative. That is *why* $J$ is symmetric and
# positive semi-definite: log-sum-exp is convex.

# %% [markdown]
# ## 8. Three numeric derivatives
#
# We have called `central_difference` and `complex_step` as referees. Can referees err? We need a
# function whose derivatives we know. Let only the first score vary and hold the others at $\ln 2$
# and $\ln 5$: $p(s) = e^s / (e^s + 7)$. From section 4, $p' = p(1-p)$. Differentiate that twice
# more by the chain rule:
#
# $$p' = p - p^2, \qquad p'' = (1 - 2p)\,p', \qquad p''' = (1 - 6p + 6p^2)\,p'$$
#
# On paper at $s = 0$: $p = 1/8$, $p' = 7/64$, $p'' = 21/256$, $p''' = 77/2048$.


# %%
def p(s):
    """The first weight, as a function of the first score; s may be complex."""
    return softmax_forward(np.array([s, np.log(2.0), np.log(5.0)]))[0][0]


def p1(s):
    return p(s) - p(s) ** 2


def p2(s):
    return (1 - 2 * p(s)) * p1(s)


def p3(s):
    return (1 - 6 * p(s) + 6 * p(s) ** 2) * p1(s)


assert abs(np.array([p(0.0), p1(0.0), p2(0.0), p3(0.0)]) - [1 / 8, 7 / 64, 21 / 256, 77 / 2048]).max() < 1e-16
for f, derivative in ((p, p1), (p1, p2), (p2, p3)):  # each is the derivative of the one before
    slope = (f(0.3 + 1e-5) - f(0.3 - 1e-5)) / 2e-5
    assert abs(slope - derivative(0.3)) < 1e-10

# %% [markdown]
# ### What the formulas leave out
#
# Taylor's series says what a step $h$ costs. **Forward difference**: from
# $f(x+h) = f + h f' + \frac{h^2}{2} f'' + \dots$
#
# $$\frac{f(x+h) - f(x)}{h} = f' + \frac h2 f'' + \dots$$
#
# **Central difference**, `[eq:central-difference, standard]`: for $-h$ the even terms are the same,
# so they cancel in the difference:
#
# $$\frac{f(x+h) - f(x-h)}{2h} = f' + \frac{h^2}{6} f''' + \dots$$
#
# **Complex step**, `[eq:complex-step, standard]`: walk in the imaginary direction. With $i^2 = -1$
# and $i^3 = -i$, $f(x + ih) = f + ih f' - \frac{h^2}{2} f'' - i\,\frac{h^3}{6} f''' + \dots$ The
# imaginary part holds the odd terms alone:
#
# $$\frac{\mathrm{Im}\, f(x + ih)}{h} = f' - \frac{h^2}{6} f''' + \dots$$
#
# The same order as the central difference, with the opposite sign, and one evaluation. We measure
# the three coefficients with steps so large that rounding plays no part.


# %%
def forward_slope(f, x, h):
    return (f(x + h) - f(x)) / h


def central_slope(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


def complex_slope(f, x, h):
    return f(x + 1j * h).imag / h


h = 1e-3
measured = [slope(p, 0.0, h) - p1(0.0) for slope in (forward_slope, central_slope, complex_slope)]
predicted = [h / 2 * p2(0.0), h**2 / 6 * p3(0.0), -(h**2) / 6 * p3(0.0)]
for name, a, b in zip(("forward", "central", "complex"), measured, predicted, strict=True):
    print(f"{name}: error {a:+.6e}, Taylor says {b:+.6e}")
    assert abs(a / b - 1) < 1e-3

# %% tags=["blank"]
# Your turn, on paper: f(s) = s^3. What is the error of the complex step at s = 1 with h = 0.1, with its sign?
complex_error = ...
blank(complex_error, complex_slope(lambda s: s**3, 1.0, 0.1) - 3, "f''' = 6. Which sign has its term?")

# %% [markdown]
# ### What rounding adds
#
# So smaller steps are better? A computer stores $f$ with a relative error of about
# $\varepsilon = 2.2 \cdot 10^{-16}$. Two nearly equal values are subtracted, their leading digits
# cancel, the rounding errors stay, and are divided by $h$:
#
# - forward: $\frac h2 |f''| + \frac{\varepsilon |f|}{h}$
# - central: $\frac{h^2}{6} |f'''| + \frac{\varepsilon |f|}{h}$
# - complex: nothing is subtracted, nothing is divided that has lost digits: $\frac{h^2}{6} |f'''|$
#   and no second term
#
# The first two errors make a U over $h$; the third has no left arm. Set the derivative with respect
# to $h$ to 0 to find the bottom:
#
# $$h_{\mathrm{forward}} = \Big(\frac{2\,|f|}{|f''|}\,\varepsilon\Big)^{1/2}, \qquad
# h_{\mathrm{central}} = \Big(\frac{3\,|f|}{|f'''|}\,\varepsilon\Big)^{1/3}$$
#
# The rules $\varepsilon^{1/2}$ and $\varepsilon^{1/3}$ are these without the factor in front, which
# depends on $f$. We measure: the root of the mean squared error over 40 points $s$ in $[-1, 1]$,
# against the exact $p(1-p)$.

# %%
points = np.linspace(-1, 1, 40)
exact = np.array([p1(s) for s in points])
steps = np.logspace(-20, -0.5, 79)  # four steps per power of ten
methods = {"forward": forward_slope, "central": central_slope, "complex": complex_slope}
error = {}
for name, slope in methods.items():
    slopes = np.array([[slope(p, s, h) for s in points] for h in steps])  # (steps, points)
    error[name] = np.sqrt(((slopes - exact) ** 2).mean(axis=1))
eps, size = np.finfo(float).eps, np.sqrt(np.mean(exact**2))
best = {name: steps[error[name].argmin()] for name in ("forward", "central")}
rule = {"forward": eps ** (1 / 2), "central": eps ** (1 / 3)}
full = {
    "forward": (2 * eps * p(0.0) / p2(0.0)) ** (1 / 2),
    "central": (3 * eps * p(0.0) / p3(0.0)) ** (1 / 3),
}
for name in rule:
    digits = -np.log10(error[name].min() / size)
    print(f"{name}: best h {best[name]:.1e}, rule {rule[name]:.1e}, with its factor {full[name]:.1e}")
    print(f"         {digits:.1f} digits at best")
    assert digits > {"forward": 7, "central": 10}[name]
    assert 1 / 2 < best[name] / rule[name] < 2 and 1 / 2 < best[name] / full[name] < 2
small = error["complex"][steps < 1e-9].max()
print(f"complex: {-np.log10(small / size):.1f} digits or more at every h below 1e-9")
assert small / size < 3e-16

# %% mystnb={"image": {"alt": "Error over the step h, both logarithmic. From right to left the forward and the central difference fall to a lowest point, near 1e-8 and 1e-5, and rise again. The complex step falls and then stays flat, near 1e-17."}}
fig, ax = plt.subplots(figsize=(8, 4.2))
ax.plot(steps, error["forward"], "s--", color=ORANGE, label="forward difference", markevery=2)
ax.plot(steps, error["central"], "o-", color=BLUE, label="central difference", markevery=2)
ax.plot(steps, error["complex"], "^-", color=GREEN, label="complex step", markevery=2)
for name, color in (("forward", ORANGE), ("central", BLUE)):
    ax.axvline(rule[name], color=color, lw=1, ls=":")
ax.text(0.7 * rule["forward"], 0.2, r"$\varepsilon^{1/2}$", color=ORANGE, ha="right", fontsize=12)
ax.text(1.4 * rule["central"], 0.2, r"$\varepsilon^{1/3}$", color=BLUE, fontsize=12)
ax.axhline(eps, color="0.6", lw=1)
ax.text(1.3e-20, 1.5 * eps, r"$\varepsilon$", color="0.4", fontsize=11)
ax.set(xscale="log", yscale="log", ylim=(1e-18, 3))
ax.set(xlabel="step h (units of the score)", ylabel="error of the derivative")
ax.set_title("Differences lose digits on both sides of a best step, the complex step only on one")
ax.legend(loc="center left", bbox_to_anchor=(0.02, 0.42))
plt.show()

# %% [markdown]
# Right arms: truncation, with slope 1 (forward) and 2 (central and complex, which lie on each
# other). Left arms: rounding, with slope $-1$ up to the point where $x + h$ is $x$ itself and the
# difference is 0. Both minima lie within a factor of 2 of the dotted rules. The factor in front
# brings the central rule nearer and the forward rule a little further off: the rounding term is
# only an estimate, and our steps are a factor of 1.8 apart. The complex step keeps all digits at
# any small $h$. The slopes, and two extremes:


# %%
def arm(name, low, high):
    """The slope of an arm of the curve, on logarithmic axes."""
    inside = (steps > low) & (steps < high)
    return np.polyfit(np.log(steps[inside]), np.log(error[name][inside]), 1)[0]


right = {name: arm(name, 1e-4, 1e-2) for name in methods}
left = {"forward": arm("forward", 1e-14, 1e-9), "central": arm("central", 1e-14, 1e-7)}
print("right arms:", {name: round(float(slope), 2) for name, slope in right.items()})
print("left arms: ", {name: round(float(slope), 2) for name, slope in left.items()})
assert max(abs(right["forward"] - 1), abs(right["central"] - 2), abs(right["complex"] - 2)) < 0.02
assert max(abs(left["forward"] + 1), abs(left["central"] + 1)) < 0.15
assert max(abs(complex_slope(p, s, 1e-200) - p1(s)) for s in points) < 1e-16  # h = 1e-200 is as good
assert forward_slope(p, 0.5, 1e-20) == 0  # here x + h is x

# %% [markdown]
# This is why the verdict of `check_pair` is that of the complex step, with `h = 1e-30` and a
# tolerance of $10^{-12}$. Central differences are left for code that is not analytic (below). What
# they allow must be wide enough for their own error, which depends on the function, its scale and
# the processor; $10^{-7}$ is usual. The gap between the two is not luxury: a mistake can be
# smaller. Below, a backward that is wrong by a factor of $1 + 10^{-8}$.

# %%
def slightly_wrong(dA, cache):
    return (1 + 1e-8) * softmax_backward(dA, cache)


upstream = upstreams["random"]
_, cache = softmax_forward(scores)
referees = {"central": (central_difference, 1e-7), "complex": (complex_step, 1e-12)}
for name, (differentiate, tolerance) in referees.items():
    reference = differentiate(lambda s: (upstream * softmax_forward(s)[0]).sum(), scores)
    for f in (softmax_backward, slightly_wrong):
        off = relative_error(f(upstream, cache), reference)
        verdict = "passes" if off < tolerance else "fails"
        print(f"{f.__name__:16s} {name}: error {off:.0e}, {verdict} at {tolerance:.0e}")
        assert (off < tolerance) == (f is softmax_backward or name == "central")
(result,) = compare_pair(softmax_forward, slightly_wrong, (scores,))
assert not result.ok

# %% [markdown]
# ### What the complex step asks of the code
#
# Taylor's series holds in the imaginary direction if the code is **analytic**: sums, products, exp,
# and what is made of them. `abs` is not. It returns the length of a complex number, which has no
# imaginary part, so the derivative vanishes *in silence*. The same goes for `conj`, and for all
# that hides one: `np.vdot`, `np.linalg.norm`. And where the code decides, as in a maximum, it must
# compare the real parts: the decision belongs to the point $x$, not to the step.

# %%
x = np.array([1.5, -0.5, 2.0])
slopes = {
    "abs(x)": lambda x: abs(x).sum(),
    "norm(x)^2": lambda x: np.linalg.norm(x) ** 2,
    "vdot(x, x)": lambda x: np.vdot(x, x),
    "where(x.real < 0, -x, x)": lambda x: np.where(x.real < 0, -x, x).sum(),
    "(x * x).sum()": lambda x: (x * x).sum(),
}
for name, f in slopes.items():
    print(f"{name:25s} central {np.round(central_difference(f, x), 6)}   complex step {complex_step(f, x)}")
assert not complex_step(slopes["abs(x)"], x).any()  # wrong
assert abs(complex_step(slopes["where(x.real < 0, -x, x)"], x) - [1, -1, 1]).max() == 0  # mended
assert not complex_step(slopes["vdot(x, x)"], x).any()  # wrong
assert abs(complex_step(slopes["(x * x).sum()"], x) - 2 * x).max() < 1e-15  # mended
(line,) = [line for line in inspect.getsource(softmax_forward).splitlines() if ".max(" in line]
print("\nthe maximum in softmax_forward:", line.strip())
assert "scores.real.max" in line

# %% [markdown]
# The last line is from the library's softmax: that is the reason for its `.real`.
#
# > **Stop and think.** The maximum that is subtracted depends on the scores. With `.real`, the
# > complex step treats it as a constant. Does the derivative come out wrong?
# >
# > <details><summary>Answer</summary>
# > No. Softmax does not change when a number is subtracted from all scores, so the derivative with
# > respect to that number is 0, and nothing is lost. The backward pass uses the same fact: it has
# > no term for the maximum.
# > </details>

# %% [markdown]
# ## 9. What a gradient check cannot see
#
# A gradient check compares a backward with *its* forward. If the forward is wrong and the backward
# is its faithful derivative, everything agrees. Here is a softmax that uses powers of 2 instead of
# e. Since $2^S = e^{S \ln 2}$, its backward has one factor $\ln 2$ more:
#
# $$B_i = \frac{2^{S_i}}{\sum_k 2^{S_k}}, \qquad
# dS = \ln 2 \cdot B \circ \big(dB - \mathrm{rowsum}(dB \circ B)\big)$$


# %%
def power_softmax_forward(scores):
    B, cache = softmax_forward(math.log(2) * scores)
    return B, cache


def power_softmax_backward(dB, cache):
    return math.log(2) * softmax_backward(dB, cache)


(result,) = check_pair(power_softmax_forward, power_softmax_backward, (scores,))
B, _ = power_softmax_forward(scores)
print(f"gradient check: error {result.error:.1e}, passes")
print(f"against the loops of section 1: largest difference {abs(B - softmax_by_loops(scores)).max():.2f}")
assert result.error < 1e-14
assert abs(B - 2.0**scores / (2.0**scores).sum(axis=-1, keepdims=True)).max() < 1e-15
assert abs(B - softmax_by_loops(scores)).max() > 0.01  # the oracle sees it

# %% tags=["blank"]
# Your turn: power_softmax_forward with the plain softmax_backward, without the factor ln 2. The verdict?
it_says = ...  # "passes" or "fails"
(without,) = compare_pair(power_softmax_forward, softmax_backward, (scores,))
blank(it_says, "passes" if without.ok else "fails", "A backward is compared with the forward beside it.")

# %% [markdown]
# The check is content, and the function is not a softmax. The same happens with $1/d$ in place of
# $1/\sqrt d$. Only a second statement of the *forward* can tell: loops written from the formula, or
# golden values from elsewhere. The library's tests have both; `docs/trust.md` lists such bugs,
# planted and found.
#
# A check is blind in one more way: it sees only the inputs it is given. If no row is masked, a bug
# in masked rows stays. So every pair that takes a mask is checked under several, as here with one
# row that may look nowhere.

# %%
masks = {
    "none": None,
    "causal": np.tri(4, 6, dtype=bool),
    "random": rng.random((4, 6)) < 0.6,
    "one row without a key": np.ones((4, 6), bool) & (np.arange(4) != 2)[:, None],
}
for name, mask in masks.items():
    args = (scores,) if mask is None else (scores, mask)
    (result,) = check_pair(softmax_forward, softmax_backward, args)
    print(f"{name:24s} error {result.error:.1e}")
    assert result.error < 1e-13

# %% [markdown]
# ## What you now know
#
# 1. A softmax knows differences of scores only. Hence the subtracted maximum, the null space of its
#    Jacobian, rows of `dS` that sum to 0, and the blindness of an upstream of ones: four faces of
#    one fact.
# 2. Its backward is one line, $A \circ (dA - \mathrm{rowsum}(dA \circ A))$, and cross-entropy's is
#    $P - \mathrm{onehot}$. No Jacobian is ever built.
# 3. A central difference gave some 11 digits at its best step, a complex step all of them at any
#    small one. Neither sees a wrong forward.
#
# **Three things to try**
#
# - Let `p` compute in `np.float32` and draw the U-curve again. Where do the minima move, and how
#   many digits are left?
# - Show that no eigenvalue of $J$ exceeds 1/2: how large can the variance of a vector of length 1
#   be? Which weights reach 1/2? Test it on random scores.
# - LayerNorm with gain 1 is blind to an upstream of ones, too. What is the sum of its outputs?
#   Plant a mistake in a copy of `layernorm_backward` of `dgsa_np.ops` and watch it pass.
#
# Next: [04 Attention backward](04_attention_backward.ipynb), where `dS` goes on to the queries and
# the keys.
