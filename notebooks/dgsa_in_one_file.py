# %% [markdown]
# # Differential gated self-attention in one file
#
# Forward, backward, a tiny transformer, AdamW and training on real handwritten digits, in NumPy alone (scikit-learn
# brings the digits). Each `x_forward` returns its output and what `x_backward` needs; a backward is its forward read
# upwards; `dx` is dLoss/dx. B batch, T tokens, C width, H heads, d = C / 2H. The library `dgsa_np` says the same with
# masks, other mechanisms and a GPU; a test asserts that the two agree to 1e-12.

# %%
import numpy as np

BRANCHES = ("q_exc", "k_exc", "q_inh", "k_inh", "v")
EPS, LAMBDA_INIT = 1e-5, 0.8

def swap(x):
    return x.swapaxes(-1, -2)

def split_heads(x, H):
    return x.reshape(*x.shape[:2], H, -1).swapaxes(1, 2)  # (B, T, H d) -> (B, H, T, d)

def merge_heads(x):
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)  # (B, H, T, d) -> (B, T, H d)

def weight_grad(x, dy):
    return np.einsum("...n,...m->nm", x, dy, optimize=True)  # y = x @ W, summed over all places

# %% The idea: A = g softmax(q_exc k_exc^T / sqrt(d)) - (1 - g) softmax(q_inh k_inh^T / sqrt(d)), g = sigmoid(z)
def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def map_forward(q, k):
    S = q @ swap(k) / q.shape[-1] ** 0.5  # (B, H, T, T)
    E = np.exp(S - S.real.max(axis=-1, keepdims=True))
    return E / E.sum(axis=-1, keepdims=True)

def map_backward(dA, A, q, k):
    dS = A * (dA - (dA * A).sum(axis=-1, keepdims=True)) / q.shape[-1] ** 0.5
    return dS @ k, swap(dS) @ q

def head_forward(q_exc, k_exc, q_inh, k_inh, v, z):
    A_exc, A_inh = map_forward(q_exc, k_exc), map_forward(q_inh, k_inh)
    g = sigmoid(z)[..., None]  # (B, H, T, 1): shared by all keys of a row
    A = g * A_exc - (1 - g) * A_inh  # rows sum to 2 g - 1
    return A @ v, (q_exc, k_exc, q_inh, k_inh, v, g, A_exc, A_inh, A)

def head_backward(do, cache):
    q_exc, k_exc, q_inh, k_inh, v, g, A_exc, A_inh, A = cache
    dA, dv = do @ swap(v), swap(A) @ do
    dz = g[..., 0] * (1 - g[..., 0]) * (dA * (A_exc + A_inh)).sum(axis=-1)
    return *map_backward(g * dA, A_exc, q_exc, k_exc), *map_backward(-(1 - g) * dA, A_inh, q_inh, k_inh), dv, dz

# %% Around it: normalise each head, many heads, a feed-forward layer, a block
def rmsnorm_forward(x, w):
    r = ((x * x).mean(axis=-1, keepdims=True) + EPS) ** -0.5
    return x * r * w, (x * r, r, w)

def rmsnorm_backward(dy, cache):
    n, r, w = cache
    dn = dy * w
    return r * (dn - n * (dn * n).mean(axis=-1, keepdims=True)), (dy * n).reshape(-1, len(w)).sum(axis=0)

def attention_forward(x, p):
    heads = [split_heads(x @ p[f"W_{name}"], len(p["b_gate"])) for name in BRANCHES]
    z = swap(x @ p["W_gate"] + p["b_gate"])  # (B, H, T)
    o, head = head_forward(*heads, z)
    n, norm = rmsnorm_forward(o, p["w_norm"])
    h = merge_heads((1 - LAMBDA_INIT) * n)
    return h @ p["W_o"], (x, p, head, norm, h)

