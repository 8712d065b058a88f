# %% [markdown]
# # 07 A transformer by hand
# *Deep dive; the whole idea in 45 minutes is in [start_here](start_here.ipynb).*
#
# A head is not a model. Here we build what stands around it: an image becomes tokens, tokens pass
# through residual blocks, their mean is classified, a loss is measured, and a gradient comes back
# through all of it to the first matrix. Then the optimiser, line by line, and training on real
# handwritten digits. Nothing is hidden: no automatic differentiation, no framework.
#
# - **You will do**: cut a digit into patches, write the backward of a block and of SwiGLU, write
#   AdamW, overfit 32 digits, train on 1,257, and look into a trained head.
# - **You will learn**: where gradients fork and why they are added there; what the loss must be
#   before the first step; what each part of AdamW is for; what "it trains" proves, and what it does
#   not.
# - **You need**: [04 attention backward](04_attention_backward.ipynb) and
#   [06 the gate](06_the_gate.ipynb); the chain rule for matrices.
# - **Time**: 60 minutes, and 20 for the ten blanks: in a cell that begins with `# Your turn` replace
#   the dots and run it again, and it says whether you are right. The cells take about half a
#   minute, most of it training.

# %%
try:
    import dgsa_np  # noqa: F401
except ModuleNotFoundError:  # as on Colab: install it, from where this notebook comes
    source = "..[notebooks]"  # this checkout; make address puts the repository here
    get_ipython().run_line_magic("pip", f'install --quiet "{source}"')  # noqa: F821

# %%
import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

from dgsa_np import layers, model, ops, optim
from dgsa_np.attention import attention_backward, attention_forward
from dgsa_np.data import load
from dgsa_np.gradcheck import check_pair, compare_pair, complex_step
from dgsa_np.lab.baselines import classifiers
from dgsa_np.lab.blank import blank
from dgsa_np.layers import patches
from dgsa_np.losses import cross_entropy_backward, cross_entropy_forward
from dgsa_np.model import ModelConfig, init_model, loss_and_grads, model_backward, model_forward
from dgsa_np.params import count, flatten, tree_map
from dgsa_np.train import TrainConfig, evaluate, train

plt.style.use("dgsa_np.lab.viz")
threadpool_limits(1)  # our matrices are small: one thread of BLAS is faster than several
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1. From an image to tokens
#
# Attention works on a list of vectors. A digit is 8 x 8 grey levels between 0 and 1, so we cut it
# into tiles of 2 x 2 pixels, row by row: 16 patches of 4 numbers each. A patch is a list of
# numbers, nothing more; within it, too, the pixels go row by row. First with loops, then the
# library's one line of `reshape`.

# %%
data = load("digits")
cfg = ModelConfig(width=32, depth=2, patch_size=2)  # kind "dgsa", 4 heads
images, targets = data.test.inputs[:5].astype("float64"), data.test.targets[:5]

rows = []
for top in range(0, 8, 2):
    for left in range(0, 8, 2):
        rows.append(images[0, top : top + 2, left : left + 2].ravel())
patches_by_hand = np.array(rows)  # (16, 4)

assert np.array_equal(patches_by_hand, patches(images, cfg)[0])
print("patch 5, of", f"a {targets[0]}:", patches_by_hand[5])

# %% tags=["blank"]
# Your turn: number 2 of patch 9 is which pixel, (row, column)? Everything counts from 0.
its_row, its_column = ..., ...
numbered = np.arange(64.0).reshape(1, 8, 8)  # each pixel holds 8 row + column
blank((its_row, its_column), divmod(patches(numbered, cfg)[0, 9, 2], 8),
      "Four patches to a row, two pixels to a row of a patch.")  # fmt: skip

# %% [markdown]
# Each patch goes through one linear map, the same for all, and a vector that belongs to its place
# is added (`[eq:patch-embed, choice]`):
#
# $$x_t = \mathrm{patch}_t\, W + b + p_t, \qquad t = 1 \dots N$$
#
# with $W$ of shape (4, C), $b$ and the positions $p_t$ of width C. All three are learned.

# %%
params = init_model(cfg, np.random.default_rng(0), dtype="float64")
embed = params["embed"]
x = patches(images, cfg) @ embed["W"] + embed["b"] + embed["positions"]  # (5, 16, 32)

x_library, _ = layers.patch_embed_forward(images, embed, cfg)
logits, cache = model_forward(images, params, cfg)
assert abs(x - x_library).max() < 1e-12 and x.shape == (5, 16, 32)
empty = abs(patches_by_hand).max(axis=1) == 0  # patches without ink
assert empty.any() and abs(x[0] - (embed["b"] + embed["positions"]))[empty].max() == 0

# %% mystnb={"image": {"alt": "Left, a handwritten 7 of 8 by 8 pixels under a grid of 16 numbered patches. Middle, the patches as rows of four grey levels, several of them white. Right, the 16 tokens as rows of 32 numbers on a signed scale: the rows of white patches are nearly white, those with ink are red and blue."}}
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3.2), width_ratios=(1.1, 0.55, 1.6))
left.imshow(images[0], cmap="gray_r", vmin=0, vmax=1, extent=(0, 8, 8, 0))
for t in range(16):
    place = 2 * (t % 4) + 1, 2 * (t // 4) + 1
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85}
    left.text(*place, t, ha="center", va="center", color="#B34700", weight="bold", bbox=box)
left.set(title=f"a {targets[0]}, cut into 16 patches", xticks=range(0, 9, 2), yticks=range(0, 9, 2))
left.grid(color="#D55E00", lw=0.8)
left.set(xlabel="pixel column", ylabel="pixel row", axisbelow=False)
middle.imshow(patches_by_hand, cmap="gray_r", vmin=0, vmax=1, aspect="auto")
middle.set(title="patches", xlabel="pixel in patch", ylabel="patch", xticks=range(4), yticks=range(0, 16, 5))
m = abs(x[0]).max()
drawn = right.imshow(x[0], cmap="RdBu_r", vmin=-m, vmax=m, aspect="auto")
right.set(title="tokens: patch W + b + position", xlabel="column of x", ylabel="token")
right.set_yticks(range(0, 16, 5))
for ax in (middle, right):
    ax.grid(False)
figure.colorbar(drawn, ax=right, label="value of x (no unit)")
plt.show()

