# %% [markdown]
# # Start here: gated differential attention from an empty page
#
# A text or an image is cut into *tokens*: words, or patches. An attention head asks, for each
# token, which other tokens matter. *Differential gated self-attention* (M-DGSA) asks twice: one map
# says where to look, a second one what to take away, and a gate says how much of each is used. This
# notebook builds it from nothing: the head, its gradients, a tiny transformer around it, the
# optimiser. At the end stands a program of less than 200 lines, in NumPy alone, that reads
# handwritten digits: [`dgsa_in_one_file.py`](dgsa_in_one_file.py), line for line.
#
# **You will do**: derive each piece, work it out on three tokens, write it, and assert it three
# ways: against numbers made by hand or by loops, against a numeric derivative, against the library.
#
# **You will learn** what softmax passes back, why two maps, what the gate does, why a backward pass
# is the forward read upwards, and what stands around a head.
#
# **You need** NumPy, matrix products, partial derivatives, the chain rule. No machine learning.
#
# **Time**: 45 minutes, 2 of them for this page; the cells run for about 15 seconds.
#
# **How we know the formulas.** The paper is *Differential Gated Self-Attention* by E. M. Lygizou,
# M. Farsang and R. Grosu, arXiv:2505.24054. Its body was not available to us, and there was no
# public code: we had the abstract, reviews that state no formula, and two reports that a language
# model wrote. So each equation below has a label, to be found in
# [equations.md](../docs/equations.md), and a status. *Standard* is textbook; *published* stands in
# another paper; *machine review* stands in those reports alone, made from a damaged text of the
# paper: likely, unconfirmed; *reading* is inferred, *choice* is ours, *derived* is our own algebra.
# What the paper would settle is listed in [paper_questions.md](../docs/paper_questions.md).

# %%
try:
    import dgsa_np  # noqa: F401
except ModuleNotFoundError:  # as on Colab: install it, from where this notebook comes
    source = "..[notebooks]"  # this checkout; make address puts the repository here
    get_ipython().run_line_magic("pip", f'install --quiet "{source}"')  # noqa: F821

# %%
import importlib.util
import math
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy
import numpy as np
from threadpoolctl import threadpool_limits

from dgsa_np import attention, ops, optim
from dgsa_np import model as library_model
from dgsa_np.gradcheck import check_pair, complex_step
from dgsa_np.losses import cross_entropy_forward

plt.style.use("dgsa_np.lab.viz")
threadpool_limits(1)  # our matrices are small: one thread of BLAS is faster than several
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1. Softmax and its gradient (5 minutes)
#
# A token has a *score* $S_j$ for every token $j$, any real number. We want *weights* $A_j$ that are
# positive and sum to 1. Softmax makes them, `[eq:softmax, standard]`:
#
# $$A_j = \frac{e^{S_j}}{\sum_k e^{S_k}}$$
#
# By hand, with three tokens: the scores $\ln 1, \ln 2, \ln 5$ become the weights $1/8, 2/8, 5/8$.
# The quotient does not change when a constant is taken off all scores. We take off the largest, so
# that no exponential overflows.
#
# **Backward.** Some loss $L$ is computed from $A$. Write $dA_j$ for $\partial L / \partial A_j$,
# and likewise with every other letter: `dx` has the shape of `x`. We are handed $dA$ and want $dS$.
# Each weight depends on each score: on its own through the numerator, on all through the sum. The
# quotient rule gives $\partial A_i / \partial S_j = A_i (\delta_{ij} - A_j)$, where $\delta_{ij}$
# is 1 if $i = j$, and 0 otherwise. The chain rule sums over all ways from $S_j$ to the loss,
# `[eq:softmax-backward, derived]`:
#
# $$dS_j = \sum_i dA_i\, A_i\, (\delta_{ij} - A_j) = A_j \Big(dA_j - \sum_i dA_i\, A_i\Big)$$
#
# In words: since the weights sum to 1, more for one key is less for the others. What counts is how
# far $dA_j$ lies above the mean of all $dA_i$, weighted by $A$. With $dA = (8, 0, 0)$ that mean is
# 1, and $dS = (7/8, -2/8, -5/8)$: it sums to 0, as it must.

# %%
def softmax_forward(S):
    E = np.exp(S - S.real.max(axis=-1, keepdims=True))  # .real: complex numbers have no maximum
    return E / E.sum(axis=-1, keepdims=True)


def softmax_backward(dA, A):
    return A * (dA - (dA * A).sum(axis=-1, keepdims=True))


S, dA = np.log([1.0, 2.0, 5.0]), np.array([8.0, 0.0, 0.0])
A = softmax_forward(S)
dS = softmax_backward(dA, A)
print("A ", A, "\ndS", dS)
assert abs(A - np.array([1, 2, 5]) / 8).max() < 1e-14  # by hand
assert abs(dS - np.array([7, -2, -5]) / 8).max() < 1e-14

by_loops = np.zeros(3)
for i in range(3):
    for j in range(3):
        by_loops[j] += dA[i] * A[i] * ((i == j) - A[j])
assert abs(dS - by_loops).max() < 1e-14

# %% [markdown]
# **How to check a derivative without trusting the algebra?** Move one score by an imaginary bit,
# $S_j + ih$ with $h = 10^{-30}$. Taylor's series gives `[eq:complex-step, standard]`
#
# $$L(S + i h e_j) = L(S) + i h\, \frac{\partial L}{\partial S_j} - \dots \quad\Longrightarrow\quad
# \frac{\partial L}{\partial S_j} = \frac{\text{Im}\, L(S + i h e_j)}{h}$$
#
# with $e_j$ the direction of $S_j$. Nothing is subtracted, so no digit is lost: this *complex step*
# is exact to rounding. It asks only that the code lets complex numbers through, hence the `.real`
# above. We use it on every piece from here on. The loss will be $L = \sum dA_j A_j$ with a random
# $dA$; by construction its derivative with respect to $A$ is $dA$.

