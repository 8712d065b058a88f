# %% [markdown]
# # 05 Differential attention
# *Deep dive; the whole idea in 45 minutes is in [start_here](start_here.ipynb).*
#
# A softmax never says zero. Every key gets some weight, and over hundreds of keys the small weights
# add up to a haze that drowns the few keys that matter. The Differential Transformer (Ye et al.,
# ICLR 2025, arXiv:2410.05258; here `diff_v1`) subtracts: a second softmax map, times a number
# lambda, is taken from the first. What both have in common cancels. This notebook builds that head
# and its backward, then the norm and the odd factor that follow it, and then its second version (Ye
# et al., January 2026; here `diff_v2`). It also shows when the subtraction does not help.
#
# **You will do**
# - build an example that subtraction cleans perfectly, and one that it makes worse;
# - derive the gradients of lambda, of both branches and of RMSNorm, and check them;
# - count parameters and operations, to see why heads are halved;
# - derive the second version's backward from the first's in one line, and catch its most natural
#   mistake.
#
# **You will learn** what lambda does and what its odd formula is for, what a negative weight means,
# why there is a norm per head and what `(1 - lambda_init)` is meant to repair, and which questions
# are open.
#
# **You need** [04](04_attention_backward.ipynb) (attention's backward).
#
# **Time** about 60 minutes, and 20 for the eleven blanks: in a cell that begins with
# `# Your turn` replace the dots and run it again, and it says whether you are right.

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

from dgsa_np import attention, data, model, ops
from dgsa_np.attention import attention_backward, attention_forward, softmax_head_forward
from dgsa_np.attention.differential import (
    depth_schedule,
    differential_head_backward,
    differential_head_forward,
    lambda_backward,
    lambda_forward,
)  # fmt: skip
from dgsa_np.attention.differential_v2 import (
    differential_v2_head_backward,
    differential_v2_head_forward,
    token_lambda_backward,
    token_lambda_forward,
)
from dgsa_np.attention.multihead import head_norm_backward, head_norm_forward
from dgsa_np.gradcheck import check_pair, compare_pair, complex_step
from dgsa_np.lab.blank import blank
from dgsa_np.ops import rmsnorm_backward, rmsnorm_forward, sigmoid, softmax_forward, swap
from dgsa_np.params import count
from dgsa_np.train import TrainConfig, train

plt.style.use("dgsa_np.lab.viz")
rng = np.random.default_rng(0)
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"

# %% [markdown]
# ## 1. Why subtract?
#
# A query looks for one key, the *needle*, among 32. Its score is $b_n + m$: a background $b_j$,
# different for each key, and a match $m$ at the needle $n$. A second map sees the same background
# and not the needle. Write $Z = \sum_j e^{b_j}$ and $Z' = Z + (e^m - 1)\, e^{b_n}$. For every key
# but the needle
#
# $$ A_{exc,j} = \frac{e^{b_j}}{Z'}, \qquad A_{inh,j} = \frac{e^{b_j}}{Z}, \qquad\text{so}\qquad
# A_{exc,j} - \lambda^* A_{inh,j} = 0 \quad\text{for}\quad \lambda^* = \frac{Z}{Z'} $$
#
# One number removes all of the background at once, however it is distributed. What is left is the
# needle.

# %%
n_keys, needle, match = 32, 20, 3.0
background = 1.5 * rng.standard_normal(n_keys)
bump = np.where(np.arange(n_keys) == needle, match, 0.0)
A_exc, _ = softmax_forward(background + bump)
A_inh, _ = softmax_forward(background)

Z = np.exp(background).sum()
best = Z / (Z + (math.exp(match) - 1) * math.exp(background[needle]))
difference = A_exc - best * A_inh
print(f"lambda* = {best:.3f}; softmax gives the needle {A_exc[needle]:.3f} of its weight")
assert abs(np.delete(difference, needle)).max() < 1e-16
assert abs(difference[needle] - (1 - best)) < 1e-15  # all that is left of the row sum 1 - lambda

# %% tags=["blank"]
# Your turn, on paper: the background is 0 for all 32 keys, and m = ln 33. What is lambda*?
lambda_star = ...
flat = softmax_forward(math.log(33) * (np.arange(n_keys) == needle))[0]
blank(lambda_star, flat[0] * n_keys, "Z = 32. Which term of Z' is not 1?")

# %% [markdown]
# To compare maps whatever their scale, take the needle's share of all weight, counted without sign:
# $A_n / \sum_j |A_j|$. Now three cases: the second map shares the background; it has a background
# of its own; it sees the needle as well.

# %% mystnb={"image": {"alt": "Bars of the weights of 32 keys, three cases, the two maps above and their difference below. Shared background: only the needle is left. Another background: the needle stands among positive and negative bars. Both see the needle: the first map again, smaller."}}
def share(A):
    """The needle's part of all absolute weight; negative where it is pushed away."""
    return A[..., needle] / abs(A).sum(axis=-1)


own, _ = softmax_forward(1.5 * rng.standard_normal(n_keys))
cases = {
    "shared background": (A_exc, A_inh, best),
    "a background of its own": (A_exc, own, best),
    "both see the needle": (A_exc, A_exc, best),
}
fig, axes = plt.subplots(2, 3, figsize=(9, 4.2), sharey=True, sharex=True)
for (title, (exc, inh, lam)), (top, bottom) in zip(cases.items(), axes.T, strict=True):
    top.bar(range(n_keys), exc, color=BLUE, label="A_exc")
    top.bar(range(n_keys), -lam * inh, color=ORANGE, label="-lambda A_inh")
    A = exc - lam * inh
    bottom.bar(range(n_keys), A, color=[GREEN if j == needle else "0.5" for j in range(n_keys)])
    top.set_title(f"{title}\nneedle alone in A_exc: {share(exc):.2f}")
    bottom.set(title=f"difference, needle's share: {share(A):.2f}", xlabel="key (green: the needle)")
axes[0, 0].set_ylabel("weight")
axes[1, 0].set_ylabel("weight")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
plt.show()
assert abs(share(A_exc - best * A_inh) - 1) < 1e-14 and share(A_exc - best * own) < share(A_exc)
assert abs(share(A_exc - best * A_exc) - share(A_exc)) < 1e-14  # (1 - lambda) A_exc: the same map, smaller

# %% [markdown]
# Left: the haze is gone. Middle: the grey bars below zero are background of the second map that the
# first never had. Right: subtracting a map from itself only makes it smaller. Noise-cancelling
# headphones work the same way: a second microphone hears the engine and not the music. They cancel
# what the two microphones hear *alike*, and add whatever only the second one hears.
#
# How alike must the backgrounds be? Let their correlation $\rho$ run from 0 to 1, draw 400 rows
# each, and average the share.