# %% [markdown]
# Empty patches, white in the middle panel, become tokens that are $b + p_t$ and nothing else. From
# here on the model never sees the image again, only these 16 vectors.
#
# **Why positions?** Attention treats its tokens as a set: shuffle them, and its outputs are
# shuffled likewise. The mean over the tokens does not notice a shuffle at all. So without positions
# the model could not tell a digit from the same patches in any other order. That is a claim we can
# test: set the positions to zero, shuffle the patches, and compare the logits.

# %%
tiles = images.reshape(5, 4, 2, 4, 2).swapaxes(2, 3).reshape(5, 16, 2, 2)
order = rng.permutation(16)
shuffled = tiles[:, order].reshape(5, 4, 4, 2, 2).swapaxes(2, 3).reshape(5, 8, 8)

blind = {**params, "embed": {**embed, "positions": 0 * embed["positions"]}}
blind_change = abs(model_forward(shuffled, blind, cfg)[0] - model_forward(images, blind, cfg)[0]).max()
seeing_change = abs(model_forward(shuffled, params, cfg)[0] - logits).max()
assert blind_change < 1e-12 < 1e-6 < seeing_change
print(f"largest change of a logit by the shuffle: {blind_change:.1e} without positions, ", end="")
print(f"{seeing_change:.1e} with them")

# %% [markdown]
# **Stop and think.** What is the gradient of $b$, of $p_t$ and of $W$, when the gradient `dx` (B,
# N, C) has come back?
#
# <details><summary>Answer</summary>
#
# Each sums over the axes along which it served many. $b$ served every image and every token: sum
# over both. $p_t$ served every image: sum over the batch. $W$ met every patch: $dW = \sum$
# patch$^T$ dx over all places.
# </details>

# %%
dx = rng.standard_normal(x.shape)
db = dx.sum(axis=(0, 1))  # (C,)
dpositions = dx.sum(axis=0)  # (N, C)
dW = np.einsum("bni,bnc->ic", patches(images, cfg), dx)  # (4, C)


def embedded(W):
    return (dx * (patches(images, cfg) @ W + embed["b"] + embed["positions"])).sum()


assert abs(dW - complex_step(embedded, embed["W"])).max() < 1e-12
assert abs(db - dpositions.sum(axis=0)).max() < 1e-12

# %% [markdown]
# ## 2. The block: two residual steps
#
# A block changes $x$ twice, each time by adding something to it (`[eq:block, choice]`): first what
# the tokens say to each other, then what each token makes of itself. The norm comes before the
# work, not after it: "pre-norm".
#
# $$x_1 = x + \mathrm{attention}(\mathrm{norm}_1(x))$$
# $$x_2 = x_1 + \mathrm{mlp}(\mathrm{norm}_2(x_1))$$

# %%
p = params["blocks"][0]

n1, norm1 = ops.rmsnorm_forward(x, p["norm1"]["w"], cfg.eps)
a, attention = attention_forward(n1, p["attention"], cfg)
x1 = x + a
n2, norm2 = ops.rmsnorm_forward(x1, p["norm2"]["w"], cfg.eps)
m, mlp = ops.swiglu_forward(n2, **p["mlp"])
x2 = x1 + m

x_library, block_cache = model.block_forward(x, p, cfg)
assert abs(x2 - x_library).max() < 1e-12

# %% [markdown]
# **The backward, by the mirror rule.** Read the forward from its last line to its first, and undo
# each line. Two lines need thought, since in them a value *forks*: $x_1$ is used by the sum and by
# the norm; so is $x$. When a value goes two ways, its gradients come back two ways, and they are
# *added* ($J$ is the Jacobian of what stands in its index, $dx_2$ the gradient from above):
#
# $$dx_1 = dx_2 + J_{\mathrm{mlp} \circ \mathrm{norm}_2}^T\, dx_2, \qquad
#   dx = dx_1 + J_{\mathrm{attention} \circ \mathrm{norm}_1}^T\, dx_1$$
#
# The first term of each sum matters: whatever the layers do, the gradient from above also arrives
# below as it is. That is what a residual connection is for.

# %%
dx2 = rng.standard_normal(x2.shape)

# x2 = x1 + m                                                     the fork of x1: one way is the sum
dm, dx1_from_sum = dx2, dx2
# m, mlp = ops.swiglu_forward(n2, **p["mlp"])
dn2, *dmlp = ops.swiglu_backward(dm, mlp)
# n2, norm2 = ops.rmsnorm_forward(x1, p["norm2"]["w"], cfg.eps)   ... the other way is the norm
dx1_from_norm, dw2 = ops.rmsnorm_backward(dn2, norm2)
dx1 = dx1_from_sum + dx1_from_norm
# x1 = x + a                                                      the fork of x
da, dx_from_sum = dx1, dx1
# a, attention = attention_forward(n1, p["attention"], cfg)
dn1, dattention = attention_backward(da, attention)
# n1, norm1 = ops.rmsnorm_forward(x, p["norm1"]["w"], cfg.eps)
dx_from_norm, dw1 = ops.rmsnorm_backward(dn1, norm1)
dx = dx_from_sum + dx_from_norm

dx_library, grads = model.block_backward(dx2, block_cache)
assert abs(dx - dx_library).max() < 1e-12
assert abs(dw1 - grads["norm1"]["w"]).max() < 1e-12 and abs(dw2 - grads["norm2"]["w"]).max() < 1e-12
assert all(abs(dattention[name] - g).max() < 1e-12 for name, g in grads["attention"].items())
assert all(abs(ours - g).max() < 1e-12 for ours, g in zip(dmlp, grads["mlp"].values(), strict=True))

# %% tags=["blank"]
# Your turn: some start with W_o = 0 and W_down = 0, so that both layers say nothing yet.
# dx2 comes from above such a block. What comes out below it?
comes_out_below = ...
mute = {**p, "attention": {**p["attention"], "W_o": 0 * p["attention"]["W_o"]}}
mute["mlp"] = {**p["mlp"], "W_down": 0 * p["mlp"]["W_down"]}
of_mute_block = model.block_forward(x, mute, cfg)[1]
blank(comes_out_below, model.block_backward(dx2, of_mute_block)[0], "Of the two ways at each fork, one is left.")

# %% [markdown]
# **The usual mistake** is to lose one of the two ways, here the sum: $x_2 = x_1 + m$ is undone for
# $m$ alone. The shapes are right, the program runs, the model may even train. A gradient check sees
# it at once. (A block small enough for every number to be checked.)