# %%
S, dA = rng.standard_normal((2, 4, 5))  # four rows of five scores
dS = softmax_backward(dA, softmax_forward(S))
assert abs(dS - complex_step(lambda S: (dA * softmax_forward(S)).sum(), S)).max() < 1e-12
A_library, cache = ops.softmax_forward(S)
assert abs(softmax_forward(S) - A_library).max() < 1e-12
assert abs(dS - ops.softmax_backward(dA, cache)).max() < 1e-12

# %% [markdown]
# ## 2. One head, two maps (3 minutes)
#
# Where do scores come from? Each token makes a *query* $q$, what it looks for, and a *key* $k$,
# what it offers: vectors of $d$ numbers. A score is their inner product,
# `[eq:softmax-map, standard]`:
#
# $$A = \text{softmax}\Big(\frac{q\, k^T}{\sqrt d}\Big)$$
#
# Row $i$ of this *map* says how token $i$ spreads its attention. Each token also has a *value* $v$,
# and the output of the head is $o = A v$: row by row a mean of values, with the weights of the map.
#
# **Why $\sqrt d$?** An inner product of vectors with entries near $N(0, 1)$ is a sum of $d$
# products, each of variance 1. So scores would have the variance $d$, and a wide head would get a
# softmax that puts all weight on one key, whose gradient is next to 0 (put $A = (1, 0, 0)$ into the
# formula of $dS$). Divided by $\sqrt d$, the variance is 1 at any width.
#
# **Why two maps?** A softmax can only add. Every key gets some weight, and what is common to all
# values always comes through. The Differential Transformer (Ye et al., arXiv:2410.05258) therefore
# makes a second map from queries and keys of its own and subtracts it,
# `[eq:differential-head, published]`:
#
# $$A = A^{exc} - \lambda\, A^{inh}$$
#
# We call the first map *excitatory*, the second *inhibitory*. By hand, for one query: from
# $(1, 2, 5)/8$ take $\lambda = 1/3$ of $(1, 6, 1)/8$. That leaves $(2, 0, 14)/24$: key 2, which the
# second map points at, is gone.

# %%
def swap(x):
    return x.swapaxes(-1, -2)


def map_forward(q, k):
    return softmax_forward(q @ swap(k) / q.shape[-1] ** 0.5)  # (B, H, T, T)


def map_backward(dA, A, q, k):
    dS = softmax_backward(dA, A) / q.shape[-1] ** 0.5
    return dS @ k, swap(dS) @ q


# Arrays have four axes: B images, H heads, T tokens, d numbers of each; here (1, 1, 3, 4).
weights_exc = np.array([[1, 2, 5], [4, 2, 2], [2, 5, 1]]) / 8  # three tokens: row 0 is the one above
weights_inh = np.array([[1, 6, 1], [2, 2, 4], [6, 1, 1]]) / 8
k_exc = k_inh = np.eye(3, 4)[None, None]  # (1, 1, 3, 4): with these keys and sqrt(d) = 2 ...
q_exc, q_inh = (2 * np.log(w) @ np.eye(3, 4) for w in (weights_exc, weights_inh))
q_exc, q_inh = q_exc[None, None], q_inh[None, None]  # ... these queries give just these weights
A_exc, A_inh = map_forward(q_exc, k_exc), map_forward(q_inh, k_inh)
assert abs(A_exc - weights_exc).max() < 1e-14 and abs(A_inh - weights_inh).max() < 1e-14
print("row 0 of A_exc - A_inh / 3, times 24:", np.round((A_exc - A_inh / 3)[0, 0, 0] * 24, 12) + 0)  # + 0: no -0
assert abs((A_exc - A_inh / 3)[0, 0, 0] - np.array([2, 0, 14]) / 24).max() < 1e-14

a, b = rng.standard_normal((2, 10000, 64))
wide = (a * b).sum(axis=-1)  # 10,000 inner products, d = 64
print(f"standard deviation of a score: {wide.std():.1f}, divided by sqrt(64): {wide.std() / 8:.2f}")
assert abs(wide.std() / 8 - 1) < 0.05

# %% [markdown]
# ## 3. The gate, and what it is (7 minutes)
#
# In M-DGSA the two maps are mixed by a *gate* $g$ between 0 and 1, one number per query $i$ and
# head, shared by all keys $j$, `[eq:gated-head, machine review]`:
#
# $$A_{ij} = g_i\, A^{exc}_{ij} - (1 - g_i)\, A^{inh}_{ij}, \qquad
# g = \sigma(z) = \frac{1}{1 + e^{-z}}, \qquad o = A\, v$$
#
# Its *logit* $z$ is a linear map of the query's token, `[eq:gate, machine review]`; section 5 makes
# it. Rows of the fused map sum to $g - (1 - g) = 2g - 1$. By hand, with $z = (\ln 3, 0, -\ln 3)$
# for our three tokens, so $g = (3/4, 1/2, 1/4)$:
#
# - row 0: $\frac34 (1, 2, 5)/8 - \frac14 (1, 6, 1)/8 = (2, 0, 14)/32$
# - row 1: $\frac12 (4, 2, 2)/8 - \frac12 (2, 2, 4)/8 = (2, 0, -2)/16$, a pure difference
# - row 2: $\frac14 (2, 5, 1)/8 - \frac34 (6, 1, 1)/8 = (-16, 2, -2)/32$, inhibition prevails
#
# **Why is $1 - g$ computed as $\sigma(-z)$?** They are equal:
# $1 - \frac{1}{1 + e^{-z}} = \frac{e^{-z}}{1 + e^{-z}} = \frac{1}{e^z + 1}$. But where $g$ is near
# 1, the subtraction leaves rounding only. At $z = 40$ it gives 0, the truth is $4 \cdot 10^{-18}$.

# %%
def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate):
    A_exc, A_inh = map_forward(q_exc, k_exc), map_forward(q_inh, k_inh)
    gate = sigmoid(z_gate)[..., None]  # (B, H, T, 1): one number for all keys of a row
    one_minus_gate = sigmoid(-z_gate)[..., None]
    A = gate * A_exc - one_minus_gate * A_inh  # rows sum to 2 g - 1
    return A @ v, (q_exc, k_exc, q_inh, k_inh, v, gate, one_minus_gate, A_exc, A_inh, A)