# %% mystnb={"image": {"alt": "Mean share of the needle over the correlation of the two backgrounds. The curves of lambda 0.2, 0.5 and 0.8 begin below the dashed line of softmax alone and end above it; the curve of 0.8 begins lowest, crosses last and ends highest."}}
rhos, n_rows = np.linspace(0, 1, 21), 400
b1, b2 = 1.5 * rng.standard_normal((2, n_rows, n_keys))
fig, ax = plt.subplots(figsize=(6.5, 3.3))
exc, _ = softmax_forward(b1 + bump)
ax.axhline(share(exc).mean(), color=BLUE, ls="--", label="softmax alone (lambda = 0)")
curves = {}
for lam, color in ((0.2, "0.65"), (0.5, GREEN), (0.8, ORANGE)):
    shares = []
    for rho in rhos:
        inh, _ = softmax_forward(rho * b1 + math.sqrt(1 - rho**2) * b2)
        shares.append(share(exc - lam * inh).mean())
    curves[lam] = np.array(shares)
    ax.plot(rhos, shares, color=color, label=f"lambda = {lam}")
ax.set(xlabel="correlation of the two backgrounds", ylabel="mean share of the needle")
ax.set_title("the larger lambda, the more alike the backgrounds must be")
ax.legend()
plt.show()
for lam, shares in curves.items():
    print(f"lambda {lam}: better than softmax from correlation {rhos[shares > share(exc).mean()][0]:.2f} on")
    assert shares[0] < share(exc).mean() < shares[-1]  # worse at correlation 0, better at 1
assert curves[0.8][0] < curves[0.2][0] and curves[0.8][-1] > curves[0.2][-1]

# %% [markdown]
# **Nothing in the architecture makes the backgrounds alike.** The two branches have their own
# queries and keys. Training has to make them alike, if that lowers the loss. The subtraction offers
# a possibility; it does not clean by itself.
#
# ## 2. The head, with numbers
#
# `[eq:differential-head, published]` (Ye et al., arXiv:2410.05258). Two maps, one set of values:
#
# $$ A = \underbrace{\mathrm{softmax}\Big(\tfrac{q_{exc} k_{exc}^T}{\sqrt d}\Big)}_{A_{exc}}
# - \lambda\, \underbrace{\mathrm{softmax}\Big(\tfrac{q_{inh} k_{inh}^T}{\sqrt d}\Big)}_{A_{inh}},
# \qquad o = A v $$
#
# One query, three keys, and scores that are logarithms again: $A_{exc} = (1, 2, 5)/8$ and
# $A_{inh} = (1, 4, 3)/8$. With $\lambda = 1/2$ the difference is $(1, 0, 7)/16$; with $\lambda = 1$
# it is $(0, -2, 2)/8$.

# %%
d = 4
q = np.array([2.0, 0, 0, 0]).reshape(1, 1, 1, d)  # B = H = T = 1; scores are the first column of k
k_exc, k_inh = np.zeros((2, 1, 1, 3, d))
k_exc[..., 0], k_inh[..., 0] = np.log([1, 2, 5]), np.log([1, 4, 3])
v = np.array([[4.0, 0], [0, 4], [8, 8]]).reshape(1, 1, 3, 2)
by_hand = {0.5: np.array([1, 0, 7]) / 16, 1.0: np.array([0, -2, 2]) / 8}
for lam, row in by_hand.items():
    o, cache = differential_head_forward(q, k_exc, q, k_inh, v, lam)
    row_sum = abs(cache.A.sum())
    print(f"lambda {lam}: A = {cache.A.ravel().round(4)}, row sum {row_sum:.2f}, o = {o.ravel().round(4)}")
    assert abs(cache.A.ravel() - row).max() < 1e-15 and abs(o.ravel() - row @ v[0, 0]).max() < 1e-14
    assert abs(cache.A.sum() - (1 - lam)) < 1e-15

# %% tags=["blank"]
# Your turn: above which lambda is the weight of key 3 negative, the key that A_exc likes best?
pushed_away_above = ...
blank(pushed_away_above, (cache.A_exc / cache.A_inh)[0, 0, 0, 2], "Where is 5 - 3 lambda zero?")

# %% [markdown]
# **What the sign means.** A positive weight adds a value to the output, a negative one takes it
# away: the output moves *away* from that value, which no softmax can do. Zero means that the two
# maps agree about this key after weighing, not that nobody looked. So do not read a differential
# map as probabilities: with $\lambda \ge 0$,
#
# $$ \sum_s A_{ts} = 1 - \lambda, \qquad -\lambda \le A_{ts} \le 1, \qquad \sum_s |A_{ts}| \le 1 + \lambda $$
#
# and a constant added to all values is passed on times $1 - \lambda$: at $\lambda = 1$ it is lost,
# exactly as a differential amplifier rejects what is common to its inputs.

# %%
B, H, T, S, d = 2, 3, 4, 6, 5
q_exc, q_inh = 3 * rng.standard_normal((2, B, H, T, d))
k_exc, k_inh = rng.standard_normal((2, B, H, S, d))
v, c = rng.standard_normal((B, H, S, 2 * d)), rng.standard_normal(2 * d)
for lam in (0.0, 0.3, 0.8, 1.0):
    o, cache = differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, lam)
    assert abs(cache.A.sum(axis=-1) - (1 - lam)).max() < 1e-15 * S
    assert cache.A.min() >= -lam and cache.A.max() <= 1 and abs(cache.A).sum(axis=-1).max() < 1 + lam + 1e-14
    shifted, _ = differential_head_forward(q_exc, k_exc, q_inh, k_inh, v + c, lam)
    assert abs(shifted - o - (1 - lam) * c).max() < 1e-14
    if lam == 0:
        assert abs(o - softmax_head_forward(q_exc, k_exc, v)[0]).max() == 0  # softmax attention, bit for bit

# %% [markdown]
# ## 3. The head, backward
#
# Read the forward upwards. $o = Av$ gives $dA = do\,v^T$ and $dv = A^T do$, as in notebook 04. New
# is one line, $A = A_{exc} - \lambda A_{inh}$. It is linear in each of its three arguments, so each
# gets $dA$ times its factor. One $\lambda$ stands in every entry of the map, so its gradient is a
# sum over all of them:
#
# $$ dA_{exc} = dA, \qquad dA_{inh} = -\lambda\, dA, \qquad
# d\lambda = -\sum_{b,h,t,s} dA\, A_{inh} = -\langle do,\; A_{inh} v\rangle $$
#
# The last form is notebook 04's row sum again: no map needed. After that, each branch is softmax
# attention's own backward.

# %%
lam = np.array(0.6)
do = rng.standard_normal((B, H, T, 2 * d))
o, cache = differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, lam)
dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam = differential_head_backward(do, cache)

dA = do @ swap(v)
dlam_ours = -(dA * cache.A_inh).sum()
branches = {}
for name, q, k, A, dA_branch in (
    ("exc", q_exc, k_exc, cache.A_exc, dA),
    ("inh", q_inh, k_inh, cache.A_inh, -lam * dA),
):
    dS = A * (dA_branch - (dA_branch * A).sum(axis=-1, keepdims=True))
    branches[name] = dS @ k / math.sqrt(d), swap(dS) @ q / math.sqrt(d)