# %%
small = ModelConfig(width=8, n_heads=2, depth=1, ffn_width=6)
small_p = init_model(small, np.random.default_rng(1), "float64")["blocks"][0]
small_x = rng.standard_normal((1, 3, 8))


def forgetful_backward(dx2, cache):
    dn2, *dmlp = ops.swiglu_backward(dx2, cache.mlp)
    dx1, dw2 = ops.rmsnorm_backward(dn2, cache.norm2)  # should be dx2 + ...
    dn1, dattention = attention_backward(dx1, cache.attention)
    dx_from_norm, dw1 = ops.rmsnorm_backward(dn1, cache.norm1)
    dmlp = dict(zip(("W_gate", "W_up", "W_down"), dmlp, strict=True))
    return dx1 + dx_from_norm, {
        "norm1": {"w": dw1}, "attention": dattention, "norm2": {"w": dw2}, "mlp": dmlp
    }  # fmt: skip


check_pair(model.block_forward, model.block_backward, (small_x, small_p, small))
results = compare_pair(model.block_forward, forgetful_backward, (small_x, small_p, small))
right = [r.argument for r in results if r.ok]
print(f"{len(results) - len(right)} of {len(results)} gradients are wrong; right:", ", ".join(right))
assert len(results) == 15 and len(right) == 4
assert right == ["p.norm2.w", "p.mlp.W_gate", "p.mlp.W_up", "p.mlp.W_down"]

# %% [markdown]
# Four are right: what the backward had computed before the mistake. All that comes after it is
# wrong. So the list of what is wrong says where to look.
#
# ## 3. SwiGLU, the feed-forward layer
#
# Each token, alone, is sent to a wider space and back. Two projections are multiplied, one of them
# through $\mathrm{silu}(a) = a\,\sigma(a)$ (`[eq:swiglu, standard]`). With $a = x W_{gate}$,
# $u = x W_{up}$ and $s = \mathrm{silu}(a)$ the forward is $y = (s \odot u)\, W_{down}$. (This
# $W_{gate}$ has nothing to do with the gate of the attention.) Its backward has nothing that
# [00](00_how_to_read.ipynb) has not derived: the linear map, silu's slope, and the fork of $x$,
# which went into $a$ and into $u$:
#
# $$dh = dy\, W_{down}^T, \qquad du = dh \odot s, \qquad da = dh \odot u \odot \mathrm{silu}'(a), \qquad
#   dx = du\, W_{up}^T + da\, W_{gate}^T$$

# %%
W_gate, W_up, W_down = (p["mlp"][name] for name in ("W_gate", "W_up", "W_down"))
a, u = n2 @ W_gate, n2 @ W_up  # (B, T, F)
s, silu_cache = ops.silu_forward(a)
y, dy = (s * u) @ W_down, rng.standard_normal(n2.shape)

dh = dy @ W_down.T
du, da = dh * s, ops.silu_backward(dh * u, silu_cache)
weight_grad = lambda x, dy: np.einsum("btn,btm->nm", x, dy)  # noqa: E731
by_hand = (du @ W_up.T + da @ W_gate.T, weight_grad(n2, da), weight_grad(n2, du), weight_grad(s * u, dy))

y_library, swiglu_cache = ops.swiglu_forward(n2, W_gate, W_up, W_down)
assert abs(y - y_library).max() < 1e-12
for ours, theirs in zip(by_hand, ops.swiglu_backward(dy, swiglu_cache), strict=True):
    assert abs(ours - theirs).max() < 1e-12

# %% tags=["blank"]
# Your turn, on paper, with one number each: x = 1, W_gate = 0, W_up = 3, W_down = 1 and dy = 2.
dW_gate_on_paper, dW_up_on_paper = ..., ...
of_numbers = ops.swiglu_forward(np.ones((1, 1, 1)), *np.array([0.0, 3.0, 1.0]).reshape(3, 1, 1))[1]
in_the_library = ops.swiglu_backward(np.full((1, 1, 1), 2.0), of_numbers)  # dx, dW_gate, dW_up, dW_down
blank((dW_gate_on_paper, dW_up_on_paper), (in_the_library[1].item(), in_the_library[2].item()),
      "silu(0) = 0 and silu'(0) = 1/2.")  # fmt: skip

# %% [markdown]
# ## 4. The head of the model, and the loss
#
# After the last block one more norm, then the mean over the tokens, a linear map to ten logits $z$,
# and the cross-entropy: minus the logarithm of the probability given to the right class, averaged
# over the batch (`[eq:model, choice]`, `[eq:cross-entropy, standard]`).
#
# $$L = \frac{1}{B} \sum_{i=1}^{B} \Big( \log \sum_j e^{z_{ij}} - z_{i, y_i} \Big)$$

# %%
for layer, block in enumerate(params["blocks"]):
    x, _ = model.block_forward(x, block, cfg, layer=layer)
n, _ = ops.rmsnorm_forward(x, params["norm"]["w"], cfg.eps)
pooled = n.mean(axis=1)  # (B, C)
z = pooled @ params["head"]["W"] + params["head"]["b"]  # (B, 10)
assert abs(pooled - layers.mean_pool_forward(n)[0]).max() < 1e-12
assert abs(z - logits).max() < 1e-12  # the whole of model_forward, by hand

loss = np.mean([np.log(np.exp(z[i]).sum()) - z[i, targets[i]] for i in range(5)])
loss_library, loss_cache = cross_entropy_forward(z, targets)
assert abs(loss - loss_library) < 1e-12 and abs(loss - 2.29) < 5e-3
print(f"loss of the untrained model on {len(z)} digits: {loss:.4f} nats")

# %% [markdown]
# Its gradient is the simplest of all. $\partial \log \sum_j e^{z_j} / \partial z_k = P_k$, the
# softmax, and the second term takes 1 away at the right class:
#
# $$\frac{\partial L}{\partial z_{ik}} = \frac{1}{B} \big( P_{ik} - [k = y_i] \big)$$
#
# Note the $1/B$: it comes from the mean and is easily forgotten. We come back to it in section 10.

# %%
P = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
dz = (P - (targets[:, None] == np.arange(10))) / len(z)
assert abs(dz - cross_entropy_backward(loss_cache)).max() < 1e-12
assert abs(dz - complex_step(lambda z: cross_entropy_forward(z, targets)[0], z)).max() < 1e-12
assert abs(dz.sum(axis=1)).max() < 1e-12  # what is taken from one class is given to the others