def attention_backward(dy, cache):
    x, p, head, norm, h = cache
    grads = {"W_o": weight_grad(h, dy)}
    dn = (1 - LAMBDA_INIT) * split_heads(dy @ p["W_o"].T, len(p["b_gate"]))
    do, grads["w_norm"] = rmsnorm_backward(dn, norm)
    *dheads, dz = head_backward(do, head)
    dz = swap(dz)
    grads |= {"W_gate": weight_grad(x, dz), "b_gate": dz.sum(axis=(0, 1))}
    dx = dz @ p["W_gate"].T
    for name, dhead in zip(BRANCHES, dheads, strict=True):  # x forks six ways, so its gradients add up
        grads[f"W_{name}"] = weight_grad(x, merge_heads(dhead))
        dx = dx + merge_heads(dhead) @ p[f"W_{name}"].T
    return dx, grads

def mlp_forward(x, p):
    a, u = x @ p["W_gate"], x @ p["W_up"]
    return (a * sigmoid(a) * u) @ p["W_down"], (x, p, a, u)

def mlp_backward(dy, cache):
    x, p, a, u = cache
    s = sigmoid(a)
    dh = dy @ p["W_down"].T
    da, du = dh * u * s * (1 + a * (1 - s)), dh * a * s
    grads = {"W_gate": weight_grad(x, da), "W_up": weight_grad(x, du), "W_down": weight_grad(a * s * u, dy)}
    return da @ p["W_gate"].T + du @ p["W_up"].T, grads

def residual_forward(x, w, inner_forward, p):
    n, norm = rmsnorm_forward(x, w)
    y, inner = inner_forward(n, p)
    return x + y, (norm, inner)

def residual_backward(dy, cache, inner_backward):
    norm, inner = cache
    dn, grads = inner_backward(dy, inner)
    dx, dw = rmsnorm_backward(dn, norm)
    return dy + dx, {"w": dw}, grads

# %% The whole model and its loss: patches, blocks, mean, ten classes, cross-entropy
def patches(images, P):
    B, n = len(images), images.shape[1] // P
    return images.reshape(B, n, P, n, P).swapaxes(2, 3).reshape(B, n * n, P * P)

def model_forward(images, params):
    x0 = patches(images, int(params["embed"]["W"].shape[0] ** 0.5))
    x, caches = x0 @ params["embed"]["W"] + params["embed"]["b"] + params["embed"]["positions"], []
    for p in params["blocks"]:
        x, attention = residual_forward(x, p["norm1"]["w"], attention_forward, p["attention"])
        x, mlp = residual_forward(x, p["norm2"]["w"], mlp_forward, p["mlp"])
        caches.append((attention, mlp))
    n, norm = rmsnorm_forward(x, params["norm"]["w"])
    pooled = n.mean(axis=1)  # (B, T, C) -> (B, C)
    return pooled @ params["head"]["W"] + params["head"]["b"], (x0, params, caches, n, norm, pooled)

def model_backward(dlogits, cache):
    x0, params, caches, n, norm, pooled = cache
    head = {"W": pooled.T @ dlogits, "b": dlogits.sum(axis=0)}
    dpooled = dlogits @ params["head"]["W"].T
    dx, dw = rmsnorm_backward(np.repeat(dpooled[:, None] / n.shape[1], n.shape[1], axis=1), norm)
    blocks = []
    for attention, mlp in reversed(caches):
        dx, norm2, dmlp = residual_backward(dx, mlp, mlp_backward)
        dx, norm1, dattention = residual_backward(dx, attention, attention_backward)
        blocks.insert(0, {"norm1": norm1, "attention": dattention, "norm2": norm2, "mlp": dmlp})
    embed = {"W": weight_grad(x0, dx), "b": dx.sum(axis=(0, 1)), "positions": dx.sum(axis=0)}
    return {"embed": embed, "blocks": blocks, "norm": {"w": dw}, "head": head}

def loss_and_grads(params, images, targets):
    logits, cache = model_forward(images, params)
    z = logits - logits.real.max(axis=-1, keepdims=True)  # the shift cancels in the next line
    log_p, one_hot = z - np.log(np.exp(z).sum(axis=-1, keepdims=True)), np.arange(z.shape[-1]) == targets[:, None]
    return -log_p[one_hot].mean(), model_backward((np.exp(log_p) - one_hot) / len(targets), cache)