assert abs(dlam - dlam_ours) < 1e-13 and abs(dlam + (do * (cache.A_inh @ v)).sum()) < 1e-13
for ours, library in zip((*branches["exc"], *branches["inh"]), (dq_exc, dk_exc, dq_inh, dk_inh), strict=True):
    assert abs(ours - library).max() < 1e-13
assert abs(dv - swap(cache.A) @ do).max() < 1e-14
args = (q_exc, k_exc, q_inh, k_inh, v, lam)
results = check_pair(differential_head_forward, differential_head_backward, args)
print({r.argument: f"{r.error:.0e}" for r in results})

# %% tags=["blank"]
# Your turn: at lambda = 0, how many of the six gradients are exactly 0?
exactly_zero = ...
no_second = differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, np.array(0.0))[1]
all_zero = [not np.any(gradient) for gradient in differential_head_backward(do, no_second)]
blank(exactly_zero, sum(all_zero), "Which gradients have the factor lambda? Has dlambda?")

# %% [markdown]
# **The usual mistakes**: the minus of the inhibitory branch is forgotten, or its $\lambda$, or the
# sum over all queries in $d\lambda$. The checker cannot know $\lambda$, so it reports the factor,
# $1/0.6$, and leaves the rest to you.

# %%
def head_backward_with(mistake):
    def head_backward(do, cache):
        grads = list(differential_head_backward(do, cache))
        if mistake == "minus forgotten":
            grads[2:4] = -grads[2], -grads[3]
        if mistake == "lambda forgotten":
            grads[2:4] = grads[2] / cache.lam, grads[3] / cache.lam
        if mistake == "mean over queries in dlam":
            grads[5] = grads[5] / do.shape[2]
        return tuple(grads)

    return head_backward


args = (q_exc, k_exc, q_inh, k_inh, v, lam)
said = {}
for mistake in ("minus forgotten", "lambda forgotten", "mean over queries in dlam"):
    wrong_backward = head_backward_with(mistake)
    results = compare_pair(differential_head_forward, wrong_backward, args, sizes={"d": d, "T": T})
    said[mistake] = {r.argument: r.message for r in results if not r.ok}
    print(mistake, *(f"\n    d{name}: {message}" for name, message in said[mistake].items()))
assert "inhibitory branch enters with a minus" in said["minus forgotten"]["q_inh"]
assert "1.66667 times" in said["lambda forgotten"]["q_inh"]
assert list(said["lambda forgotten"]) == ["q_inh", "k_inh"] and "a mean over T" in said[mistake]["lam"]

# %% [markdown]
# ## 4. Where lambda comes from
#
# V1 learns one $\lambda$ per layer. It could be a plain parameter. Instead it is made from four
# vectors of the key width `[eq:lambda, published]`, with a constant that grows with the depth
# $l = 0, 1, \dots$ `[eq:lambda-init, published]`:
#
# $$ \lambda = e^{\lambda_{q,exc} \cdot \lambda_{k,exc}} - e^{\lambda_{q,inh} \cdot \lambda_{k,inh}}
# + \lambda_{init}, \qquad
# \lambda_{init} = 0.8 - 0.6\, e^{-0.3\, l} $$
#
# The vectors start as $N(0, 0.1^2)$, so both exponents are small, both exponentials are near 1,
# they nearly cancel, and $\lambda$ starts near $\lambda_{init}$.

# %%
d = 16
names = ("lambda_q_exc", "lambda_k_exc", "lambda_q_inh", "lambda_k_inh")
p = {name: 0.1 * rng.standard_normal(d) for name in names}
x = np.zeros((1, 1, 1))  # the tokens play no part
cfg = attention.AttentionConfig(kind="diff_v1", width=2 * d, n_heads=1, lambda_init=depth_schedule(0))
lam, cache = lambda_forward(x, p, cfg)
e_exc = math.exp(p["lambda_q_exc"] @ p["lambda_k_exc"])
e_inh = math.exp(p["lambda_q_inh"] @ p["lambda_k_inh"])
assert abs(lam - (e_exc - e_inh + 0.2)) < 1e-15 and abs(depth_schedule(0) - 0.2) < 1e-15

starts = []
for _ in range(2000):
    drawn = {name: 0.1 * rng.standard_normal(d) for name in names}
    starts.append(float(lambda_forward(x, drawn, cfg)[0]))
print(f"lambda at the start, d = 16, 2000 draws: {np.mean(starts):.3f} +- {np.std(starts):.3f}")
assert abs(np.mean(starts) - 0.2) < 0.01

# %% tags=["blank"]
# Your turn, in the first layer: lambda_q_exc . lambda_k_exc = ln 2, both inhibitory vectors are 0. And lambda?
lambda_now = ...
even = np.full(d, math.sqrt(math.log(2) / d))
four = dict(zip(names, (even, even, 0 * even, 0 * even), strict=True))
blank(lambda_now, lambda_forward(x, four, cfg)[0], "The exponential of 0 is 1.")

# %% mystnb={"image": {"alt": "Over 24 layers lambda_init rises from 0.2 and levels off at 0.8; the factor 1 - lambda_init falls from 0.8 to 0.2, its mirror image."}}
depths = np.arange(0, 24)
schedule = [depth_schedule(layer) for layer in depths.tolist()]
fig, ax = plt.subplots(figsize=(6, 3))
ax.plot(depths, schedule, "o-", color=ORANGE, label="lambda_init: weight of the inhibitory map")
ax.plot(depths, [1 - s for s in schedule], "s-", color=GREEN, label="1 - lambda_init: factor after the norm")
ax.axhline(0.8, color="0.5", lw=1, ls=":")
ax.set(xlabel="layer, counted from 0", ylabel="value", ylim=(0, 1))
ax.set_title("deeper layers start with more subtraction")
ax.legend(loc="center right")
plt.show()
print("first six layers:", np.round(schedule[:6], 3))

# %% [markdown]
# The first layers subtract little, the later ones up to 0.8. We know of no derivation of this
# schedule. M-DGSA drops it: 0.8 in every layer (`human review`: a reviewer of that paper says so).
# There, in our reading, it is no part of any $\lambda$ but only the factor of section 6.
#
# **Its gradient.** $\lambda$ depends on $\lambda_{q,exc}$ through one exponential; the chain rule
# brings down that exponential and the other factor of the inner product. The inhibitory pair has a
# minus:
#
# $$ d\lambda_{q,exc} = d\lambda\; e_{exc}\, \lambda_{k,exc}, \quad
# d\lambda_{k,exc} = d\lambda\; e_{exc}\, \lambda_{q,exc}, \quad
# d\lambda_{q,inh} = -d\lambda\; e_{inh}\, \lambda_{k,inh}, \quad
# d\lambda_{k,inh} = -d\lambda\; e_{inh}\, \lambda_{q,inh} $$