# %% [markdown]
# **What must the loss be before the first step?** The classifier starts small, N(0, 0.02²), so all
# logits are near 0 and each of the ten classes gets about 1/10. If they were exactly 0:
#
# $$L_0 = \log \sum_{j=1}^{10} e^0 - 0 = \ln 10 \approx 2.303$$
#
# This is the first number to look at in any training. Far above $\ln 10$ means that the logits
# start too large: the model is sure of itself and wrong, and the first epochs go into unlearning
# that. *Clearly* below it means that labels leak. (A little below is chance: the five digits above
# happened to give 2.29.)

# %%
x0, y0 = data.train.inputs[:256].astype("float64"), data.train.targets[:256]


def loss_with_classifier(scale):
    head = {"W": scale / 0.02 * params["head"]["W"], "b": params["head"]["b"]}
    return float(cross_entropy_forward(model_forward(x0, {**params, "head": head}, cfg)[0], y0)[0])


at_zero, at_start, too_large = (loss_with_classifier(scale) for scale in (0, 0.02, 2))
assert abs(at_zero - np.log(10)) < 1e-12
assert abs(at_start - np.log(10)) < 0.1 and too_large > 2 * at_start
print(f"ln 10 = {np.log(10):.4f}; loss with a classifier of size 0: {at_zero:.4f}, ", end="")
print(f"0.02: {at_start:.4f}, 2: {too_large:.4f}")

# %% tags=["blank"]
# Your turn: a model of texts chooses the next of 64 characters. What must its loss be before the first
# step, in nats?
first_loss_of_text = ...
blank(first_loss_of_text, cross_entropy_forward(np.zeros((1, 64)), np.zeros(1, int))[0], "Each gets 1/64.", rtol=1e-3)

# %% [markdown]
# **The whole gradient.** `model_backward` is `model_forward` read upwards, made of the pieces
# above. Every piece has been checked, but a chain can still be hooked up wrongly, so we check the
# whole: each parameter along three random directions, by complex step, with a random gradient from
# above.

# %%
tiny = ModelConfig(width=16, n_heads=2, depth=2, patch_size=2)
tiny_params = init_model(tiny, np.random.default_rng(2), "float64")
results = check_pair(
    model_forward, model_backward, (images[:2], tiny_params, tiny), n_directions=3, without=("inputs",)
)
worst = max(results, key=lambda r: r.error)
assert len(results) == len(flatten(tiny_params)) and worst.error < 1e-12
print(f"{len(results)} tensors, {count(tiny_params):,} parameters")
print(f"largest error {worst.error:.1e}, in {worst.argument}")

# %% [markdown]
# ## 5. AdamW, step by step
#
# We have a gradient. Plain descent, $p \leftarrow p - \eta g$ with one learning rate $\eta$ for
# all, has a difficulty that the gradients themselves show: their size differs greatly from one
# tensor to the next.

# %%
_, grads = loss_and_grads(params, x0, y0, cfg)
sizes = {name: float(np.sqrt((g * g).mean())) for name, g in flatten(grads).items()}
small_name, large_name = min(sizes, key=sizes.get), max(sizes, key=sizes.get)
assert sizes[small_name] < sizes[large_name]
print(f"root mean square of the gradient: {sizes[small_name]:.1e} in {small_name}")
print(f"                                  {sizes[large_name]:.1e} in {large_name}")

# %% [markdown]
# Adam (Kingma and Ba, arXiv:1412.6980) gives each number a step of its own. It keeps two running
# means, of the gradient and of its square. AdamW, which adds a decay (below), is Loshchilov and
# Hutter's (arXiv:1711.05101), `[eq:adamw, published]`:
#
# $$m_t = b_1 m_{t-1} + (1 - b_1)\, g_t, \qquad v_t = b_2 v_{t-1} + (1 - b_2)\, g_t^2, \qquad m_0 = v_0 = 0$$
#
# **Bias correction.** Both start at 0, so at first both are too small. How much? Let the gradient
# be constant, $g$: unrolling the recursion gives a geometric sum,
# $m_t = (1 - b_1) \sum_{k<t} b_1^k\, g$, so
#
# $$m_t = (1 - b_1^t)\, g, \qquad v_t = (1 - b_2^t)\, g^2$$
#
# Divide by these factors and the means are right from the first step on.

# %%
b1, b2, g = 0.9, 0.999, -0.37
m = v = 0.0
for t in range(1, 6):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    assert abs(m - (1 - b1**t) * g) < 1e-12 and abs(v - (1 - b2**t) * g**2) < 1e-12
    m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
    print(f"t = {t}: m = {m:+.4f}, corrected {m_hat:+.4f};  v = {v:.6f}, corrected {v_hat:.4f}")

# %% [markdown]
# The step is $\hat m / (\sqrt{\hat v} + \epsilon)$: mean over root mean square, a number without a
# unit, mostly between -1 and 1. It is near $\pm 1$ where the gradient keeps its sign, near 0 where
# it wavers. And it does not change when all gradients are multiplied by one constant. At the very
# first step $\hat m = g$ and $\hat v = g^2$, so
#
# $$p_1 = p_0 - \eta\, \frac{g}{|g| + \epsilon} \approx p_0 - \eta\, \mathrm{sign}(g)$$
#
# **Every** parameter moves by the full $\eta$, however small its gradient. Keep that in mind for
# the warmup.

# %%
toy = {"W": rng.standard_normal((3, 4)), "w": np.ones(4)}
toy_grads = {"W": 1e-3 * rng.standard_normal((3, 4)), "w": 50 * rng.standard_normal(4)}
stepped, _ = optim.adamw_step(toy, toy_grads, optim.adamw_init(toy), lr=0.01, weight_decay=0, eps=0)
assert all(abs(stepped[k] - (toy[k] - 0.01 * np.sign(toy_grads[k]))).max() < 1e-12 for k in toy)