z_gate = np.log([3, 1, 1 / 3])[None, None]  # (1, 1, 3)
v = np.array([[16.0, 0.0], [5.0, 5.0], [0.0, 16.0]])[None, None]  # (1, 1, 3, 2)
three_tokens = (q_exc, k_exc, q_inh, k_inh, v, z_gate)
o, cache = head_forward(*three_tokens)
A = cache[-1]
by_hand = np.array([[2, 0, 14], [4, 0, -4], [-16, 2, -2]]) / 32
assert abs(A - by_hand).max() < 1e-14 and abs(A.sum(axis=-1) - [0.5, 0, -0.5]).max() < 1e-14
assert abs(o[0, 0, 0] - [1, 7]).max() < 1e-14  # 2/32 of (16, 0) and 14/32 of (0, 16)

o_library, head = attention.gated_head_forward(*three_tokens)
assert abs(o - o_library).max() < 1e-12 and abs(A - head.A).max() < 1e-12
far = np.array(40.0)
print(f"z = 40: 1 - g = {1 - sigmoid(far)}, sigmoid(-z) = {sigmoid(-far):.3e}")
assert 1 - sigmoid(far) == 0 and abs(sigmoid(-far) / math.exp(-40) - 1) < 1e-14

# %% mystnb={"image": {"alt": "Three maps of three queries and keys with their weights as fractions, on one signed scale. Excitatory and inhibitory: rows of eighths, all red. Fused with the gates 3/4, 1/2 and 1/4: row 0 is 1/16, 0, 7/16; row 1 is 1/8, 0, -1/8; row 2 is -1/2, 1/16, -1/16, mostly blue."}}
def draw_maps(axes, maps, limit):
    """Maps side by side on one signed scale, white at zero."""
    for ax, (title, a) in zip(axes, maps.items(), strict=True):
        drawn = ax.imshow(a, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set(title=title, xlabel="key")
        ax.grid(False)
        ax.locator_params(integer=True)
    axes[0].set_ylabel("query")
    return drawn


fig, axes = plt.subplots(1, 3, figsize=(8.5, 2.8))
maps = {"excitatory": A_exc[0, 0], "inhibitory": A_inh[0, 0], "fused; g = 3/4, 1/2, 1/4": A[0, 0]}
drawn = draw_maps(axes, maps, 1.0)
for ax, a in zip(axes, maps.values(), strict=True):
    for (i, j), weight in np.ndenumerate(a):
        colour = "w" if abs(weight) > 0.6 else "k"
        ax.text(j, i, Fraction(weight).limit_denominator(32), ha="center", va="center", color=colour)
fig.colorbar(drawn, ax=axes.tolist(), label="attention weight")
plt.show()

# %% [markdown]
# Read the right panel row by row. Row 0 keeps the excitatory pattern, but key 1 is switched off.
# Row 1 compares two keys. Row 2 is mostly minus the inhibitory map.
#
# **What is the gate, then?** Look at row 0 again: section 2 gave $(2, 0, 14)/24$, here we have
# $(2, 0, 14)/32$, the same but for a factor. That is no accident. Take $g$ out (derived):
#
# $$A = g\, \big(A^{exc} - \lambda\, A^{inh}\big), \qquad \lambda = \frac{1 - g}{g} = e^{-z}$$
#
# In our reading of M-DGSA a norm follows each head (section 5). It divides each row of $o$ by its
# root mean square, and with that any positive factor of the row. So $g$ in front is gone, but for
# the tiny $\epsilon$ that guards the division. Hence the sentence to remember:
#
# > **With the head norm ($\epsilon = 0$), M-DGSA is exactly the Differential Transformer with a
# > lambda per token and head, $(1 - g)/g$.**
#
# The Differential Transformer learns one $\lambda$ per layer (its second version, of 2026, also one
# per token and head, below 1). Here each token says, in each head, how much inhibition it wants,
# from none ($z \to \infty$) to any amount ($z \to -\infty$). Mind the status: if the paper means
# another fusion, such as $A^{exc} - g A^{inh}$, the same holds with $\lambda = g$ between 0 and 1.
# What hangs on the reading is how large $\lambda$ may be.

# %%
args = [rng.standard_normal((2, 3, 5, 4)) for _ in range(4)]  # B = 2, H = 3, T = 5, d = 4
args += [rng.standard_normal((2, 3, 5, 8)), rng.standard_normal((2, 3, 5))]  # v, z_gate
*qkv, z = args
o_gated = head_forward(*args)[0]
o_differential = attention.differential_head_forward(*qkv, np.exp(-z))[0]  # lambda = exp(-z)
assert abs(o_gated - sigmoid(z)[..., None] * o_differential).max() < 1e-12
for eps in (0.0, 1e-5):
    ours, theirs = (ops.rmsnorm_forward(o, np.ones(8), eps)[0] for o in (o_gated, o_differential))
    print(f"after the norm, eps = {eps:g}: the two heads differ by {abs(ours - theirs).max():.1e}")
    assert abs(ours - theirs).max() < (1e-12 if eps == 0 else 1e-2)

# %% [markdown]
# ## 4. The backward, read upwards (4 minutes)
#
# The forward of the head is four lines:
#
#     A_exc, A_inh = map(q_exc, k_exc), map(q_inh, k_inh)
#     g            = sigmoid(z)
#     A            = g A_exc - (1 - g) A_inh
#     o            = A v
#
# A gradient can be passed on only when it is complete, so we undo the last line first. One rule
# does each line: *the gradient of a factor is the upstream gradient times the other factor, summed
# over what the factor lacks*. Where a value was used twice, both gradients add,
# `[eq:gated-head-backward, derived]`:
#
# $$dA = do\, v^T, \quad dv = A^T do, \qquad dA^{exc} = g\, dA, \quad dA^{inh} = -(1-g)\, dA, \qquad
# dg_i = \sum_j dA_{ij}\, (A^{exc} + A^{inh})_{ij}, \quad dz = g (1 - g)\, dg$$
#
# The one surprise is the plus in $dg$. The gate stands in $A$ twice: more gate is more of the one
# map, and less is taken away by the other. In the last step $\sigma' = \sigma (1 - \sigma)$. The
# maps have their softmax backward from section 1, then $dq = dS\, k / \sqrt d$ and
# $dk = dS^T q / \sqrt d$, `[eq:softmax-head-backward, derived]`, as in `map_backward` above.
#
# By hand, for the logit of token 0, with $do_0 = (1, 0)$: $dA_0 = (16, 5, 0)$ is the first column
# of $v$; $dg_0 = 16 \cdot \frac28 + 5 \cdot \frac88 + 0 = 9$;
# $dz_0 = \frac34 \cdot \frac14 \cdot 9 = \frac{27}{16}$.

# %%
def head_backward(do, cache):
    q_exc, k_exc, q_inh, k_inh, v, gate, one_minus_gate, A_exc, A_inh, A = cache
    dA, dv = do @ swap(v), swap(A) @ do
    dgate = (dA * (A_exc + A_inh)).sum(axis=-1)
    dz_gate = (gate * one_minus_gate)[..., 0] * dgate
    dq_inh, dk_inh = map_backward(-one_minus_gate * dA, A_inh, q_inh, k_inh)
    dq_exc, dk_exc = map_backward(gate * dA, A_exc, q_exc, k_exc)
    return dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate


do = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])[None, None]  # the loss sees token 0 alone
*_, dz_gate = head_backward(do, cache)
print("dz of token 0:", dz_gate[0, 0, 0])
assert abs(dz_gate[0, 0] - [27 / 16, 0, 0]).max() < 1e-14