# %%
dlam = 1.7
_, grads = lambda_backward(np.array(dlam), cache)
partner = {"lambda_q_exc": "lambda_k_exc", "lambda_k_exc": "lambda_q_exc",
           "lambda_q_inh": "lambda_k_inh", "lambda_k_inh": "lambda_q_inh"}  # fmt: skip
for name in names:
    factor = dlam * e_exc if name.endswith("exc") else -dlam * e_inh
    assert abs(grads[name] - factor * p[partner[name]]).max() < 1e-16
    loss = lambda a, name=name: dlam * lambda_forward(x, p | {name: a}, cfg)[0]  # noqa: E731
    numeric = complex_step(loss, p[name])
    assert abs(grads[name] - numeric).max() < 1e-15

zero = {name: np.zeros(d) for name in names}
_, stuck = lambda_backward(np.array(dlam), lambda_forward(x, zero, cfg)[1])
assert all((g == 0).all() for g in stuck.values())
speed = sum(float((g / dlam * g / dlam).sum()) for g in grads.values())
print(f"one gradient step of size lr moves lambda by {speed:.2f} lr dlam; a plain number by 1 lr dlam")

# %% [markdown]
# <details>
# <summary><b>Stop and think</b>: why are the four vectors not simply zero at the start?</summary>
#
# Each gradient is proportional to the partner vector. If all are zero, all gradients are zero, and
# $\lambda$ never moves: the cell above asserts it.
# </details>
#
# <details>
# <summary><b>Stop and think</b>: can lambda leave the interval from 0 to 1?</summary>
#
# Yes. Nothing in the formula prevents it. Below 0 the second map is added, above 1 rows have a
# negative sum. V2 puts a sigmoid there.
# </details>
#
# What the parametrisation buys over a plain number, beyond a speed of learning that changes with
# the vectors, cannot be said from here: both reach every $\lambda$.
#
# ## 5. A norm for each head
#
# The rows of $A$ sum to $1 - \lambda$, and the branches may cancel, so the size of $o$ varies. V1
# divides each head's output by its root mean square, over its $e = 2d$ numbers, and applies a gain
# $w$ that all heads share. `[eq:rmsnorm, standard]`, for one row $o$, with $n$ the normalised row:
#
# $$ r = \Big(\frac1e \sum_c o_c^2 + \epsilon\Big)^{-1/2}, \qquad n_c = r\, o_c, \qquad y_c = w_c\, n_c $$
#
# **Backward.** $dn_c = w_c\, dy_c$ and $dw_c = \sum_{rows} dy_c\, n_c$ are plain. But $o_c$ is used
# twice: directly in $n_c$, and in $r$, which all columns use. From
# $\partial r / \partial o_c = -\tfrac12 r^3 \cdot \tfrac2e o_c = -r^3 o_c / e$:
#
# $$ do_c = r\, dn_c + \Big(\sum_j dn_j\, o_j\Big) \frac{\partial r}{\partial o_c}
# = r \Big( dn_c - n_c\, \frac1e \sum_j dn_j\, n_j \Big) $$
#
# That is `[eq:rmsnorm-backward, derived]`. The sum is the projection of $dn$ on the direction of
# $n$, whose squared length is $e$ (for $\epsilon = 0$): what points along the row itself is taken
# off. The softmax takes off something else, a weighted mean.

# %%
e, eps = 10, 1e-5
o, w, dy = rng.standard_normal((2, 3, 4, e)), rng.standard_normal(e), rng.standard_normal((2, 3, 4, e))
r = ((o * o).mean(axis=-1, keepdims=True) + eps) ** -0.5
n = r * o
dn, dw = w * dy, (dy * n).sum(axis=(0, 1, 2))
do = r * (dn - n * (dn * n).mean(axis=-1, keepdims=True))

y, cache = rmsnorm_forward(o, w, eps)
assert abs(y - w * n).max() < 1e-15
do_lib, dw_lib = rmsnorm_backward(dy, cache)
assert abs(do - do_lib).max() < 1e-14 and abs(dw - dw_lib).max() < 1e-13
check_pair(rmsnorm_forward, rmsnorm_backward, (o, w, eps))
check_pair(head_norm_forward, head_norm_backward, (o, w, 0.8, eps))

# %% tags=["blank"]
# Your turn: with w = 1 and eps = 0, how long is every normalised row of e = 10 numbers, as a vector?
length = ...
blank(length, np.linalg.norm(rmsnorm_forward(o, np.ones(e), 0.0)[0], axis=-1)[0, 0, 0], "Its *mean* square is 1.")

# %% [markdown]
# The norm removes the scale. With $\epsilon = 0$, $1000\, o$ gives the same $y$ as $o$; so the
# slope along $o$ itself is 0:
#
# $$ \mathrm{rmsnorm}(c\, o) = \mathrm{rmsnorm}(o) \quad (c > 0,\ \epsilon = 0)
# \qquad\Longrightarrow\qquad \langle do, o \rangle = 0 $$
#
# So only the *direction* of $A_{exc} v - \lambda A_{inh} v$ is left: what the norm hides is one
# positive scale per row, and nothing else. With a real $\epsilon$ this holds as long as the mean
# square is far above it.
#
# Is the row sum $1 - \lambda$, of which section 2 made so much, hidden as well? No: it is not a
# scale. It says how much of a constant that all values share comes in *beside* their differences,
# so it turns the direction. The cell adds one vector to all values and looks at the normalised
# output. It moves, except at $\lambda = 1$.

# %%
y, cache = rmsnorm_forward(o, w, 0.0)
louder, _ = rmsnorm_forward(1000 * o, w, 0.0)
do, _ = rmsnorm_backward(dy, cache)
assert abs(louder - y).max() < 1e-13
assert abs((do * o).sum(axis=-1)).max() < 1e-13
along = (dn * n).mean(axis=-1, keepdims=True) * n  # the part of dn along its row, n from eps = 1e-5
assert abs(do - (dn - along) * r).max() < 1e-3 and abs((n * n).mean(axis=-1) - 1).max() < 1e-3
faint, _ = rmsnorm_forward(1e-3 * o, w, 1e-5)  # mean square 1e-6, below eps
print(f"rms after the norm: {np.sqrt((y / w * y / w).mean()):.4f}; of an input of rms 0.001 with eps 1e-5: "
      f"{np.sqrt((faint / w * faint / w).mean()):.4f}")  # fmt: skip
assert abs(np.sqrt(((y / w) ** 2).mean()) - 1) < 1e-12

moved, ones = {}, np.ones(v.shape[-1])
for lam in (0.2, 0.8, 1.0):  # the head of section 2, and its constant c
    as_is, _ = differential_head_forward(q_exc, k_exc, q_inh, k_inh, v, lam)
    shifted, _ = differential_head_forward(q_exc, k_exc, q_inh, k_inh, v + c, lam)
    moved[lam] = abs(rmsnorm_forward(shifted, ones, 0.0)[0] - rmsnorm_forward(as_is, ones, 0.0)[0]).max()
    print(f"lambda = {lam}: a constant in the values moves the normalised output by {moved[lam]:.1e}")