# %% Parameters, and AdamW: nested dicts, walked by one function
def tree_map(f, tree, *others):
    if isinstance(tree, dict):
        return {key: tree_map(f, tree[key], *(t[key] for t in others)) for key in tree}
    if isinstance(tree, list):
        return [tree_map(f, *leaves) for leaves in zip(tree, *others, strict=True)]
    return f(tree, *others)

def init(rng, C=32, H=4, depth=2, F=80, P=2, N=16, n_out=10, dtype="float32"):
    def W(n, m, std=None):
        return (rng.standard_normal((n, m)) * (n**-0.5 if std is None else std)).astype(dtype)
    def block():
        attention = {f"W_{name}": W(C, C // 2) for name in BRANCHES[:4]} | {"W_v": W(C, C), "W_o": W(C, C)}
        attention |= {"W_gate": W(C, H, 0), "b_gate": np.ones(H, dtype), "w_norm": np.ones(C // H, dtype)}
        mlp = {"W_gate": W(C, F), "W_up": W(C, F), "W_down": W(F, C)}
        return {"norm1": {"w": gain}, "attention": attention, "norm2": {"w": gain}, "mlp": mlp}
    gain = np.ones(C, dtype)
    embed = {"W": W(P * P, C), "b": 0 * gain, "positions": W(N, C, 0.02)}
    head = {"W": W(C, n_out, 0.02), "b": np.zeros(n_out, dtype)}
    return {"embed": embed, "blocks": [block() for _ in range(depth)], "norm": {"w": gain}, "head": head}

def adamw(params, grads, m, v, t, lr, b1=0.9, b2=0.999, eps=1e-8, decay=0.05):
    m = tree_map(lambda m, g: b1 * m + (1 - b1) * g, m, grads)
    v = tree_map(lambda v, g: b2 * v + (1 - b2) * g * g, v, grads)
    def step(p, m, v):
        return p - lr * (m / (1 - b1**t) / ((v / (1 - b2**t)) ** 0.5 + eps) + (decay * p if p.ndim > 1 else 0))
    return tree_map(step, params, m, v), m, v

# %% Is the gradient right? Then train.
def gradient_error(rng):
    """Slope along a random direction: by complex step (exact to rounding) against <gradient, direction>."""
    params = tree_map(lambda a: a + 0.1 * rng.standard_normal(a.shape), init(rng, dtype="float64"))
    images, targets, slopes = rng.random((3, 8, 8)), np.array([1, 7, 2]), []
    direction = tree_map(lambda a: rng.standard_normal(a.shape), params)
    moved = tree_map(lambda a, e: a + 1e-30j * e, params, direction)
    numeric = loss_and_grads(moved, images, targets)[0].imag / 1e-30
    tree_map(lambda g, e: slopes.append((g * e).sum()), loss_and_grads(params, images, targets)[1], direction)
    return abs(sum(slopes) - numeric) / abs(numeric)

def train(epochs=20, batch=32, peak=5e-3, seed=0):
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype("float32").reshape(-1, 8, 8)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.2, stratify=y, random_state=0)
    rng, t, per_epoch = np.random.default_rng(seed), 0, len(X) // batch
    m = v = tree_map(np.zeros_like, params := init(rng))
    for epoch in range(epochs):
        for rows in rng.permutation(len(X))[: per_epoch * batch].reshape(-1, batch):
            loss, grads = loss_and_grads(params, X[rows], y[rows])
            t, done = t + 1, (t + 1) / (epochs * per_epoch)
            lr = peak * min(10 * done, 0.5 + 0.5 * float(np.cos(np.pi * done)))  # warm-up, then half a cosine
            params, m, v = adamw(params, grads, m, v, t, lr)
        accuracy = (model_forward(X_test, params)[0].argmax(axis=-1) == y_test).mean()
        print(f"epoch {epoch + 1:2d}   last batch's loss {loss:.4f}   test accuracy {accuracy:.3f}")

if __name__ == "__main__":
    print(f"gradient check: relative error {gradient_error(np.random.default_rng(0)):.1e}")
    train()