do = rng.standard_normal(o_gated.shape)
grads = head_backward(do, head_forward(*args)[1])
for place, name in enumerate(("q_exc", "k_exc", "q_inh", "k_inh", "v", "z_gate")):
    def loss(moved, place=place):
        return (do * head_forward(*args[:place], moved, *args[place + 1 :])[0]).sum()

    assert abs(grads[place] - complex_step(loss, args[place])).max() < 1e-12, name
_, cache = attention.gated_head_forward(*args)
for ours, library in zip(grads, attention.gated_head_backward(do, cache), strict=True):
    assert abs(ours - library).max() < 1e-12

# %% [markdown]
# From here on `check_pair` does what that loop did, for every argument of a pair, with a random
# upstream gradient.
#
# **Stop and think.** You write $A = g A^{exc} + (1 - g) A^{inh}$ by mistake, and derive its
# backward correctly. Does a gradient check notice?
#
# <details><summary>Answer</summary>
#
# No: the pair is consistent, it is only another mechanism. The numbers made by hand notice, and the
# row sum $2g - 1$. That is why each piece here is asserted in more than one way.
# </details>
#
# ## 5. Norm, heads, block (9 minutes)
#
# **The norm** divides a row by its root mean square and gives each entry a learned gain,
# `[eq:rmsnorm, standard]`. Its backward has a term for each of the two uses of $x$, as itself and
# in $r$, `[eq:rmsnorm-backward, derived]`:
#
# $$y = w\, n, \quad n = x\, r, \quad r = (\text{mean}(x^2) + \epsilon)^{-1/2}, \qquad
# dx = r\, \big(dn - n\, \text{mean}(dn \cdot n)\big), \quad dn = w\, dy$$
#
# A longer $x$ gives the same $y$; so what $dn$ has along the row itself is taken off. By hand:
# token 0 of our three has $o = (1, 7)$, mean square 25, so $n = (0.2, 1.4)$.

# %%
EPS = 1e-5


def rmsnorm_forward(x, w):
    r = ((x * x).mean(axis=-1, keepdims=True) + EPS) ** -0.5
    return x * r * w, (x * r, r, w)


def rmsnorm_backward(dy, cache):
    n, r, w = cache
    dn = dy * w
    return r * (dn - n * (dn * n).mean(axis=-1, keepdims=True)), (dy * n).reshape(-1, len(w)).sum(axis=0)


assert abs(rmsnorm_forward(o[0, 0, :1], np.ones(2))[0] - [0.2, 1.4]).max() < 1e-6
x, w = rng.standard_normal((2, 5, 8)), rng.uniform(0.5, 1.5, 8)
assert abs(rmsnorm_forward(x, w)[0] - ops.rmsnorm_forward(x, w)[0]).max() < 1e-12
print(*check_pair(rmsnorm_forward, rmsnorm_backward, (x, w)), sep="\n")

# %% [markdown]
# **The layer.** A token is a row $x$ of $C$ numbers. Matrices make from it the queries and keys of
# both branches, the values, and the gate's logits, one column of $W_{gate}$ per head. $H$ heads
# work side by side, each with its own $d = C / 2H$ columns of each query and key matrix and $2d$ of
# the values. Each head is normalised, `[eq:head-norm, reading]`, and a last matrix mixes the heads,
# `[eq:attention, reading]`:
#
# $$z = x\, W_{gate} + b_{gate}, \qquad
# y = \text{concat}_h\big[(1 - \lambda_{init})\, \text{rmsnorm}(o_h;\, w_{norm})\big]\, W_o, \qquad
# \lambda_{init} = 0.8$$
#
# **Why a norm per head?** Rows sum to $2g - 1$ and maps may cancel, so $o$ may have any size, down
# to zero. After the norm all heads are equally loud. **Why $1 - \lambda_{init}$?** It comes with
# the norm from the Differential Transformer, where it is to keep gradients as large as with softmax
# attention. The gain could learn it as well; it only sets the scale at the start.
#
# **Backward.** $y = x W$ has $dx = dy\, W^T$ and $dW = x^T dy$; a matrix meets every token of the
# batch, and all of them add up. And $x$ was used six times: by five projections and by the gate.
# Six gradients add up in $dx$. Forgetting one crashes nothing.

# %%
LAMBDA_INIT = 0.8
BRANCHES = ("q_exc", "k_exc", "q_inh", "k_inh", "v")