assert min(moved[0.2], moved[0.8]) > 0.5 and moved[1.0] < 1e-12

# %% [markdown]
# ## 6. What $(1 - \lambda_{init})$ is for
#
# After the norm, V1 multiplies by a constant, `[eq:head-norm, reading]` for M-DGSA, which inherits
# it:
#
# $$ h = (1 - \lambda_{init})\; \mathrm{rmsnorm}(o;\, w)
# = \mathrm{rmsnorm}\big(o;\, (1 - \lambda_{init})\, w\big) $$
#
# The right side says that it could hide in the gain. It changes nothing that the head *can*
# compute, only the scale at which it starts, and how fast it learns. The reason given with it is to
# keep the scale of the layer, and with it of gradients, near that of softmax attention, so that its
# hyperparameters can stay. The argument: a difference of two maps over like values is about
# $(1-\lambda)$ times as large as one map; the norm blows it up to 1; the constant puts
# $(1 - \lambda)$ back, in its initial value.
#
# We measure it. Two kinds of tokens: *alike* (one common vector plus a tenth of noise) and
# *independent*. At width 128, 64 tokens, initial weights; one row per layer depth.

# %%
h1, _ = head_norm_forward(o, w, 0.8)
h2, _ = rmsnorm_forward(o, (1 - 0.8) * w)
assert abs(h1 - h2).max() < 1e-15


def rms(a):
    return float(np.sqrt((a * a).mean()))


def measure(x, kind, n_heads, layer):
    """rms of: the head's output before the norm, what enters W_o, the gradient of W_o."""
    cfg = attention.AttentionConfig(kind=kind, width=x.shape[-1], n_heads=n_heads)
    p = attention.init_attention(cfg, np.random.default_rng(1), "float64")
    y, cache = attention_forward(x, p, cfg, layer=layer)
    dy = np.random.default_rng(2).standard_normal(y.shape)
    _, grads = attention_backward(dy, cache)
    return rms(cache.head.A @ cache.heads["v"]), rms(cache.output.x), rms(grads["W_o"])

# %%
noise, common = rng.standard_normal((4, 64, 128)), rng.standard_normal(128)
tokens = {"alike": common + 0.1 * noise, "independent": noise}
table, layers = {}, (0, 1, 2, 4, 8, 16)
for name, x in tokens.items():
    table[name] = {"softmax": measure(x, "softmax", 8, 0)}
    table[name]["diff_v1"] = [measure(x, "diff_v1", 4, layer) for layer in layers]
    print(f"{name}: softmax attention, what enters W_o: {table[name]['softmax'][1]:.3f}")
    for layer, (raw, entering, _) in zip(layers, table[name]["diff_v1"], strict=True):
        print(f"  layer {layer:2}: difference {raw:.3f}, after norm and factor {entering:.3f}")
        assert abs(entering - (1 - depth_schedule(layer))) < 1e-3  # 1 times the factor

# %% tags=["blank"]
# Your turn: layer 3 is not in the table. The rms of what enters W_o there?
enters_at_3 = ...
blank(enters_at_3, measure(noise, "diff_v1", 4, 3)[1], "After the norm it is 1. Then comes the factor.", rtol=1e-3)

# %% mystnb={"image": {"alt": "Gradient of W_o over the layer, relative to softmax attention at 1. Without the factor it is flat: just below 1 for tokens alike, nearly 5 for independent ones. With the factor it falls, from 0.8 to 0.2 for tokens alike, from 4 to 1 for independent ones."}}
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
for ax, (name, of) in zip(axes, table.items(), strict=True):
    raw, entering, dW_o = np.array(of["diff_v1"]).T
    factors = 1 - np.array([depth_schedule(layer) for layer in layers])
    without = dW_o / factors  # W_o's gradient is linear in what enters W_o
    ax.axhline(1, color=BLUE, ls="--", label="softmax attention")
    ax.plot(layers, without / of["softmax"][2], "s-", color="0.5", label="diff_v1 without the factor")
    ax.plot(layers, dW_o / of["softmax"][2], "o-", color=ORANGE, label="diff_v1 with the factor")
    finding = "the norm alone is enough" if name == "alike" else "the factor helps"
    ax.set(xlabel="layer (sets lambda_init)", title=f"tokens {name}: {finding}", yscale="log")
    ax.set_yticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
    ax.minorticks_off()
axes[0].set_ylabel("rms of W_o's gradient,\nrelative to softmax attention")
axes[1].legend(fontsize=8, loc="lower left")
plt.show()
alike, independent = table["alike"], table["independent"]
for of in (alike, independent):
    of["ratio"] = [round(dW_o / of["softmax"][2], 2) for _, _, dW_o in of["diff_v1"]]
print("relative gradient with the factor: alike", alike["ratio"], " independent", independent["ratio"])
without = np.round(independent["ratio"] / factors, 2)
print("without the factor, independent", without)
assert without.min() > 4 and without.max() < 5 and max(alike["ratio"]) < 1
shrunk = np.array(alike["diff_v1"])[:, 0] / alike["softmax"][1]  # the difference, before the norm
assert abs(shrunk - factors).max() < 0.15

# %% [markdown]
# **What the measurement says.** The line without the factor is flat: after the norm the scale is 1,
# whatever $\lambda$ is.
# - *Independent tokens* (right): softmax attention averages 64 unrelated values to something small,
#   while the norm returns 1. Without the factor the gradient of $W_o$ starts nearly five times as
#   large as softmax attention's; with it, between four times as large (first layer) and as large
#   (deep layers). Here the factor helps.
# - *Tokens alike* (left): the first half of the argument holds, the difference before the norm is
#   about $(1-\lambda)$ times softmax attention's output. But the norm *alone* already brings it to
#   softmax attention's scale, and the factor takes it below, down to a fifth. Here it does not
#   align anything.
#
# So the factor aligns scales or not, depending on the data; which of the two the tokens of a
# trained model resemble is not measured here. It is a constant and not learned, and the learned
# gain $w$ beside it can undo it.
#
# ## 7. The whole layer
#
# Project, split, subtract, normalise, merge, project. Head $h$ owns columns $hd$ to $(h+1)d$ of
# each of the four query and key matrices, with $d = C/(2H)$, and $2d$ columns of `W_v`. (In the
# authors' code the two branches are neighbouring heads, $2i$ and $2i+1$, of one matrix. That is the
# same layer, with the columns in another order.)

# %% tags=["blank"]
# Your turn: a layer of width 64 with 8 heads. The shapes of W_q_exc and of the gain w_norm?
their_shapes = ...  # ((rows, columns), (entries,))
wide = attention.AttentionConfig(kind="diff_v1", width=64, n_heads=8)
made = attention.init_attention(wide, np.random.default_rng(0))
blank(their_shapes, (made["W_q_exc"].shape, made["w_norm"].shape), "d = C / (2 H); all heads share one gain of 2d.")