# %% [markdown]
# **Decoupled decay.** To keep weights small one may add $\delta p$ to the gradient (the derivative
# of $\tfrac{\delta}{2} p^2$; $\delta$ is the code's `weight_decay`). In Adam that goes wrong: the
# sum is divided by $\sqrt{\hat v}$, so a weight with large gradients hardly decays, one with small
# gradients decays fast. AdamW leaves the moments alone and shrinks the weight itself:
#
# $$p \leftarrow p - \eta \left( \frac{\hat m}{\sqrt{\hat v} + \epsilon} + \delta\, p \right)$$
#
# Here are 2,000 weights that start at 1 and get nothing but noise as their gradients, of size 0.1
# or 10. Only the decay should act on their mean, and by $(1 - \eta \delta)^{100}$.

# %%
def mean_after(size, coupled, steps=100, lr=0.01, decay=0.5):
    noise = np.random.default_rng(0)
    p = {"W": np.ones((1, 2000))}
    state = optim.adamw_init(p)
    for _ in range(steps):
        g = size * noise.standard_normal((1, 2000)) + (decay * p["W"] if coupled else 0)
        p, state = optim.adamw_step(p, {"W": g}, state, lr, weight_decay=0 if coupled else decay)
    return p["W"].mean()


expected = (1 - 0.01 * 0.5) ** 100
for coupled in (False, True):
    name = "in the gradient" if coupled else "decoupled      "
    print(f"decay {name}: mean weight {mean_after(0.1, coupled):.3f} with small gradients, ", end="")
    print(f"{mean_after(10, coupled):.3f} with large ones")
print(f"expected from the decay alone: {expected:.3f}")
assert all(abs(mean_after(size, coupled=False) - expected) < 0.02 for size in (0.1, 10))
assert abs(mean_after(0.1, coupled=True) - mean_after(10, coupled=True)) > 0.1

# %% [markdown]
# **On matrices only.** The decay pulls towards 0. For a matrix 0 is the neutral value: no
# contribution. For the gain of a norm the neutral value is 1, and a bias has no part in making a
# function steep. So the library decays arrays with two axes or more. (That is a convention. What it
# changes on our digits has not been measured here.)
#
# Everything together, for two tensors and three steps, against `adamw_step`:

# %%
ours, theirs, state = dict(toy), toy, optim.adamw_init(toy)
m, v = {k: np.zeros_like(a) for k, a in toy.items()}, {k: np.zeros_like(a) for k, a in toy.items()}
lr, decay, eps = 0.01, 0.5, 1e-8
for t in (1, 2, 3):
    g = {k: rng.standard_normal(a.shape) for k, a in toy.items()}
    theirs, state = optim.adamw_step(theirs, g, state, lr, weight_decay=decay)
    for k in ours:
        m[k] = b1 * m[k] + (1 - b1) * g[k]
        v[k] = b2 * v[k] + (1 - b2) * g[k] ** 2
        step = m[k] / (1 - b1**t) / (np.sqrt(v[k] / (1 - b2**t)) + eps)
        if ours[k].ndim >= 2:
            step = step + decay * ours[k]
        ours[k] = ours[k] - lr * step
        assert abs(ours[k] - theirs[k]).max() < 1e-12

# %% tags=["blank"]
# Your turn: a step with the gradient 0, lr = 0.01 and decay = 0.5. What becomes of a weight of 1 in
# a matrix, and of a gain of 1?
weight_after, gain_after = ..., ...
of_ones, no_gradient = ({"W": make((1, 1)), "w": make(1)} for make in (np.ones, np.zeros))
decayed = optim.adamw_step(of_ones, no_gradient, optim.adamw_init(of_ones), lr=0.01, weight_decay=0.5)[0]
blank((weight_after, gain_after), (decayed["W"].item(), decayed["w"].item()), "Only one of the two decays.")

# %% [markdown]
# ## 6. Clipping and the schedule
#
# **Clipping.** One bad batch can have a huge gradient. If the length of *all* gradients, taken as
# one vector, is above a limit $c$, scale them all down by one factor:
#
# $$g \leftarrow g \cdot \min\!\left(1, \frac{c}{\lVert g \rVert}\right), \qquad
#   \lVert g \rVert^2 = \sum_{\mathrm{tensors}} \sum_{ij} g_{ij}^2$$
#
# One factor for all keeps the direction; clipping tensor by tensor would turn it.

# %%
flat = flatten(grads)
norm = np.sqrt(sum((g * g).sum() for g in flat.values()))
limit = norm / 10  # so that it bites
clipped, norm_library = optim.clip_by_norm(grads, limit)
assert abs(norm - norm_library) < 1e-12
assert all(abs(c - flat[name] * limit / norm).max() < 1e-9 for name, c in flatten(clipped).items())


def as_vector(tree):
    return np.concatenate([a.ravel() for a in flatten(tree).values()])


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


each = tree_map(lambda g: optim.clip_by_norm({"g": g}, limit)[0]["g"], grads)
one_factor, by_tensor = (cosine(as_vector(grads), as_vector(c)) for c in (clipped, each))
assert abs(one_factor - 1) < 1e-12 and by_tensor < 0.999
print(f"cosine with the true gradient: {one_factor:.4f} by the global norm, {by_tensor:.4f} tensor by tensor")

# %% tags=["blank"]
# Your turn: the gradients of two tensors have the lengths 3 and 4. They are clipped at 1 by the norm
# of all. Which lengths have they now?
length_of_3, length_of_4 = ..., ...
three_and_four = optim.clip_by_norm({"a": np.array([3.0]), "b": np.array([4.0])}, 1.0)[0]
blank((length_of_3, length_of_4), (three_and_four["a"].item(), three_and_four["b"].item()),
      "Together their length is 5.")  # fmt: skip

# %% [markdown]
# **Stop and think.** Adam's step does not change when all gradients are scaled. So what is clipping
# good for, with Adam?
#
# <details><summary>Answer</summary>
#
# The scale must be common to *all steps* to cancel. A single huge gradient would enter $m$ and $v$
# and stay in $v$ for some $1/(1 - b_2) = 1000$ steps, making all of them too small. Clipping bounds
# what one batch can do to the memory.
# </details>
#
# **Warmup and cosine.** At first $\hat v$ rests on few gradients, and the first step moves every
# number by the full $\eta$ (section 5). So the rate rises linearly over $w$ steps to its peak
# $\eta$, then falls like half a cosine, so that the noise of the batches can settle. With $n$ steps
# in all:
#
# $$\eta_t = \eta\, \frac{t + 1}{w} \quad (t < w), \qquad
#   \eta_t = \frac{\eta}{2} \left( 1 + \cos \pi \frac{t - w}{n - w} \right) \quad (t \ge w)$$