def split_heads(x, H):
    return x.reshape(*x.shape[:2], H, -1).swapaxes(1, 2)  # (B, T, H d) -> (B, H, T, d)


def merge_heads(x):
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)  # (B, H, T, d) -> (B, T, H d)


def weight_grad(x, dy):
    return x.reshape(-1, x.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])


def attention_forward(x, p):
    heads = [split_heads(x @ p[f"W_{name}"], len(p["b_gate"])) for name in BRANCHES]
    z_gate = swap(x @ p["W_gate"] + p["b_gate"])  # (B, T, H) -> (B, H, T)
    o, head = head_forward(*heads, z_gate)
    n, norm = rmsnorm_forward(o, p["w_norm"])
    h = merge_heads((1 - LAMBDA_INIT) * n)
    return h @ p["W_o"], (x, p, head, norm, h)


def attention_backward(dy, cache):
    x, p, head, norm, h = cache
    grads = {"W_o": weight_grad(h, dy)}
    dn = (1 - LAMBDA_INIT) * split_heads(dy @ p["W_o"].T, len(p["b_gate"]))
    do, grads["w_norm"] = rmsnorm_backward(dn, norm)
    *dheads, dz_gate = head_backward(do, head)
    dz = swap(dz_gate)  # (B, H, T) -> (B, T, H)
    grads |= {"W_gate": weight_grad(x, dz), "b_gate": dz.sum(axis=(0, 1))}
    dx = dz @ p["W_gate"].T
    for name, dhead in zip(BRANCHES, dheads, strict=True):  # x is used six times: six gradients add up
        grads[f"W_{name}"] = weight_grad(x, merge_heads(dhead))
        dx = dx + merge_heads(dhead) @ p[f"W_{name}"].T
    return dx, grads


# %%
cfg = attention.AttentionConfig(kind="dgsa", width=8, n_heads=2)
p = attention.init_attention(cfg, rng, "float64")
p = {name: a + 0.1 * rng.standard_normal(a.shape) for name, a in p.items()}  # as if trained a little
x = rng.standard_normal((2, 5, 8))
y_library, cache = attention.attention_forward(x, p, cfg)
y, ours = attention_forward(x, p)
assert abs(y - y_library).max() < 1e-12

(dx, grads), (dx_library, library) = attention_backward(y, ours), attention.attention_backward(y, cache)
assert abs(dx - dx_library).max() < 1e-12
assert all(abs(grads[name] - library[name]).max() < 1e-12 for name in p)
worst = max(check_pair(attention_forward, attention_backward, (x, p)), key=lambda r: r.error)
print("largest difference from the complex step:", worst)

# %% [markdown]
# **The feed-forward layer** works on each token alone: one path, bent by
# $\text{silu}(a) = a\,\sigma(a)$, multiplies another, `[eq:swiglu, standard]`:
#
# $$y = \big(\text{silu}(x\, W_{gate}) \odot (x\, W_{up})\big)\, W_{down}, \qquad
# \text{silu}'(a) = \sigma + a\, \sigma\, (1 - \sigma)$$
#
# (This $W_{gate}$ is another one; its place in the parameters tells them apart.) **The block** adds
# what attention and feed-forward layer compute from the normalised tokens, `[eq:block, choice]`:
#
# $$x \leftarrow x + \text{attention}(\text{rmsnorm}(x)), \qquad
# x \leftarrow x + \text{mlp}(\text{rmsnorm}(x))$$
#
# Each plus sign is a fork: $x$ goes straight on, and into the layer. On the way back two gradients
# meet there and add. The straight way is why deep stacks can be trained: along it nothing is ever
# multiplied by a small number.

# %%
def mlp_forward(x, p):
    a, u = x @ p["W_gate"], x @ p["W_up"]
    s = a * sigmoid(a)
    return (s * u) @ p["W_down"], (x, p, a, s, u)


def mlp_backward(dy, cache):
    x, p, a, s, u = cache
    dh = dy @ p["W_down"].T
    du, ds = dh * s, dh * u
    sigma = sigmoid(a)
    da = ds * (sigma + s * (1 - sigma))
    grads = {"W_gate": weight_grad(x, da), "W_up": weight_grad(x, du), "W_down": weight_grad(s * u, dy)}
    return da @ p["W_gate"].T + du @ p["W_up"].T, grads


def block_forward(x, p):
    n1, norm1 = rmsnorm_forward(x, p["norm1"]["w"])
    a, attention = attention_forward(n1, p["attention"])
    x = x + a
    n2, norm2 = rmsnorm_forward(x, p["norm2"]["w"])
    m, mlp = mlp_forward(n2, p["mlp"])
    x = x + m
    return x, (norm1, attention, norm2, mlp)


def block_backward(dx, cache):
    norm1, attention, norm2, mlp = cache
    dn2, dmlp = mlp_backward(dx, mlp)
    dx_mlp, dw2 = rmsnorm_backward(dn2, norm2)
    dx = dx + dx_mlp  # x went straight on, and into the layer
    dn1, dattention = attention_backward(dx, attention)
    dx_attention, dw1 = rmsnorm_backward(dn1, norm1)
    dx = dx + dx_attention
    return dx, {"norm1": {"w": dw1}, "attention": dattention, "norm2": {"w": dw2}, "mlp": dmlp}


shapes = {"W_gate": (8, 6), "W_up": (8, 6), "W_down": (6, 8)}
p_mlp = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
y_library, _ = ops.swiglu_forward(x, p_mlp["W_gate"], p_mlp["W_up"], p_mlp["W_down"])
assert abs(mlp_forward(x, p_mlp)[0] - y_library).max() < 1e-12
p_block = {"norm1": {"w": w}, "attention": p, "norm2": {"w": w[::-1].copy()}, "mlp": p_mlp}
worst = max(check_pair(block_forward, block_backward, (x, p_block), n_directions=3), key=lambda r: r.error)
print("largest difference from the complex step:", worst)