# %%
def layer_forward(x, p, n_heads, lambda_init, eps=1e-5):
    def heads(name):
        return ops.split_heads(x @ p[name], n_heads)

    def softmax_map(branch):
        S = heads(f"W_q_{branch}") @ swap(heads(f"W_k_{branch}"))
        return softmax_forward(S / math.sqrt(p["lambda_q_exc"].size))[0]

    lam = np.exp(p["lambda_q_exc"] @ p["lambda_k_exc"]) - np.exp(p["lambda_q_inh"] @ p["lambda_k_inh"])
    lam = lam + lambda_init
    o = (softmax_map("exc") - lam * softmax_map("inh")) @ heads("W_v")
    r = ((o * o).mean(axis=-1, keepdims=True) + eps) ** -0.5
    return ops.merge_heads((1 - lambda_init) * p["w_norm"] * r * o) @ p["W_o"]


cfg = attention.AttentionConfig(kind="diff_v1", width=24, n_heads=3)
p = attention.init_attention(cfg, rng, "float64")
x = rng.standard_normal((2, 5, 24))
for layer in (0, 3):
    y, cache = attention_forward(x, p, cfg, layer=layer)
    assert abs(layer_forward(x, p, 3, depth_schedule(layer)) - y).max() < 1e-14
print({name: W.shape for name, W in p.items()})

# %%
for kind in ("diff_v1", "diff_v2"):
    cfg = attention.AttentionConfig(kind=kind, width=12, n_heads=3)
    p_small = attention.init_attention(cfg, rng, "float64")
    args = rng.standard_normal((2, 4, 12)), p_small, cfg, attention.causal_mask(4)
    results = check_pair(attention_forward, attention_backward, args)
    print(f"{kind}: {len(results)} gradients, largest error {max(r.error for r in results):.0e}")

# %% [markdown]
# ## 8. Questions that users ask
#
# **Why are heads halved, and why is $v$ twice as wide?** So that it costs the same as softmax
# attention, and a comparison is fair. With the key width $d$ kept, $2H$ softmax heads have $2H$
# maps. $H$ differential heads have $2H$ maps too, in pairs. Each pair has one output, so it is
# given $2d$ values, and the widths add up to $C = 2Hd$ again. Operations in matrix products of the
# maps, per sequence:
#
# $$ \underbrace{2H \cdot 2T^2 (d + d)}_{2H\ \text{softmax heads}} = 8\,H T^2 d
# = \underbrace{H \cdot \big( 2 \cdot 2 T^2 d + 2T^2\, (2d) \big)}_{H\ \text{differential heads}} $$
#
# provided that the maps are subtracted *before* they meet $v$. On tiles
# ([09](09_from_formulas_to_fast_code.ipynb)) nobody ever has the fused map: there each map meets
# $v$ alone, and the differential heads take half as many again,
# $2H \cdot 2T^2 (d + 2d) = 12\,H T^2 d$. Parameters: $4C^2$ against $4C^2 + 4d + 2d$, the $\lambda$
# vectors and the gain. We read the sizes of all these products off the caches, and count the
# parameters.

# %%
def operations(head):
    """A multiplication and an addition for each term of each product of the head, forward."""
    if hasattr(head, "Q"):  # on tiles: n queries, keys and outputs
        return 2 * head.Q.size * head.K.shape[-2] + 2 * head.o_each.size * head.v.shape[-2]
    maps = [head.map] if hasattr(head, "map") else [head.exc, head.inh]
    return sum(2 * m.q.size * m.k.shape[-2] for m in maps) + 2 * head.A.size * head.v.shape[-1]


C, H, T, flops, parameters = 64, 4, 16, {}, {}
d = C // (2 * H)
for kind, n_heads in (("softmax", 2 * H), ("diff_v1", H), ("diff_v2", H)):
    for impl in ("plain", "tiled"):
        cfg = attention.AttentionConfig(kind=kind, width=C, n_heads=n_heads, impl=impl)
        p = attention.init_attention(cfg, rng, "float64")
        _, cache = attention_forward(rng.standard_normal((1, T, C)), p, cfg)
        flops[kind, impl], parameters[kind] = operations(cache.head), count(p)
    print(f"{kind:8} {n_heads} heads: {parameters[kind]:,} parameters; operations of the heads, forward: "
          f"{flops[kind, 'plain']:,} plain, {flops[kind, 'tiled']:,} on tiles")  # fmt: skip
assert flops["softmax", "plain"] == flops["diff_v1", "plain"] == flops["softmax", "tiled"] == 8 * H * T**2 * d
assert flops["diff_v1", "tiled"] == 12 * H * T**2 * d
assert parameters["softmax"] == 4 * C * C and parameters["diff_v1"] == 4 * C * C + 4 * d + 2 * d
assert parameters["diff_v2"] == 5 * C * C + C * H

# %% tags=["blank"]
# Your turn: make C and H both twice as large. How many parameters more than softmax attention has diff_v1 then?
more_than_softmax = ...


def size_of(kind, n_heads):
    twice = attention.AttentionConfig(kind=kind, width=2 * C, n_heads=n_heads)
    return count(attention.init_attention(twice, np.random.default_rng(0)))


blank(more_than_softmax, size_of("diff_v1", 2 * H) - size_of("softmax", 4 * H), "What happens to d?")

# %% [markdown]
# The plain heads are exactly equal in operations, forward and so backward too (04, section 12), and
# $6d$ parameters apart; on tiles they are not equal. Not counted: the exponentials (equal, $2H$
# maps each), the subtraction and the norm. V2 makes another choice: it keeps the number of heads
# *of keys and values*, doubles the queries, and pays for it.
#
# **Why is $\lambda$ shared by all heads in V1?** We know that it is so, in the published code; a
# reason we have not found stated. Cost is none: a $\lambda$ per head would be a few numbers more.
# Nor do the formulas need it. The library's head takes any $\lambda$ that broadcasts to (B, H, T),
# and its gradient is summed back to that shape:

# %%
B, H, T, d = 2, 3, 4, 4
q_exc, k_exc, q_inh, k_inh = rng.standard_normal((4, B, H, T, d))
v = rng.standard_normal((B, H, T, 2 * d))
for shape in ((), (H, 1), (B, H, T)):  # one per layer; one per head; one per token and head
    args = (q_exc, k_exc, q_inh, k_inh, v, rng.uniform(0.2, 0.8, shape))
    results = check_pair(differential_head_forward, differential_head_backward, args)
    print(f"lambda {shape!s:9}: differs from the complex step by {results[-1].error:.0e}")
    assert results[-1].argument == "lam" and results[-1].ok