# %% mystnb={"image": {"alt": "The learning rate over 200 steps: a straight rise to 0.02 within the shaded first 20 steps, the warmup, then a slow fall along half a cosine to 0 at step 200."}}
n_steps, warm, peak = 200, 20, 0.02
t = np.arange(n_steps)
rising = peak * (t + 1) / warm
falling = peak / 2 * (1 + np.cos(np.pi * (t - warm) / (n_steps - warm)))
rates = np.where(t < warm, rising, falling)
assert abs(rates - [optim.warmup_cosine(i, n_steps, peak, warm) for i in t]).max() < 1e-12

figure, ax = plt.subplots(figsize=(6, 2.5))
ax.plot(t, rates, color="#0072B2")
ax.axvspan(0, warm, color="#0072B2", alpha=0.12, lw=0)
ax.text(warm + 3, 0.1 * peak, "warmup: 20 of 200 steps", color="#0072B2")
ax.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
ax.set_title("the rate rises quickly and falls slowly to 0")
plt.show()

# %% [markdown]
# ## 7. The first test of any training code: overfit 32 digits
#
# A model with thousands of parameters must be able to learn 32 digits by heart. If it cannot,
# something is broken, and it is cheaper to find out now. The whole training loop is a few lines. We
# run it four times: with the right labels; with labels *drawn at random*; and with two bugs planted
# in the gradients of all matrices of queries and keys: set to 0, and with the wrong sign.

# %%
few = data.train.inputs[:32]
true_labels, random_labels = data.train.targets[:32], np.random.default_rng(3).integers(0, 10, 32)


def overfit(labels, q_and_k=1, everything=1, clip=1.0, steps=150):
    """The losses; q_and_k multiplies the gradients of W_q and W_k, everything those of all."""
    params = init_model(cfg, np.random.default_rng(0))
    state, losses = optim.adamw_init(params), []
    for _ in range(steps):
        loss, grads = loss_and_grads(params, few, labels, cfg)
        for block in grads["blocks"]:
            for name in block["attention"]:
                if name.startswith(("W_q", "W_k")):
                    block["attention"][name] = q_and_k * block["attention"][name]
        grads = tree_map(lambda g: everything * g, grads)
        grads = optim.clip_by_norm(grads, clip)[0] if clip else grads
        params, state = optim.adamw_step(params, grads, state, 0.01, weight_decay=0)
        losses.append(float(loss))
    return np.array(losses)


# %%
curves = {
    "right labels": overfit(true_labels),
    "random labels": overfit(random_labels),
    "bug: queries and keys learn nothing": overfit(true_labels, q_and_k=0),
    "bug: queries and keys learn backwards": overfit(true_labels, q_and_k=-1),
}

# %% tags=["blank"]
# Your turn, before you look: the bar is a loss of 0.01 after 150 steps. How many of the four pass it?
pass_the_bar = ...
last_losses = np.array([its_losses[-1] for its_losses in curves.values()])
blank(pass_the_bar, (last_losses < 0.01).sum(), "Three have something wrong. Must it be right to learn by heart?")

# %%
assert all(losses[-1] < 1e-2 for losses in curves.values())  # all four pass
for name, losses in curves.items():
    print(f"{losses[0]:.3f} -> {losses[-1]:.5f} nats   {name}")

# %% mystnb={"image": {"alt": "The loss on 32 digits over 150 steps, logarithmic, four curves: right labels, random labels, and two planted bugs, queries and keys that learn nothing or backwards. All start near ln 10 and end below the bar at 0.01, the first three by step 40, the last one, with bumps, after step 60."}}
figure, ax = plt.subplots(figsize=(7, 3.2))
looks = (("#009E73", "-"), ("#0072B2", "--"), ("#D55E00", ":"), ("0.25", "-."))
for (name, losses), (color, style) in zip(curves.items(), looks, strict=True):
    ax.plot(np.arange(1, 151), losses, style, color=color, label=name)
ax.axhline(np.log(10), color="0.6", lw=1)
ax.text(150, 1.15 * np.log(10), "ln 10", color="0.4", ha="right")
ax.axhline(1e-2, color="0.6", lw=1)
ax.text(2, 0.6e-2, "the bar: 0.01", color="0.4", va="top")
ax.set(xlabel="step", ylabel="loss on the 32 digits (nats)", yscale="log", ylim=(None, 10))
ax.set_title("learning by heart needs neither sense in the labels nor right gradients everywhere")
ax.legend(loc="upper right", bbox_to_anchor=(1, 0.86))
plt.show()

# %% [markdown]
# All four curves go below the bar.
#
# **What the test proves**: loss, gradient and optimiser are connected, and the model has room.
# **What it does not prove**: that the model generalises, since random labels have nothing to
# generalise; and that the gradient is right, not even in its signs, as the two planted bugs show:
# the rest of the model learns around a hole, and even against a part that walks uphill. "It trains"
# sees almost nothing. The gradient check of section 4 sees both bugs. You need both tests.

# %% [markdown]
# ## 8. Training for real
#
# 1,257 digits to train on, 180 to watch, 360 to test, once, at the end. `train` is the loop above
# with shuffled batches of 64, the schedule, decay 0.5, and a record of what happened.

# %%
settings = TrainConfig(epochs=30, device="cpu", threads=1)
result = train(cfg, settings, data)
loss_first = result.steps[0]["loss"]
assert abs(loss_first - np.log(10)) < 0.2  # ln 10, once more
assert result.epochs[-1]["train_loss"] < result.epochs[0]["train_loss"]
print(f"{count(result.params):,} parameters, {len(result.steps)} steps; first loss {loss_first:.3f} nats")

# %%
accuracy = {"dgsa": evaluate(result.params, data.test, cfg)["accuracy"]}
for name, classify in classifiers(data).items():
    accuracy[name] = float((classify(data.test) == data.test.targets).mean())
n_test = len(data.test.targets)
print("test accuracy         errors   standard error of a proportion")
for name, part in accuracy.items():
    print(f"{name:20s} {100 * part:5.1f} %  {round((1 - part) * n_test):3d} of {n_test}", end="")
    print(f"   {100 * np.sqrt(part * (1 - part) / n_test):.1f} points")
