# %% [markdown]
# # Differential gated self-attention in one file
#
# Forward, backward, a tiny transformer, AdamW, and training on real handwritten digits, in NumPy
# alone (scikit-learn brings the digits). The notebook start_here builds this file from an empty
# page. The library `dgsa_np` says the same with masks, other mechanisms and speed; a test asserts
# that the two agree to 1e-12. The body of the paper (arXiv:2505.24054) was not available to us: how
# each formula is known stands in docs/equations.md.
#
# - `x_forward` returns its output and a cache, what `x_backward` needs. A map is its own cache.
# - `dx` is the derivative of the loss with respect to x, and has the shape of x.
# - A backward is its forward read upwards. Where a value was used twice, its gradients add up.
# - B images, T tokens (patches) each, C numbers per token, H heads, d = C / (2 H) numbers per query
#   and key, 2 d per value.

# %% On a GPU the second line reads `import cupy as np`. The first one stays: the random numbers are
# drawn on the host.
import numpy
import numpy as np

EPS = 1e-5
LAMBDA_INIT = 0.8
BRANCHES = ("q_exc", "k_exc", "q_inh", "k_inh", "v")


def swap(x):
    return x.swapaxes(-1, -2)


def split_heads(x, H):
    return x.reshape(*x.shape[:2], H, -1).swapaxes(1, 2)  # (B, T, H d) -> (B, H, T, d)


def merge_heads(x):
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)  # (B, H, T, d) -> (B, T, H d)


# y = x W has dx = dy W^T and dW = x^T dy. W meets every token of every image: all of them add up.
def weight_grad(x, dy):
    return x.reshape(-1, x.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])


# %% Softmax turns scores into weights: positive, and each row sums to 1.
def softmax_forward(S):
    # With the row's maximum taken off, exp cannot overflow, and the quotient is the same. (.real is
    # for gradient_error, below.)
    E = np.exp(S - S.real.max(axis=-1, keepdims=True))
    return E / E.sum(axis=-1, keepdims=True)


# Its backward. dA says what more weight on a key would do to the loss. But a row sums to 1, so
# weight for one key is taken from all, in proportion to A. What counts is therefore how far dA lies
# above its mean over the row, weighted by A.
def softmax_backward(dA, A):
    return A * (dA - (dA * A).sum(axis=-1, keepdims=True))


# %% One map: how much each token looks at each other token. Each token makes a query q, what it
# looks for, a key k, what it offers, and a value v, what it hands over. The score q k^T says how
# well a query and a key fit; the output A v is a sum of the values, weighted by the map.
# Why / sqrt(d)? A score is a sum of d products. With queries and keys near N(0, 1) it has the
# variance d; divided by sqrt(d) it has the variance 1, however wide a head is. Larger scores would
# make the softmax all but one-hot, and a one-hot softmax has next to no gradient.
def map_forward(q, k):
    return softmax_forward(q @ swap(k) / q.shape[-1] ** 0.5)  # (B, H, T, T)


def map_backward(dA, A, q, k):
    dS = softmax_backward(dA, A) / q.shape[-1] ** 0.5
    return dS @ k, swap(dS) @ q


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# %% The idea: A = g softmax(q_exc k_exc^T / sqrt(d)) - (1 - g) softmax(q_inh k_inh^T / sqrt(d))
# Why two maps? One softmax can only add: every key gets some weight. With a second map to take
# away, what both maps look at cancels, and a weight may be zero or negative. The gate g =
# sigmoid(z_gate) says, for each token and head, how much of each map is used.
def head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate):
    A_exc, A_inh = map_forward(q_exc, k_exc), map_forward(q_inh, k_inh)
    gate = sigmoid(z_gate)[..., None]  # (B, H, T, 1): one number for all keys of a row
    # 1 - 1 / (1 + exp(-z)) = exp(-z) / (1 + exp(-z)) = 1 / (exp(z) + 1) = sigmoid(-z). Where the
    # gate is near 1, 1 - gate would have few right digits or none; sigmoid(-z) has them all.
    one_minus_gate = sigmoid(-z_gate)[..., None]
    # Take g out: A = g (A_exc - lam A_inh) with lam = (1 - g) / g = exp(-z_gate). Below, each head
    # is normalised, and that divides g away (but for EPS). What is left is the head of the
    # Differential Transformer. There lam is one number per layer, here one per token and head.
    A = gate * A_exc - one_minus_gate * A_inh  # rows sum to 2 g - 1
    return A @ v, (q_exc, k_exc, q_inh, k_inh, v, gate, one_minus_gate, A_exc, A_inh, A)


def head_backward(do, cache):
    q_exc, k_exc, q_inh, k_inh, v, gate, one_minus_gate, A_exc, A_inh, A = cache
    dA, dv = do @ swap(v), swap(A) @ do
    # More gate is more of the one map, and less is taken away by the other: both have a plus.
    dgate = (dA * (A_exc + A_inh)).sum(axis=-1)
    dz_gate = (gate * one_minus_gate)[..., 0] * dgate  # sigmoid' = sigmoid (1 - sigmoid)
    dq_inh, dk_inh = map_backward(-one_minus_gate * dA, A_inh, q_inh, k_inh)
    dq_exc, dk_exc = map_backward(gate * dA, A_exc, q_exc, k_exc)
    return dq_exc, dk_exc, dq_inh, dk_inh, dv, dz_gate