# %% [markdown]
# **Does subtraction lose information?** $\lambda = 0$ is softmax attention, so whatever that
# computes is still within reach (section 2). What it weakens is the part that all values share, by
# $1 - \lambda$; at $\lambda = 1$ alone that part is gone, and no later layer can bring it back from
# this head. The residual stream around the layer still has it.
#
# **Why are the gains so small here?** Known: the published gains are for language models very much
# larger than anything here. In this repository ([evidence](../docs/evidence.md)) gated attention is
# 0.7 to 0.8 points above softmax on clean images, and so is this chapter's form where its $\lambda$
# starts at 0.8 in every layer. On corrupted images the lead is brightness and contrast, which says
# something about pixels, not about attention in general. Not known: whether a larger gain needs long
# contexts with much to ignore, many layers, or much training. Nor can a small experiment decide it
# by a single run: on the 180 validation digits that we use, the choice of these digits alone gives
# an accuracy of 0.95 a standard error of 1.6 points.
#
# ## 9. Look at one: a trained head on a real digit
#
# One block of `diff_v1`, trained for 8 epochs (a second or two). The head shown is the one whose
# two maps resemble each other most.

# %% mystnb={"image": {"alt": "A digit 8, and three maps of 16 by 16 patches on one scale: several pale red columns in A_exc, one strong red column in A_inh, and in their difference the same column in blue."}}
digits = data.load("digits")
n_valid = len(digits.valid.targets)
assert n_valid == 180 and abs(math.sqrt(0.95 * 0.05 / n_valid) - 0.016) < 5e-4
cfg = model.ModelConfig(kind="diff_v1", width=32, n_heads=4, depth=1, patch_size=2)
trained = train(cfg, TrainConfig(epochs=8, device="cpu"), digits)
image = digits.test.inputs[7:8]
_, c = model.model_forward(image, trained.params, cfg)
head = c.blocks[0].attention.head
overlap = (np.minimum(head.A_exc, head.A_inh)).sum(axis=-1).mean(axis=(0, 2))  # 1 where the maps are equal
h, m = int(overlap.argmax()), max(head.A_exc.max(), head.A_inh.max())
lam = float(head.lam)
fig, axes = plt.subplots(1, 4, figsize=(9, 2.9), width_ratios=(0.75, 1, 1, 1))
axes[0].imshow(image[0], cmap="gray_r")
axes[0].set_title(f"a test digit: {digits.test.targets[7]}")
axes[0].axis("off")
maps = {"excitatory A_exc": head.A_exc, "inhibitory A_inh": head.A_inh, f"A_exc - {lam:.2f} A_inh": head.A}
for ax, (title, A) in zip(axes[1:], maps.items(), strict=True):
    drawn = ax.imshow(A[0, h], cmap="RdBu_r", vmin=-m, vmax=m)
    ax.set(title=title, xlabel="key patch")
    ax.grid(False)
axes[1].set_ylabel("query patch")
fig.colorbar(drawn, ax=axes[1:].tolist(), label="attention weight", shrink=0.8)
plt.show()
print(f"overlap of the two maps, by head: {overlap.round(2)}; shown: head {h}")
print(f"lambda after training: {lam:.3f}; it started near 0.2")
print(f"smallest weight {head.A[0, h].min():.3f}; entries below zero: {(head.A[0, h] < 0).mean():.0%}")
assert abs(head.A.sum(axis=-1) - (1 - lam)).max() < 1e-6  # single precision
assert abs(lam - 0.2) > 0.1 and overlap.max() < 0.9

# %% tags=["blank"]
# Your turn: what do all 256 weights of the fused map add up to? A formula with lam.
all_weights = ...
blank(all_weights, head.A[0, h].sum(), "There are 16 rows. What does each sum to?", rtol=1e-4)  # single precision

# %% [markdown]
# All three on one scale, white at zero, patches numbered row by row. Blue marks keys that this head
# takes away. Training moved $\lambda$ far from where it started. Do not expect the clean
# cancellation of section 1 in so small a model: the overlap of the two maps, printed for each head,
# is 1 only where they are equal.
#
# ## 10. The second version
#
# V2 (Ye et al., January 2026; [their note](https://huggingface.co/blog/microsoft/diff-attn-v2))
# changes five things: the two queries look at **the same** $k$ and $v$ (in V1 they share $v$ only);
# heads are not halved; $\lambda$ is a sigmoid, **per token and head**; there is no head norm, and
# no $\lambda_{init}$. `[eq:differential-v2-head, published]`, `[eq:token-lambda, published]`:
#
# $$ A = \mathrm{softmax}\Big(\tfrac{q_{exc} k^T}{\sqrt d}\Big)
# - \lambda\; \mathrm{softmax}\Big(\tfrac{q_{inh} k^T}{\sqrt d}\Big),
# \qquad \lambda = \sigma(x W_\lambda), \qquad o = A v $$
#
# So V2's head *is* V1's head, called with `k_exc = k_inh = k`. Then $k$ has two uses, and the rule
# of notebook 04 gives the whole backward: **what is used twice gets the sum.**
#
# $$ dk = dk_{exc} + dk_{inh}, \qquad dz = \lambda (1 - \lambda)\, d\lambda, \qquad dW_\lambda = x^T dz $$

# %%
k, lam = k_exc, sigmoid(rng.standard_normal((B, H, T)))
do = rng.standard_normal((B, H, T, 2 * d))
o1, cache1 = differential_head_forward(q_exc, k, q_inh, k, v, lam)
o2, cache2 = differential_v2_head_forward(q_exc, q_inh, k, v, lam)
assert (o1 == o2).all()
dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam = differential_head_backward(do, cache1)
derived = (dq_exc, dq_inh, dk_exc + dk_inh, dv, dlam)
for ours, library in zip(derived, differential_v2_head_backward(do, cache2), strict=True):
    assert abs(ours - library).max() < 1e-15
check_pair(differential_v2_head_forward, differential_v2_head_backward, (q_exc, q_inh, k, v, lam))

x, W = rng.standard_normal((B, T, 6)), rng.standard_normal((6, H))
lam, lam_cache = token_lambda_forward(x, {"W_lambda": W}, None)  # no setting of a configuration plays a part
dz = swap(dlam) * sigmoid(x @ W) * (1 - sigmoid(x @ W))  # (B, T, H)
dx, grads = token_lambda_backward(dlam, lam_cache)
assert abs(swap(lam) - sigmoid(x @ W)).max() < 1e-15 and abs(dx - dz @ W.T).max() < 1e-14
assert abs(grads["W_lambda"] - np.einsum("btc,bth->ch", x, dz)).max() < 1e-14

# %% tags=["blank"]
# Your turn: both queries are the same, q_exc. The output, in one line, from softmax_head_forward and lam.
with_equal_queries = ...
o_equal = differential_v2_head_forward(q_exc, q_exc, k, v, lam)[0]
blank(with_equal_queries, o_equal, "Two equal maps. lam is (B, H, T), o is (B, H, T, 2d).")