lead = accuracy["dgsa"] - max(accuracy["logistic regression"], accuracy["nearest neighbour"])
print(f"\nThe transformer is {100 * abs(lead):.1f} points {'above' if lead > 0 else 'below'} ", end="")
print("the better of the two trivial classifiers.")
chance = np.sqrt(accuracy["dgsa"] * (1 - accuracy["dgsa"]) / n_test)
assert accuracy["dgsa"] > 0.94 and lead < 2 * chance  # no clear lead; which of the three wins is not asserted

# %% tags=["blank"]
# Your turn: two classifiers have the standard error s each, and err independently. The standard
# error of the difference of their accuracies is s times which number?
times_s = ...
blank(times_s, np.hypot(1, 1), "Variances add.", rtol=1e-2)

# %% mystnb={"image": {"alt": "Left, losses over 30 epochs, logarithmic: training falls to about 0.002, validation stops falling near 0.15 after epoch 20. Right, validation accuracy of the transformer: it rises to about 0.96 and ends between two level lines, logistic regression a little below and nearest neighbour a little above."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
per_epoch = len(result.steps) // settings.epochs
epochs = np.arange(1, settings.epochs + 1)
steps = (np.arange(len(result.steps)) + 1) / per_epoch
left.plot(steps, [s["loss"] for s in result.steps], color="0.75", lw=1, label="training, each batch")
left.plot(epochs, [e["train_loss"] for e in result.epochs], color="#009E73", label="training, epoch mean")
left.plot(epochs, [e["valid_loss"] for e in result.epochs], "--", color="#0072B2", label="validation")
left.set(xlabel="epoch", ylabel="loss (nats)", yscale="log")
left.set_title("the loss on new digits stops falling earlier")
left.legend(loc="lower left", fontsize=8)
watched = [e["valid_accuracy"] for e in result.epochs]
right.plot(epochs, watched, "--", color="#0072B2", label="dgsa")
trivial = {name: (f(data.valid) == data.valid.targets).mean() for name, f in classifiers(data).items()}
for (name, part), (color, style) in zip(trivial.items(), (("0.35", "-."), ("0.55", ":")), strict=True):
    right.axhline(part, color=color, ls=style, label=name)
assert watched[-1] < max(trivial.values()) + 0.03  # two standard errors on 180 digits
right.set(xlabel="epoch", ylabel="accuracy on the validation digits", ylim=(0.7, 1.0))
right.set_title("no clear lead over two trivial classifiers")
right.legend(loc="lower right", fontsize=8)
plt.show()

# %% [markdown]
# Left: the training loss goes on falling after the validation loss has levelled off; the distance
# between them is what has been learnt by heart. Right, all on the 180 validation digits: the two
# grey lines are classifiers of pixels, without any attention. The table is about the 360 test
# digits. **Compare the distance that it prints with the standard errors beside it**: a point or two
# is within chance, in either direction. In this run, as in all we have seen, the transformer has no
# clear lead over the nearest neighbour. Perhaps 1,257 digits of 64 pixels are too few and too easy
# for it to show what it may be good for; that is not measured here. Always print the trivial
# baseline.

# %% [markdown]
# ## 9. A look inside
#
# What did the heads learn? Take one test digit and the head of the last layer whose fused map has
# most negative weight. `A = g A_exc - (1-g) A_inh` (`[eq:gated-head, machine review]`): below, the
# three maps, on one scale, white at zero. The scale ends at the largest weight of the fused map, so
# that a larger one of the other two does not bleach it; the print says how large those get.

# %%
digit = data.test.inputs[:1]
_, cache = model_forward(digit, result.params, cfg)
head = cache.blocks[-1].attention.head
h = int(np.minimum(head.A, 0)[0].sum(axis=(1, 2)).argmin())
A_exc, A_inh, A, gate = head.A_exc[0, h], head.A_inh[0, h], head.A[0, h], head.gate[0, h]
assert abs(A - (gate[:, None] * A_exc - (1 - gate[:, None]) * A_inh)).max() < 1e-6  # float32
assert abs(A.sum(axis=1) - (2 * gate - 1)).max() < 1e-6
query = int(np.minimum(A, 0).sum(axis=1).argmin())  # the query that inhibits most
print(f"layer {cfg.depth - 1}, head {h}; gates between {gate.min():.2f} and {gate.max():.2f}; ", end="")
print(f"weights of A between {A.min():.2f} and {A.max():.2f}; query {query} inhibits most")

# %% tags=["blank"]
# Your turn: at how many of the 16 queries does the gate give inhibition more than excitation?
# Count it from A (16 queries, 16 keys) alone.
more_inhibition = ...
blank(more_inhibition, (gate < 0.5).sum(), "What does a row of A sum to?")

# %% mystnb={"image": {"alt": "Above, a digit and the three 16 by 16 maps of one trained head on one signed scale: the excitatory and the inhibitory map are red or white, the fused one is red and blue. Below, the digit with one query patch framed, and that patch's row of each map as a 4 by 4 image: where it looks, what it subtracts, and what is left."}}
maps = {"A_exc: excitation": A_exc, "A_inh: inhibition": A_inh, "A: the fused map": A}
limit = abs(A).max()
print(f"colours end at {limit:.2f}; the largest weight is {max(abs(a).max() for a in maps.values()):.2f}")
figure, axes = plt.subplots(2, 4, figsize=(9, 4.9))
for ax in axes[:, 0]:
    ax.imshow(digit[0], cmap="gray_r", vmin=0, vmax=1, extent=(-0.5, 3.5, 3.5, -0.5))