# %% [markdown]
# ## 6. Patches, classifier, loss (6 minutes)
#
# **From image to tokens.** A digit of 8 x 8 grey levels is cut into 16 patches of 2 x 2, row by
# row. A linear map makes a token of each, and a learned vector says where it lies,
# `[eq:patch-embed, choice]`. **From tokens to ten numbers**: blocks, a norm, the mean over tokens,
# `[eq:mean-pool, choice]`, a linear classifier, `[eq:model, choice]`:
#
# $$x_t = \text{patch}_t\, W + b + \text{position}_t, \qquad
# \text{logits} = \text{mean}_t\big(\text{rmsnorm}(\text{blocks}(x))_t\big)\, W_{head} + b_{head}$$
#
# **Why the mean?** One answer is wanted of 16 tokens. The mean asks all alike, and on the way back
# hands each token the same share, 1/16. Without positions it could not tell a digit from its
# patches shuffled.
#
# **Loss.** Softmax turns the ten logits $z$ into probabilities $P$, and the loss of an image is
# $-\ln P$ of the right class, averaged over the batch, `[eq:cross-entropy, standard]`. Put the
# softmax into the logarithm and differentiate (derived):
#
# $$L = \text{mean}\Big(\ln \sum_j e^{z_j} - z_{target}\Big), \qquad
# dz_j = \frac{P_j - \delta_{j,\,target}}{B}$$
#
# By hand, for one image and three classes: $P = (1, 2, 5)/8$ and the third one is right. Then
# $dz = (1, 2, -3)/8$: the loss falls if the third logit rises and the others fall.

# %%
def patches(images, P):
    B, n = len(images), images.shape[1] // P
    return images.reshape(B, n, P, n, P).swapaxes(2, 3).reshape(B, n * n, P * P)


def model_forward(images, params):
    tiles = patches(images, int(params["embed"]["W"].shape[0] ** 0.5))
    x, blocks = tiles @ params["embed"]["W"] + params["embed"]["b"] + params["embed"]["positions"], []
    for p in params["blocks"]:
        x, block = block_forward(x, p)
        blocks.append(block)
    n, norm = rmsnorm_forward(x, params["norm"]["w"])
    y = n.mean(axis=1)  # (B, T, C) -> (B, C)
    return y @ params["head"]["W"] + params["head"]["b"], (params, tiles, blocks, n, norm, y)


def model_backward(dlogits, cache):
    params, tiles, blocks, n, norm, y = cache
    head = {"W": weight_grad(y, dlogits), "b": dlogits.sum(axis=0)}
    dy = dlogits @ params["head"]["W"].T
    dn = np.broadcast_to(dy[:, None] / n.shape[1], n.shape)  # each token is 1 / T of the mean
    dx, dw = rmsnorm_backward(dn, norm)
    dblocks = []
    for block in reversed(blocks):
        dx, dblock = block_backward(dx, block)
        dblocks.insert(0, dblock)
    embed = {"W": weight_grad(tiles, dx), "b": dx.sum(axis=(0, 1)), "positions": dx.sum(axis=0)}
    return {"embed": embed, "blocks": dblocks, "norm": {"w": dw}, "head": head}


def loss_and_grads(params, images, targets):
    logits, cache = model_forward(images, params)
    shifted = logits - logits.real.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    one_hot = np.arange(log_p.shape[-1]) == targets[:, None]
    loss = -(log_p * one_hot).sum() / len(targets)
    return loss, model_backward((np.exp(log_p) - one_hot) / len(targets), cache)


z, target = np.log([[1.0, 2.0, 5.0]]), np.array([2])
dz = softmax_forward(z) - [0, 0, 1]
assert abs(dz - np.array([1, 2, -3]) / 8).max() < 1e-14  # by hand
assert abs(dz - complex_step(lambda z: cross_entropy_forward(z, target)[0], z)).max() < 1e-12
assert abs(cross_entropy_forward(z, target)[0] - math.log(8 / 5)) < 1e-12

image = np.arange(64.0).reshape(1, 8, 8)
print("patch 0:", patches(image, 2)[0, 0], "  patch 5:", patches(image, 2)[0, 5])
assert (patches(image, 2)[0, 5] == [18, 19, 26, 27]).all()  # rows 2 and 3, columns 2 and 3

# %% [markdown]
# **Parameters** are nested dicts of arrays, and one function walks through them. At the start a
# matrix is $N(0, 1/\text{rows})$, so that $x W$ is as large as $x$. The gate starts at
# $W_{gate} = 0$, $b_{gate} = 1$ (choice): $g = 0.73$ and $\lambda = e^{-1} = 0.37$ for every token.
# Then the whole gradient, every parameter at once: the slope along a random direction by complex
# step must be the inner product of gradient and direction.

# %%
def tree_map(f, tree, *others):
    if isinstance(tree, dict):
        return {key: tree_map(f, tree[key], *(other[key] for other in others)) for key in tree}
    if isinstance(tree, list):
        return [tree_map(f, *branches) for branches in zip(tree, *others, strict=True)]
    return f(tree, *others)


def normal(rng, shape, std=1.0, dtype="float64"):
    return np.asarray(std * rng.standard_normal(shape), dtype)