# %%
def half_of_dk(do, cache):
    """As differential_v2_head_backward, but the second use of k is forgotten."""
    dq_exc, dk_exc, dq_inh, dk_inh, dv, dlam = differential_head_backward(do, cache)
    return dq_exc, dq_inh, dk_exc, dv, dlam


results = compare_pair(differential_v2_head_forward, half_of_dk, (q_exc, q_inh, k, v, lam))
for r in results:
    print(f"d{r.argument}: {'right' if r.ok else r.message}")
assert [r.argument for r in results if not r.ok] == ["k"]

# %% [markdown]
# ### The mistake to avoid: subtracting heads that do not share k and v
#
# In V2 the queries lie in $2H$ heads and keys and values in $H$. Common code repeats the keys so
# that each query head finds its own: query heads $2i$ and $2i+1$ read key head $i$. Then the two
# that are subtracted must be $2i$ and $2i+1$. It is tempting to cut the array in halves instead,
# $i$ and $i + H$: the shapes fit. But those two have different keys and different values, and
# nothing is left to cancel:
#
# $$ o_i = A_{exc,i}\, v_i - \lambda A_{inh,i}\, v_i \qquad\text{against}\qquad
# o_i = A_{i}\, v_{\lfloor i/2 \rfloor} - \lambda A_{i+H}\, v_{\lfloor (i+H)/2 \rfloor} $$
#
# A gradient check sees nothing, since it is a function like any other. A *property* sees it: if
# both queries of every pair are equal and $\lambda = 1$, the output must be 0.

# %%
H = 4
q_pair, (k, v) = rng.standard_normal((B, H, T, d)), rng.standard_normal((2, B, H, T, d))
q_all = np.repeat(q_pair, 2, axis=1)  # (B, 2H, T, d): heads 2i and 2i+1 ask the same
o_all, c_all = softmax_head_forward(q_all, np.repeat(k, 2, axis=1), np.repeat(v, 2, axis=1))
neighbours = o_all[:, 0::2] - 1.0 * o_all[:, 1::2]
halves = o_all[:, :H] - 1.0 * o_all[:, H:]
by_formula = c_all.A[:, 1] @ v[:, 0] - c_all.A[:, 1 + H] @ v[:, (1 + H) // 2]  # i = 1
assert abs(halves[:, 1] - by_formula).max() < 1e-14
print(f"largest output: neighbours {abs(neighbours).max():.1e}, halves {abs(halves).max():.2f}")
o, _ = differential_v2_head_forward(q_pair, q_pair, k, v, np.ones((B, H, T)))
assert abs(neighbours).max() == 0 and abs(o).max() == 0 and abs(halves).max() > 0.1

c = 5 * rng.standard_normal((B, H, 1, d))  # a constant per head, added to its values
moved, _ = softmax_head_forward(q_all, np.repeat(k, 2, axis=1), np.repeat(v + c, 2, axis=1))
assert abs(moved[:, 0::2] - moved[:, 1::2]).max() < 1e-14  # rejected
assert abs(moved[:, :H] - moved[:, H:] - halves).max() > 1  # not rejected

# %% [markdown]
# ## 11. The question that is left
#
# Return to section 1. There the best $\lambda^* = Z/Z'$ cleaned a row completely. But $Z$ and $Z'$
# are sums over that row: **each query has its own best $\lambda$**. V1 has one for the whole layer.
# How much does that cost, in the example that suits subtraction best? 400 rows with a shared
# background; the match $m$ now differs from row to row, between 1 and 5.

# %% mystnb={"image": {"alt": "Left: a histogram of the best lambda of 400 rows; they spread from 0 to 1, and crowd near 1. Right: the mean share of the needle with one lambda for all rows rises from that of softmax alone, 0.3, to about 0.55; with the best lambda of each row it is 1."}}
matches = rng.uniform(1, 5, (n_rows, 1))
exc, _ = softmax_forward(b1 + matches * (np.arange(n_keys) == needle))
inh, _ = softmax_forward(b1)
Z = np.exp(b1).sum(axis=-1)
best = Z / (Z + (np.exp(matches[:, 0]) - 1) * np.exp(b1[:, needle]))
grid = np.linspace(0, 1, 101)
single = np.array([share(exc - lam * inh).mean() for lam in grid])
per_row = share(exc - best[:, None] * inh)
assert abs(per_row - 1).max() < 1e-12

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.3))
left.hist(best, bins=20, range=(0, 1), color=ORANGE)
left.set(xlabel="best lambda of a row", ylabel="rows", title="every query has a best lambda of its own")
right.plot(grid, single, color=ORANGE, label="one lambda for all rows")
right.axhline(per_row.mean(), color=GREEN, label="the best lambda of each row")
right.axhline(share(exc).mean(), color=BLUE, ls="--", label="softmax alone")
right.set(xlabel="lambda", ylabel="mean share of the needle", ylim=(0, 1.05))
right.set_title("one lambda for all is a compromise")
right.legend(fontsize=8, loc="lower left")
plt.show()
print(f"mean share: softmax {share(exc).mean():.2f}, a lambda per row {per_row.mean():.2f}")
print(f"one lambda for all rows: {single.max():.2f} at best, with lambda {grid[single.argmax()]:.2f}")
assert share(exc).mean() < single.max() < per_row.mean()

# %% tags=["blank"]
# Your turn: does the best lambda of a row rise (1) or fall (-1) with its match m?
rises_or_falls = ...
blank(rises_or_falls, np.sign(np.corrcoef(matches[:, 0], best)[0, 1]), "lambda* = Z / Z'. In which of the two is m?")

# %% [markdown]
# Even here, where subtraction is at its best, one number for all rows leaves much of the haze. The
# example is ours and made to show this; whether a trained network gains from it is a question of
# experiment.
#
# ## What you now know
#
# - $A = A_{exc} - \lambda A_{inh}$ cancels what both maps share, and only that. Its backward is
#   softmax attention's, twice, with factors $1$ and $-\lambda$;
#   $d\lambda = -\langle do, A_{inh} v\rangle$.
# - The head norm removes the scale, $(1 - \lambda_{init})$ sets it again; whether near softmax
#   attention's depends on the data. Halved heads make parameters (all but $6d$) and, in the plain
#   head, operations equal.
# - V2 shares $k$ and $v$, so $dk$ is a sum; the two maps that are subtracted must read the same
#   keys and values.
#
# **Three things to try**
# 1. In section 1 give the second map a *weaker* needle (`0.5 * bump`). Does any $\lambda$ still
#    clean the row? Derive it.
# 2. In section 6 repeat the measurement with 16 and with 256 tokens. Which curve moves, and why?
# 3. Train $\lambda$ as a plain number: fix the four vectors to zero, and move `lambda_init` by
#    `dlam`. What changes in the first steps?
#
# **Should $\lambda$ depend on the token, and be free in each head?** V2 says yes. So does M-DGSA,
# with a gate that weighs both maps. Next: [06 The gate](06_the_gate.ipynb).