axes[0, 0].set(title=f"the digit, a {data.test.targets[0]}")
axes[1, 0].set(title=f"query: patch {query}")
corner = query % 4 - 0.5, query // 4 - 0.5
axes[1, 0].add_patch(plt.Rectangle(corner, 1, 1, fill=False, ec="#D55E00", lw=2.5))
for column, (name, a) in enumerate(maps.items(), 1):
    drawn = axes[0, column].imshow(a, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes[0, column].set(title=name, xlabel="key patch", xticks=(0, 5, 10, 15), yticks=(0, 5, 10, 15))
    axes[1, column].imshow(a[query].reshape(4, 4), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes[1, column].set(title=f"row {query}, as an image")
axes[0, 1].set_ylabel("query patch")
for ax in axes.flat:
    ax.grid(False)
for ax in (*axes[1], axes[0, 0]):
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
figure.colorbar(drawn, ax=axes, label="attention weight (no unit)", shrink=0.8, extend="both")
plt.show()

# %% [markdown]
# Above, all queries and keys; below, one row of each map laid out like the image: where this patch
# looks, what it subtracts, and what is left. Blue is negative: patches whose values are *taken
# away* from the sum, which softmax attention cannot do. It is one digit and one head; do not read
# more into it than that.
#
# **The gates.** Each started at $\sigma(1) = 0.731$. Where are they now, over all test digits?

# %%
_, cache = model_forward(data.test.inputs, result.params, cfg)
gates = np.stack([block.attention.head.gate for block in cache.blocks])  # (layer, B, H, T)
assert gates.shape == (2, n_test, 4, 16) and gates.min() >= 0 and gates.max() <= 1

print("layer head   mean  spread   below 1/2   explained by the patch's place alone")
for layer, head in np.ndindex(2, 4):
    g = gates[layer, :, head]  # (B, T)
    by_place = g.mean(axis=0).var() / g.var()
    assert -1e-6 < by_place < 1 + 1e-6
    print(f"{layer:5d} {head:4d}  {g.mean():.3f}   {g.std():.3f}  {100 * (g < 0.5).mean():8.0f} %", end="")
    print(f"  {100 * by_place:8.0f} % of the variance")

# %% [markdown]
# A gate above 1/2 excites more than it inhibits; below, the other way round. The last column asks
# how much of a gate's variation the *place* of the patch explains: near 100 %, the gate is a fixed
# pattern over the image and ignores what is in the patch; near 0 %, it follows the content. The
# gate is predicted "from the token", but the token holds its position too. ([08](08_noise.ipynb)
# draws the gates.)
#
# **Stop and think.** Is a gate of 0.1 stronger evidence of inhibition than one of 0.4? Remember the
# norm after the head.
#
# <details><summary>Answer</summary>
#
# The head's output is normalised, so, up to the norm's $\epsilon$, only the ratio
# $\lambda = (1 - g)/g = e^{-z}$ acts: 9 for a gate of 0.1, 1.5 for one of 0.4. So it is another
# mixture, not a stronger signal. A small $g$ means that the head passes on nearly $-A_{inh} v$.
# Since $W_o$ can turn the sign, such a head is "softmax attention by the other branch": swapping
# the branches and negating z flips the sign of A ([06](06_the_gate.ipynb)). Gates near 1/2 are
# where the difference of the two maps matters.
# </details>

# %% [markdown]
# ## 10. The usual mistakes of training code
#
# **Forgetting the 1/B.** All gradients are then B times too large. AdamW divides the scale out:
# with $\epsilon = 0$ a step is the same, and over 100 steps with the usual $\epsilon$ the loss
# curve looks the same too. Not so with clipping, as in this notebook's loops: then every gradient
# is beyond the limit and gets one length, and the curves part, without any sign of which one is
# wrong. A gradient check sees it at once.

# %%
loss, grads = loss_and_grads(params, x0, y0, cfg)
too_large = tree_map(lambda g: len(y0) * g, grads)
state = optim.adamw_init(params)
right, _ = optim.adamw_step(params, grads, state, lr=0.01, eps=0)
wrong, _ = optim.adamw_step(params, too_large, state, lr=0.01, eps=0)
difference = abs(as_vector(right) - as_vector(wrong)).max()
assert difference < 1e-12
print(f"after a step of AdamW the parameters differ by {difference:.1e}")

apart = {}
for clip in (None, 1.0):
    with_mean, with_sum = (overfit(true_labels, everything=n, clip=clip, steps=100) for n in (1, len(few)))
    apart[clip] = abs(with_sum / with_mean - 1).max()
    print(f"100 steps, clipped at {clip}: the losses differ by up to {100 * apart[clip]:.1f} %")
assert apart[None] < 0.03 and apart[1.0] > 0.5

# %% [markdown]
# **The wrong sign.** One step is enough to see it: a small step along $-g$ must lower the loss by
# nearly $\eta \lVert g \rVert^2$, a step along $+g$ raise it by as much. This is a gradient check
# in one line.
#
# $$L(p - \eta g) - L(p) = -\eta\, \lVert g \rVert^2 + O(\eta^2)$$

# %%
eta, square = 1e-4, float(optim.global_norm(grads)) ** 2
for sign, name in ((1, "p - eta g"), (-1, "p + eta g, wrong")):
    moved = optim.sgd_step(params, grads, sign * eta)
    change = float(loss_and_grads(moved, x0, y0, cfg)[0] - loss)
    print(f"{name:17s}: the loss changes by {change:+.3e}, expected {-sign * eta * square:+.3e}")
    assert abs(change + sign * eta * square) < 0.05 * eta * square

# %% tags=["blank"]
# Your turn: three bugs. (a) The 1/B is forgotten. (b) Queries and keys have the wrong sign, as in
# section 7. (c) All gradients have it. Which does overfitting 32 digits catch? The letters in order.
are_caught = ...
with_bugs = {"a": with_sum, "b": curves["bug: queries and keys learn backwards"]}
with_bugs["c"] = overfit(true_labels, everything=-1, steps=100)
blank(are_caught, "".join(bug for bug, of_bug in with_bugs.items() if of_bug[-1] > 0.01),
      "It catches what keeps the loss above 0.01.")  # fmt: skip

# %% [markdown]
# **Evaluating on the training digits** shows what has been learnt by heart as if it were skill.

# %%
on_train = evaluate(result.params, data.train, cfg)["accuracy"]
print(f"the model of section 8: {on_train:.3f} on its training digits, {accuracy['dgsa']:.3f} on test digits")
assert on_train > accuracy["dgsa"]

# %% [markdown]
# ## What you now know
#
# - A transformer is a few pairs in a row; its backward is its forward read upwards, and wherever a
#   value forks, gradients are added.
# - Before training: the loss is $\ln 10$, the gradient check passes, 32 digits can be learnt by
#   heart. Each finds other mistakes; none replaces another.
# - AdamW is a mean over a root mean square, corrected at the start, with a decay that stays outside
#   of it.
#
# **Three things to try.** (1) Set `kind="softmax"` in section 8: does the accuracy change by more
# than another seed changes it? (2) Give the classifier N(0, 2²) and train: how many epochs until it
# catches up? (3) Set `weight_decay=0`: what happens to the distance of the two loss curves?
#
# Next: [08 noise](08_noise.ipynb), the experiment that the paper's claim is about, read closely.