def init(rng, C=32, H=4, depth=2, F=80, P=2, N=16, n_out=10, dtype="float32"):
    def matrix(n, m):
        return normal(rng, (n, m), n**-0.5, dtype)

    def gain(n):
        return {"w": np.ones(n, dtype)}

    def block():
        attention = {f"W_{name}": matrix(C, C if name == "v" else C // 2) for name in BRANCHES}
        attention |= {"W_o": matrix(C, C), "W_gate": np.zeros((C, H), dtype)}
        attention |= {"b_gate": np.ones(H, dtype), "w_norm": np.ones(C // H, dtype)}
        mlp = {"W_gate": matrix(C, F), "W_up": matrix(C, F), "W_down": matrix(F, C)}
        return {"norm1": gain(C), "attention": attention, "norm2": gain(C), "mlp": mlp}

    positions = normal(rng, (N, C), 0.02, dtype)
    embed = {"W": matrix(P * P, C), "b": np.zeros(C, dtype), "positions": positions}
    head = {"W": normal(rng, (C, n_out), 0.02, dtype), "b": np.zeros(n_out, dtype)}
    return {"embed": embed, "blocks": [block() for _ in range(depth)], "norm": gain(C), "head": head}


def gradient_error(rng):
    params = tree_map(lambda a: a + normal(rng, a.shape, 0.1), init(rng, dtype="float64"))
    direction = tree_map(lambda a: normal(rng, a.shape), params)
    images, targets = np.asarray(rng.random((3, 8, 8))), np.asarray([1, 7, 2])
    moved = tree_map(lambda a, e: a + 1e-30j * e, params, direction)
    numeric = float(loss_and_grads(moved, images, targets)[0].imag) / 1e-30
    slopes = []
    _, grads = loss_and_grads(params, images, targets)
    tree_map(lambda g, e: slopes.append(float((g * e).sum())), grads, direction)
    return abs(sum(slopes) - numeric) / abs(numeric)


params = tree_map(lambda a: a + normal(rng, a.shape, 0.1), init(rng, dtype="float64"))
images, targets = rng.random((5, 8, 8)), rng.integers(0, 10, 5)
loss, grads = loss_and_grads(params, images, targets)
cfg = library_model.ModelConfig(width=32, n_heads=4, depth=2, ffn_width=80, patch_size=2)
loss_library, library = library_model.loss_and_grads(params, images, targets, cfg)
apart = []
tree_map(lambda a, b: apart.append(abs(a - b).max()), library, grads)
print(f"{len(apart)} arrays, the gradients differ from the library's by {max(apart):.0e} at most;")
print(f"from the complex step, relative: {gradient_error(rng):.0e}")
assert max(apart) < 1e-12 and abs(loss - loss_library) < 1e-12 and gradient_error(rng) < 1e-12

# %% [markdown]
# ## 7. AdamW (3 minutes)
#
# Plain descent, $p \leftarrow p - \eta\, G$ with $G$ the gradient of $p$, moves each number in
# proportion to its gradient, and gradients differ by orders of magnitude between matrices. AdamW
# keeps running means of the gradient and of its square and steps by their ratio,
# `[eq:adamw, published]`:
#
# $$m = b_1 m + (1 - b_1)\, G, \qquad v = b_2 v + (1 - b_2)\, G^2, \qquad
# p \leftarrow p - \eta \Big(
# \frac{m / (1 - b_1^t)}{\sqrt{v / (1 - b_2^t)} + \epsilon} + \delta\, p \Big)$$
#
# **Why divide by $1 - b^t$?** Both means start at 0. After $t$ steps with a constant gradient,
# $m = (1 - b_1^t)\, G$: too small by just that factor. By hand, $G = 2$ at the first step:
# $m = 0.2$, $v = 0.004$; corrected, 2 and 4; the step is $\eta \cdot 2/2 = \eta$, whatever the size
# of $G$. The decay $\delta$ draws matrices to 0. It stands outside the fraction: that is the W.

# %%
def adamw(params, grads, m, v, t, lr, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.05):
    def step(p, m, v):
        decay = weight_decay if p.ndim > 1 else 0.0
        return p - lr * (m / (1 - b1**t) / ((v / (1 - b2**t)) ** 0.5 + eps) + decay * p)

    m = tree_map(lambda m, g: b1 * m + (1 - b1) * g, m, grads)
    v = tree_map(lambda v, g: b2 * v + (1 - b2) * g * g, v, grads)
    return tree_map(step, params, m, v), m, v


zero = {"b": np.zeros(1)}
stepped, m, v = adamw({"b": np.ones(1)}, {"b": np.array([2.0])}, zero, zero, t=1, lr=0.01)
print("m, v, b after one step:", m["b"], v["b"], stepped["b"])
assert abs(m["b"] - 0.2) < 1e-14 and abs(v["b"] - 0.004) < 1e-14 and abs(stepped["b"] - 0.99) < 1e-9

zeros = tree_map(np.zeros_like, params)
ours, _, _ = adamw(params, grads, zeros, zeros, t=1, lr=0.01)
library, _ = optim.adamw_step(params, grads, optim.adamw_init(params), 0.01, weight_decay=0.05)
apart = []
tree_map(lambda a, b: apart.append(abs(a - b).max()), library, ours)
assert max(apart) < 1e-12

# %% [markdown]
# ## 8. Training, and what it proves (2 minutes)
#
# 1,437 handwritten digits to train on, 360 to test. The learning rate rises over the first tenth,
# while $m$ and $v$ are young, and then falls along half a cosine. Before the first step the model
# knows nothing: the logits are near 0, each class gets 1/10, and the loss must be near
# $\ln 10 = 2.30$. That is the first number to look at in any training.

# %%
def digits():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype("float32").reshape(-1, 8, 8)  # grey levels from 0 to 1
    return map(np.asarray, train_test_split(X, y, test_size=0.2, stratify=y, random_state=0))


def learning_rate(done, peak):
    return peak * min(10 * done, 0.5 + 0.5 * float(numpy.cos(numpy.pi * done)))


def train(epochs=20, batch=32, peak=5e-3, seed=0):
    X, X_test, y, y_test = digits()
    rng, steps = numpy.random.default_rng(seed), len(X) // batch  # per epoch
    params, t = init(rng), 0
    m = v = tree_map(np.zeros_like, params)
    for epoch in range(epochs):
        order = rng.permutation(len(X))[: steps * batch].reshape(steps, batch)
        for rows in order:
            loss, grads = loss_and_grads(params, X[np.asarray(rows)], y[np.asarray(rows)])
            t += 1
            params, m, v = adamw(params, grads, m, v, t, learning_rate(t / (epochs * steps), peak))
        accuracy = float((model_forward(X_test, params)[0].argmax(axis=-1) == y_test).mean())
        print(f"epoch {epoch + 1:2d}   last batch's loss {float(loss):.4f}   test accuracy {accuracy:.3f}")
    return params


X, X_test, y, y_test = digits()
loss, _ = loss_and_grads(init(np.random.default_rng(0)), X[:256], y[:256])
print(f"loss before the first step: {loss:.3f}; ln 10 = {math.log(10):.3f}")
assert abs(loss - math.log(10)) < 0.1
trained = train()
assert (model_forward(X_test, trained)[0].argmax(axis=-1) == y_test).mean() > 0.9

# %% [markdown]
# What does that prove? That the pieces fit together. Not that the gradients are right: wrong ones
# often train too, only worse. That is what the asserts were for. And not that the gate is worth
# having: on clean digits all kinds of attention in this repository are level
# ([evidence](../docs/evidence.md)).
#
# ## 9. Look inside, and where to go next (4 minutes)
#
# Nothing was hidden, so everything can be looked at. The cache of the first block holds its maps.
# Here is one head on one test digit: the two maps, their fusion, and below them one row of each, as
# the image that its patch sees.

# %% mystnb={"image": {"alt": "A test digit with one patch marked, and the excitatory, inhibitory and fused map of one head on one signed scale: red columns where many queries look, and in the fused map a blue column where the inhibitory one is red. Below, that patch's row of each map as a 4 by 4 image, and box plots of lambda for four heads, mostly below 1."}}
shown_image = 3
blocks = model_forward(X_test, trained)[1][2]
head = blocks[0][1][2]  # block 0: its attention, its head
gate, A_exc, A_inh, A = head[5][..., 0], *(a[shown_image] for a in head[-3:])
assert abs(A.sum(axis=-1) - (2 * gate[shown_image] - 1)).max() < 1e-5  # float32

h = int(A_inh.std(axis=(1, 2)).argmax())  # the head whose inhibition is most selective
query = int(abs(A[h]).sum(axis=-1).argmax())  # and the patch that makes the most of it
maps = {"excitatory": A_exc[h], "inhibitory": A_inh[h], "fused": A[h]}
limit = max(abs(a).max() for a in maps.values())
lam = (1 / gate - 1).swapaxes(0, 1).reshape(gate.shape[1], -1)  # (H, all tokens of the test digits)

fig, axes = plt.subplots(2, 4, figsize=(9, 4.6))
drawn = draw_maps(axes[0, 1:], maps, limit)
for ax, a in zip(axes[1, 1:], maps.values(), strict=True):
    draw_maps([ax], {f"row {query}, as an image": a[query].reshape(4, 4)}, limit)
    ax.set(xlabel="patch column", ylabel="")
    ax.plot(query % 4, query // 4, "k+", ms=9)
axes[1, 1].set_ylabel("patch row")
axes[0, 0].imshow(X_test[shown_image], cmap="gray_r", extent=(-0.5, 3.5, 3.5, -0.5))
axes[0, 0].plot(query % 4, query // 4, "+", color="#D55E00", ms=12, mew=2)
axes[0, 0].set(title=f"a {y_test[shown_image]}; patch {query} is marked", xticks=range(4), yticks=range(4))
axes[0, 0].grid(False)
axes[1, 0].boxplot(lam.T, whis=(0, 100), medianprops={"color": "#D55E00"})
axes[1, 0].set(title="lambda of all tokens", xlabel="head", xticklabels=range(len(lam)), ylim=(0, None))
fig.colorbar(drawn, ax=axes[:, 1:].ravel().tolist(), label=f"attention weight, head {h}")
print(f"lambda started at 0.37; now from {lam.min():.2f} to {lam.max():.2f}")
plt.show()

# %% [markdown]
# Above: a red column is a key that many queries look at, a blue one a key that they take away.
# Below: the row of the patch at the cross, laid out as the image. Left below: the
# $\lambda = (1 - g)/g$ of all tokens of all test digits, head by head. All began at 0.37; where
# $\lambda$ is above 1, inhibition outweighs excitation.
#
# **This is the file.** Every function above stands in `dgsa_in_one_file.py`, with a comment where a
# reader would ask. We load it and compare, bit for bit.

# %%
spec = importlib.util.spec_from_file_location("dgsa_in_one_file", "dgsa_in_one_file.py")
one_file = importlib.util.module_from_spec(spec)
spec.loader.exec_module(one_file)

loss, grads = loss_and_grads(params, images, targets)
loss_there, grads_there = one_file.loss_and_grads(params, images, targets)
equal = []
tree_map(lambda a, b: equal.append(np.array_equal(a, b)), grads, grads_there)
assert loss == loss_there and all(equal)
print(f"{len(equal)} gradients, all equal to the last bit")

# %% [markdown]
# To run it on a GPU, change its one line `import numpy as np` to `import cupy as np`.
#
# **Where to go next**
#
# - **The library** says the same with masks, other mechanisms, text and speed. Begin with
#   `dgsa_np/attention/softmax.py` and `gated.py`: you know every formula. (`@takes` and `@undoes`
#   above a function say what shapes come in, and refuse others.)
# - **Exercises**: thirteen of them, [here](exercises/README.md), with tests that name the mistake.
# - **Deep dives**, each on its own: [00](00_how_to_read.ipynb) how to read the project,
#   [01](01_lateral_inhibition.ipynb) lateral inhibition in the eye,
#   [02](02_centre_and_surround.ipynb) centre and surround, [03](03_softmax_and_its_gradient.ipynb)
#   softmax and how to check gradients, [04](04_attention_backward.ipynb) attention backward,
#   [05](05_differential_attention.ipynb) differential attention, [06](06_the_gate.ipynb) the gate,
#   [07](07_a_transformer_by_hand.ipynb) the transformer, [08](08_noise.ipynb) noise, and what a
#   small experiment can say, [09](09_from_formulas_to_fast_code.ipynb) fast code,
#   [10](10_three_questions_about_the_gate.ipynb) whether the gate is new, and its hazards.
#
# **Three things to try**
#
# 1. What is $A$ where both maps are equal and $g = 1/2$? What does the head norm make of it? (10)
# 2. Drop the gate's term from $dx$ in `attention_backward`. Does training notice? Does
#    `check_pair`?
# 3. Start with $b_{gate} = 0.223$, so that $\lambda = 0.8$. Do the lambdas of section 9 end
#    elsewhere?