# %% The norm: a vector is divided by its root mean square; then each entry gets a gain of its own.
def rmsnorm_forward(x, w):
    r = ((x * x).mean(axis=-1, keepdims=True) + EPS) ** -0.5
    return x * r * w, (x * r, r, w)


# A longer x gives the same y. So the part of dn along n has no effect on the loss: it is taken off.
def rmsnorm_backward(dy, cache):
    n, r, w = cache
    dn = dy * w
    return r * (dn - n * (dn * n).mean(axis=-1, keepdims=True)), (dy * n).reshape(-1, len(w)).sum(axis=0)


# %% The layer: many heads, each with its own queries, keys, values and gate, each normalised.
# Why a norm per head? A row of A sums to 2 g - 1, so a head's output may have any size, down to
# zero where the maps cancel. The norm lets its direction alone speak, as loud as the other heads.
# Why (1 - LAMBDA_INIT)? It comes with that norm from the Differential Transformer, where it is to
# keep gradients as large as with softmax attention. The gain w_norm could learn it as well; what it
# changes is the scale at the start. That M-DGSA has both is our reading of it.
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


# %% The feed-forward layer (SwiGLU): y = (silu(x W_gate) * (x W_up)) W_down, silu(a) = a sigmoid(a)
def mlp_forward(x, p):
    a, u = x @ p["W_gate"], x @ p["W_up"]
    s = a * sigmoid(a)
    return (s * u) @ p["W_down"], (x, p, a, s, u)


def mlp_backward(dy, cache):
    x, p, a, s, u = cache
    dh = dy @ p["W_down"].T
    du, ds = dh * s, dh * u
    sigma = sigmoid(a)
    da = ds * (sigma + s * (1 - sigma))  # the product rule: (a sigma)' = sigma + a sigma (1 - sigma)
    grads = {"W_gate": weight_grad(x, da), "W_up": weight_grad(x, du), "W_down": weight_grad(s * u, dy)}
    return da @ p["W_gate"].T + du @ p["W_up"].T, grads


# %% The block: attention mixes tokens, the feed-forward layer works on each. Both only add to x.
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


# %% The model: an image in patches, a token for each, blocks, the mean over tokens, ten classes.
def patches(images, P):
    B, n = len(images), images.shape[1] // P
    return images.reshape(B, n, P, n, P).swapaxes(2, 3).reshape(B, n * n, P * P)


# Why the mean over tokens? One answer is wanted of T tokens. The mean asks all of them alike, and
# hands each the same gradient. Where a patch lies is not lost: `positions` were added to it.
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


# The loss is the mean of -log(probability of the right class). Its gradient by a logit is the
# probability of that class, less 1 where the class is right.
def loss_and_grads(params, images, targets):
    logits, cache = model_forward(images, params)
    shifted = logits - logits.real.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    one_hot = np.arange(log_p.shape[-1]) == targets[:, None]
    loss = -(log_p * one_hot).sum() / len(targets)
    return loss, model_backward((np.exp(log_p) - one_hot) / len(targets), cache)


# %% Parameters are nested dicts and lists of arrays; one function walks through them.
def tree_map(f, tree, *others):
    if isinstance(tree, dict):
        return {key: tree_map(f, tree[key], *(other[key] for other in others)) for key in tree}
    if isinstance(tree, list):
        return [tree_map(f, *branches) for branches in zip(tree, *others, strict=True)]
    return f(tree, *others)


# Drawn on the host and moved: the same numbers on every device.
def normal(rng, shape, std=1.0, dtype="float64"):
    return np.asarray(std * rng.standard_normal(shape), dtype)


# Matrices start as N(0, 1 / rows), so that x W is as large as x. The gate starts the same for all
# tokens, W_gate = 0, and prefers excitation: b_gate = 1, g = 0.73, lam = 0.37.
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


# AdamW: m is a running mean of the gradient, v of its square, so m / sqrt(v) is about 1 or -1
# wherever the gradient keeps its sign, however small it is. Why the divisions by 1 - b^t? Both
# start at 0, and the weights of the t gradients so far add up to 1 - b^t only: the division makes
# means of the two again. The decay draws matrices towards 0 and does not pass through m and v: that
# is the W of the name.
def adamw(params, grads, m, v, t, lr, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.05):
    def step(p, m, v):
        decay = weight_decay if p.ndim > 1 else 0.0
        return p - lr * (m / (1 - b1**t) / ((v / (1 - b2**t)) ** 0.5 + eps) + decay * p)

    m = tree_map(lambda m, g: b1 * m + (1 - b1) * g, m, grads)
    v = tree_map(lambda v, g: b2 * v + (1 - b2) * g * g, v, grads)
    return tree_map(step, params, m, v), m, v


# %% Is the gradient right?
# A complex step: f(x + i h e) = f(x) + i h <f', e> - ..., so the imaginary part over h is the slope
# along e, with no difference taken and so exact to rounding. (Complex numbers have no order: that
# is why a maximum above looks at .real.) The slope must equal the inner product of gradient and e.
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


# %% Train on four fifths of the digits, test on the rest.
def digits():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype("float32").reshape(-1, 8, 8)  # grey levels from 0 to 1
    return map(np.asarray, train_test_split(X, y, test_size=0.2, stratify=y, random_state=0))


# A rise over the first tenth of the training, while m and v are young, then half a cosine.
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


if __name__ == "__main__":
    print(f"gradient check: relative error {gradient_error(numpy.random.default_rng(1)):.1e}")
    train()
