"""Right answers in other styles: {exercise: {name: code that is added to the solution}}.

Its functions take the place of the solution's.
"""

STYLES = {
    "ex01": {
        "log-sum-exp": '''
def softmax(scores, mask=None):
    z = scores / TEMPERATURE
    allowed = np.ones(z.shape, bool) if mask is None else np.broadcast_to(mask, z.shape)
    top = np.max(np.where(allowed, z, np.finfo(z.dtype).min), axis=-1, keepdims=True)
    total = np.sum(np.exp(z - top, where=allowed, out=np.zeros_like(z)), axis=-1, keepdims=True)
    log_total = np.log(np.where(total == 0, 1, total))
    return np.where(allowed, np.exp(np.where(allowed, z - top, 0) - log_total), 0).astype(scores.dtype)
''',
        "row by row": '''
def softmax(scores, mask=None):
    A = np.zeros_like(scores)
    allowed = np.ones(scores.shape, bool) if mask is None else np.broadcast_to(mask, scores.shape)
    for at in np.ndindex(scores.shape[:-1]):
        keys = np.flatnonzero(allowed[at])
        if len(keys):
            z = scores[at][keys] / TEMPERATURE
            e = np.exp(z - z.max())
            A[at][keys] = e / e.sum()
    return A
''',
        "in place, on a copy": '''
def softmax(scores, mask=None):
    z = scores.copy()
    z /= TEMPERATURE
    if mask is not None:
        z[~np.broadcast_to(mask, z.shape)] = -np.inf
    z -= np.maximum(z.max(axis=-1, keepdims=True), -1e30)
    np.exp(z, out=z)
    total = z.sum(axis=-1, keepdims=True)
    z /= total + (total == 0)
    return z
''',
        "powers of two": '''
def softmax(scores, mask=None):
    z = scores * (1.4426950408889634 / TEMPERATURE)
    z = z if mask is None else np.where(mask, z, -np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        e = np.exp2(z - z.max(-1)[..., None])
        return np.nan_to_num(e / e.sum(-1)[..., None])
''',
        "Python's numbers": '''
import math

def of_row(row, allowed):
    kept = [s / TEMPERATURE for s, a in zip(row, allowed) if a]
    if not kept:
        return [0.0] * len(row)
    top = max(kept)
    total = math.fsum(math.exp(s - top) for s in kept)
    return [math.exp(s / TEMPERATURE - top) / total if a else 0.0 for s, a in zip(row, allowed)]

def softmax(scores, mask=None):
    allowed = np.broadcast_to(True if mask is None else mask, scores.shape).reshape(-1, scores.shape[-1])
    rows = scores.astype(float).reshape(-1, scores.shape[-1])
    return np.array([of_row(r, a) for r, a in zip(rows, allowed)]).reshape(scores.shape).astype(scores.dtype)
''',
    },
    "ex02": {
        "loops over rows": '''
def softmax_backward_by_steps(dA, cache):
    E, total = cache
    dtotal, dE, dscores = np.zeros_like(total), np.zeros_like(E), np.zeros_like(E)
    for at in np.ndindex(E.shape[:-1]):
        dtotal[at] = -np.dot(dA[at], E[at]) / total[at] ** 2
        dE[at] = dA[at] / total[at] + dtotal[at]
        dscores[at] = dE[at] * E[at] * math.log(BASE)
    return dtotal, dE, dscores

def softmax_backward(dA, A):
    d = np.empty_like(A)
    for at in np.ndindex(A.shape[:-1]):
        d[at] = (np.diag(A[at]) - np.outer(A[at], A[at])) @ dA[at] * math.log(BASE)
    return d
''',
        "in place, on copies": '''
def softmax_backward_by_steps(dA, cache):
    E, total = cache
    dE = dA.copy()
    dE /= total
    dtotal = np.einsum("...s,...s->...", dE, E)[..., None]
    dtotal /= -total
    dE += dtotal
    dscores = dE.copy()
    dscores *= E
    dscores *= math.log(BASE)
    return [dtotal, dE, dscores]

def softmax_backward(dA, A):
    d = A * dA
    d -= A * d.sum(axis=-1, keepdims=True)
    d *= math.log(BASE)
    return d
''',
        "by A": '''
def softmax_backward_by_steps(dA, cache):
    E, total = cache
    A = E / total
    mean = (A * dA).sum(-1, keepdims=True)
    return -mean / total, (dA - mean) / total, softmax_backward(dA, A)

def softmax_backward(dA, A):
    return float(np.log(BASE)) * (A * dA - A * np.matmul(A[..., None, :], dA[..., :, None])[..., 0])
''',
    },
    "ex03": {
        "drawn without a seed": "\ndef witness(A):\n    return np.random.standard_normal(A.shape)\n",
        "a generator without a seed": "\ndef witness(A):\n    return np.random.default_rng().random(A.shape)\n",
        "the numbers of the keys": "\ndef witness(A):\n    return np.ones_like(A) * np.arange(A.shape[-1])\n",
        "the last key of a list, loops": '''
def witness(A):
    dA = np.zeros(A.shape)
    dA[..., -1] = 5.0
    return dA

def softmax_backward(dA, A):
    d = np.zeros_like(A)
    for at in np.ndindex(A.shape[:-1]):
        d[at] = A[at] * (dA[at] - float(A[at] @ dA[at])) / TEMPERATURE
    return d
''',
        "in place, on copies": '''
def softmax_backward(dA, A):
    d = dA.copy()
    d -= (A * dA).sum(axis=-1, keepdims=True)
    d *= A
    d /= TEMPERATURE
    return d
''',
    },
    "ex04": {
        "loops over batch and heads, the cache a dict": '''
def attention_forward(q, k, v):
    o, maps = np.empty((*q.shape[:3], v.shape[-1]), q.dtype), {}
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            maps[b, h] = softmax(q[b, h] @ k[b, h].T / q.shape[-1] ** POWER)
            o[b, h] = maps[b, h] @ v[b, h]
    return o, {"q": q, "k": k, "v": v, "maps": maps}

def attention_backward(do, cache):
    q, k, v = cache["q"], cache["k"], cache["v"]
    dA = np.zeros((*do.shape[:3], k.shape[2]), do.dtype)
    dS, dq, dk, dv = np.zeros_like(dA), np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for (b, h), A in cache["maps"].items():
        dA[b, h] = do[b, h] @ v[b, h].T
        dv[b, h] = A.T @ do[b, h]
        dS[b, h] = A * (dA[b, h] - (A * dA[b, h]).sum(1, keepdims=True))
        dq[b, h] = dS[b, h] @ k[b, h] / q.shape[-1] ** POWER
        dk[b, h] = dS[b, h].T @ q[b, h] / q.shape[-1] ** POWER
    return dA, dS, dq, dk, dv
''',
        "a stack that backward empties": '''
def attention_forward(q, k, v):
    stack = [(q, k)]
    S = q.shape[-1] ** -POWER * (q @ swap(k))
    stack.append(softmax(S))
    o = stack[-1] @ v
    stack.append(v)
    return o, stack

def attention_backward(do, stack):
    v, A = stack.pop(), stack.pop()
    q, k = stack.pop()
    dA, dv = do @ swap(v), swap(A) @ do
    dS = dA.copy()
    dS -= (A * dA).sum(axis=-1, keepdims=True)
    dS *= A
    return dA, dS, q.shape[-1] ** -POWER * dS @ k, q.shape[-1] ** -POWER * swap(dS) @ q, dv
''',
        "a class for the cache, einsum everywhere": '''
class Cache:
    def __init__(self, **known):
        self.__dict__.update(known)

def attention_forward(q, k, v):
    A = softmax(np.einsum("bhtd,bhsd->bhts", q, k) * float(q.shape[-1]) ** -POWER)
    return np.einsum("bhts,bhse->bhte", A, v), Cache(q=q, k=k, v=v, A=A)

def attention_backward(do, c):
    dA = np.einsum("bhte,bhse->bhts", do, c.v)
    J = np.einsum("bhti,ij->bhtij", c.A, np.eye(c.A.shape[-1], dtype=c.A.dtype)) - np.einsum(
        "bhti,bhtj->bhtij", c.A, c.A)
    dS = np.einsum("bhtij,bhtj->bhti", J, dA)
    scale = float(c.q.shape[-1]) ** -POWER
    dq, dk = np.einsum("bhts,bhsd->bhtd", dS, c.k) * scale, np.einsum("bhts,bhtd->bhsd", dS, c.q) * scale
    return dA, dS, dq, dk, np.einsum("bhts,bhte->bhse", c.A, do)
''',
        "a closure for the cache": '''
def attention_forward(q, k, v):
    root = q.shape[-1] ** (POWER / 2)
    A = softmax((q / root) @ swap(k / root))

    def back(do):
        dA = do @ swap(v)
        dS = softmax_vjp(dA, A)
        return dA, dS, dS @ k / root**2, swap(swap(q) @ dS) / root**2, swap(A) @ do
    return A @ v, back

def softmax_vjp(dA, A):
    return A * dA - A * (A * dA).sum(-1)[..., None]

def attention_backward(do, back):
    return back(do)
''',
    },
    "ex05": {
        "loops over batch and heads, a list for the cache": '''
def head_forward(q, k):
    return softmax(q @ k.T / q.shape[-1] ** 0.5)

def head_backward(dA, A, q, k):
    dS = softmax_backward(dA, A) / q.shape[-1] ** 0.5
    return dS @ k, dS.T @ q

def differential_forward(q_exc, k_exc, q_inh, k_inh, v, lam):
    a, b = (float(lam), 1.0) if LAMBDA_ON == "exc" else (1.0, float(lam))
    o, cache = np.zeros((*q_exc.shape[:3], v.shape[-1]), v.dtype), [(q_exc, k_exc, q_inh, k_inh, v, a, b)]
    for at in np.ndindex(q_exc.shape[:2]):
        A_exc, A_inh = head_forward(q_exc[at], k_exc[at]), head_forward(q_inh[at], k_inh[at])
        o[at] = a * (A_exc @ v[at]) - b * (A_inh @ v[at])
        cache.append((at, A_exc, A_inh))
    return o, cache

def differential_backward(do, cache):
    (q_exc, k_exc, q_inh, k_inh, v, a, b), *maps = cache
    d = [np.zeros_like(x) for x in (q_exc, k_exc, q_inh, k_inh, v)]
    dlam = 0.0
    for at, A_exc, A_inh in maps:
        dA = do[at] @ v[at].T
        d[0][at], d[1][at] = head_backward(a * dA, A_exc, q_exc[at], k_exc[at])
        d[2][at], d[3][at] = head_backward(-b * dA, A_inh, q_inh[at], k_inh[at])
        d[4][at] = (a * A_exc - b * A_inh).T @ do[at]
        dlam += float((dA * A_exc).sum()) if LAMBDA_ON == "exc" else -float((dA * A_inh).sum())
    return *d, np.array(dlam, do.dtype)
''',
        "a named tuple for the cache, einsum": '''
from typing import NamedTuple

class Kept(NamedTuple):
    arguments: tuple
    maps: tuple
    weights: tuple

def differential_forward(q_exc, k_exc, q_inh, k_inh, v, lam):
    maps = tuple(softmax(np.einsum("bhtd,bhsd->bhts", q, k) / np.sqrt(q.shape[-1]).astype(q.dtype))
                 for q, k in ((q_exc, k_exc), (q_inh, k_inh)))
    weights = (lam, -1) if LAMBDA_ON == "exc" else (1, -lam)
    o = sum(w * np.einsum("bhts,bhse->bhte", A, v) for w, A in zip(weights, maps))
    return o, Kept((q_exc, k_exc, q_inh, k_inh, v), maps, weights)

def differential_backward(do, cache):
    (q_exc, k_exc, q_inh, k_inh, v), (A_exc, A_inh), (a, b) = cache
    dA, root = np.einsum("bhte,bhse->bhts", do, v), np.sqrt(q_exc.shape[-1]).astype(do.dtype)
    E, I = a * softmax_backward(dA, A_exc) / root, b * softmax_backward(dA, A_inh) / root
    dlam = np.vdot(dA, A_exc) if LAMBDA_ON == "exc" else -np.vdot(dA, A_inh)
    return (E @ k_exc, swap(E) @ q_exc, I @ k_inh, swap(I) @ q_inh,
            np.einsum("bhts,bhte->bhse", a * A_exc + b * A_inh, do), dlam)
''',
        "nothing kept but the arguments, in place": '''
def differential_forward(*arguments):
    q_exc, k_exc, q_inh, k_inh, v, lam = arguments
    A = softmax(q_exc.shape[-1] ** -0.5 * q_exc @ swap(k_exc))
    B = softmax(q_exc.shape[-1] ** -0.5 * q_inh @ swap(k_inh))
    if LAMBDA_ON == "exc":
        A *= lam
    else:
        B *= lam
    A -= B
    return A @ v, arguments

def differential_backward(do, arguments):
    q_exc, k_exc, q_inh, k_inh, v, lam = arguments
    scale = q_exc.shape[-1] ** -0.5
    A, B = softmax(scale * q_exc @ swap(k_exc)), softmax(scale * q_inh @ swap(k_inh))
    dA = do @ swap(v)
    one = np.ones_like(lam)
    a, b = (lam, one) if LAMBDA_ON == "exc" else (one, lam)
    dS, dT = softmax_backward(dA, A), softmax_backward(dA, B)
    dS *= scale * a
    dT *= -scale * b
    dlam = np.sum(dA * A) if LAMBDA_ON == "exc" else -np.sum(dA * B)
    return dS @ k_exc, swap(dS) @ q_exc, dT @ k_inh, swap(dT) @ q_inh, swap(a * A - b * B) @ do, dlam
''',
    },
    "ex06": {
        "loops over batch, heads and queries": '''
def sigmoid(z):
    z = np.asarray(z)
    flat = [1 / (1 + np.exp(-x)) if x >= 0 else np.exp(x) / (1 + np.exp(x)) for x in z.ravel()]
    return np.array(flat, z.dtype).reshape(z.shape)

def gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    B, H, T, d = q_exc.shape
    S = k_exc.shape[2]
    mask = np.broadcast_to(True if mask is None else mask, (B, H, T, S))
    o, g, rest = np.zeros((B, H, T, v.shape[-1]), v.dtype), sigmoid(z_gate), sigmoid(-z_gate)
    for b, h, t in np.ndindex(B, H, T):
        a = softmax(q_exc[b, h, t] @ k_exc[b, h].T / d**0.5, mask[b, h, t])
        i = softmax(q_inh[b, h, t] @ k_inh[b, h].T / d**0.5, mask[b, h, t])
        up, down = (g[b, h, t], rest[b, h, t]) if GATE_ON == "queries" else (g[b, h], rest[b, h])
        up, down = (up, down) if GATED == "exc" else (down, up)
        o[b, h, t] = (up * a - down * i) @ v[b, h]
    return o, None
''',
        "two heads, and the gate where it is cheapest": '''
def sigmoid(z):
    return np.exp(np.minimum(z, 0)) / (1 + np.exp(-abs(z)))

def one(q, k, v, mask):
    return softmax(q @ k.swapaxes(2, 3) * q.shape[-1] ** -0.5, mask) @ v

def gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    z = z_gate if GATED == "exc" else -z_gate
    a, b = sigmoid(z)[..., None], sigmoid(-z)[..., None]
    if GATE_ON == "queries":
        return a * one(q_exc, k_exc, v, mask) - b * one(q_inh, k_inh, v, mask), ()
    return one(q_exc, k_exc, a * v, mask) - one(q_inh, k_inh, b * v, mask), ()
''',
        "a mask of its own, einsum, in place on copies": '''
def own_softmax(S, mask):
    S = S - S.max(-1, keepdims=True)
    np.exp(S, out=S)
    if mask is not None:
        S *= mask
    total = S.sum(-1, keepdims=True)
    total[total == 0] = 1
    S /= total
    return S

def sigmoid(z):
    out = z.copy()
    low = out < 0
    e = np.exp(-np.abs(out))
    out[low], out[~low] = e[low] / (1 + e[low]), 1 / (1 + e[~low])
    return out

def gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    letters = "bht" if GATE_ON == "queries" else "bhs"
    scale = float(q_exc.shape[-1]) ** -0.5
    E = own_softmax(scale * np.einsum("bhtd,bhsd->bhts", q_exc, k_exc), mask)
    I = own_softmax(scale * np.einsum("bhtd,bhsd->bhts", q_inh, k_inh), mask)
    sign = 1 if GATED == "exc" else -1
    e = np.einsum(f"bhts,{letters},bhse->bhte", E, sigmoid(sign * z_gate), v)
    e -= np.einsum(f"bhts,{letters},bhse->bhte", I, sigmoid(-sign * z_gate), v)
    return e, [E, I]
''',
    },
    "ex07": {
        "loops over batch and heads": '''
def gated_head_backward(do, cache):
    q_exc, k_exc, q_inh, k_inh, v, A, A_exc, A_inh, g, rest = cache
    six = [np.zeros_like(x) for x in (q_exc, k_exc, q_inh, k_inh, v)]
    six.append(np.zeros(g.shape[:2] + (max(g.shape[2:]),), do.dtype))
    scale, axis = q_exc.shape[-1] ** -0.5, 1 if GATE_ON == "queries" else 0
    for at in np.ndindex(do.shape[:2]):
        dA, (up, down) = do[at] @ v[at].T, (g[at], rest[at])
        w_exc, w_inh = (up, down) if GATED == "exc" else (down, up)
        six[4][at] = A[at].T @ do[at]
        exc, inh = (0, A_exc, w_exc, q_exc, k_exc), (2, A_inh, -w_inh, q_inh, k_inh)
        for place, M, w, q, k in (exc, inh):
            M, q, k, dM = M[at], q[at], k[at], w * dA
            dS = scale * M * (dM - (M * dM).sum(axis=1, keepdims=True))
            six[place][at], six[place + 1][at] = dS @ k, dS.T @ q
        dz = (dA * (A_exc[at] + A_inh[at])).sum(axis=axis) * (up * down).ravel()
        six[5][at] = dz if GATED == "exc" else -dz
    return tuple(six)
''',
        "a row at a time": '''
def gated_head_backward(do, cache):
    q_exc, k_exc, q_inh, k_inh, v, A, A_exc, A_inh, g, rest = cache
    dq_exc, dk_exc, dq_inh, dk_inh = (np.zeros_like(x) for x in (q_exc, k_exc, q_inh, k_inh))
    dv, dg = np.zeros_like(v), np.zeros(A.shape, do.dtype)
    scale = 1 / float(np.sqrt(q_exc.shape[-1]))
    w_exc, w_inh = np.broadcast_arrays(*((g, rest) if GATED == "exc" else (rest, g)), A)[:2]
    for b, h, t in np.ndindex(do.shape[:3]):
        at = b, h, t
        dA = v[b, h] @ do[at]
        dv[b, h] += np.outer(A[at], do[at])
        e, i = w_exc[at] * dA, -w_inh[at] * dA
        dS_e, dS_i = A_exc[at] * (e - e @ A_exc[at]), A_inh[at] * (i - i @ A_inh[at])
        dq_exc[at], dq_inh[at] = scale * dS_e @ k_exc[b, h], scale * dS_i @ k_inh[b, h]
        dk_exc[b, h] += scale * np.outer(dS_e, q_exc[at])
        dk_inh[b, h] += scale * np.outer(dS_i, q_inh[at])
        dg[at] = dA * (A_exc[at] + A_inh[at])
    dz = (dg * g * rest).sum(-1 if GATE_ON == "queries" else -2)
    return dq_exc, dk_exc, dq_inh, dk_inh, dv, dz if GATED == "exc" else -dz
''',
        "einsum, and a forward of its own that keeps a dict": '''
def gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    scale, z = q_exc.shape[-1] ** -0.5, z_gate if GATED == "exc" else -z_gate
    E = softmax(scale * np.einsum("bhtd,bhsd->bhts", q_exc, k_exc), mask)
    I = softmax(scale * np.einsum("bhtd,bhsd->bhts", q_inh, k_inh), mask)
    axis = -1 if GATE_ON == "queries" else -2
    a, b = np.expand_dims(sigmoid(z), axis), np.expand_dims(sigmoid(-z), axis)
    return (a * E - b * I) @ v, dict(q=(q_exc, q_inh), k=(k_exc, k_inh), v=v, maps=(E, I), weights=(a, -b), axis=axis)

def gated_head_backward(do, c):
    dA, out = np.einsum("bhte,bhse->bhts", do, c["v"]), []
    for q, k, M, w in zip(c["q"], c["k"], c["maps"], c["weights"]):
        P = w * dA * M
        dS = q.shape[-1] ** -0.5 * (P - M * P.sum(-1, keepdims=True))
        out += [np.einsum("bhts,bhsd->bhtd", dS, k), np.einsum("bhts,bhtd->bhsd", dS, q)]
    (E, I), (a, b) = c["maps"], c["weights"]
    dz = np.sum(-a * b * dA * (E + I), axis=c["axis"])
    dv = np.einsum("bhts,bhte->bhse", a * E + b * I, do)
    return [*out, dv, dz if GATED == "exc" else -dz]
''',
    },
    "ex08": {
        "row by row": '''
def head_norm_forward(o, w, lambda_init):
    h, f = np.zeros_like(o), 1 - lambda_init if FACTOR else 1.0
    for at in np.ndindex(o.shape[:-1]):
        c = o[at] - o[at].mean() if NORM == "layer" else o[at]
        h[at] = f * w * c / np.sqrt(np.mean(c**2) + EPS)
    return h, {"o": o, "w": w, "f": f}

def head_norm_backward(dh, cache):
    o, w, f = cache["o"], cache["w"], cache["f"]
    do, dw = np.zeros_like(o), np.zeros_like(w)
    for at in np.ndindex(o.shape[:-1]):
        c = o[at] - o[at].mean() if NORM == "layer" else o[at]
        e, size2 = len(c), np.mean(c**2) + EPS
        d = f * w * dh[at]
        g = d / np.sqrt(size2) - c * (c @ d) / (e * size2 * np.sqrt(size2))
        do[at] = g - g.mean() if NORM == "layer" else g
        dw += f * dh[at] * c / np.sqrt(size2)
    return do, dw
''',
        "the projection, a closure": '''
def head_norm_forward(o, w, lambda_init):
    c = o - o.mean(-1, keepdims=True) * (NORM == "layer")
    size = np.sqrt(np.square(c).mean(-1, keepdims=True) + EPS)
    gain = w * (1 - lambda_init) if FACTOR else w

    def back(dh):
        n, d = c / size, gain * dh
        g = (d - n * np.einsum("...e,...e->...", n, d)[..., None] / n.shape[-1]) / size
        if NORM == "layer":
            g -= g.mean(-1, keepdims=True)
        dw = np.einsum("bhte,bhte->e", dh, n)
        return g, dw * (1 - lambda_init) if FACTOR else dw
    return gain * c / size, back

def head_norm_backward(dh, back):
    return back(dh)
''',
        "in place, on copies": '''
def head_norm_forward(o, w, lambda_init):
    n = o.copy()
    if NORM == "layer":
        n -= n.mean(axis=-1, keepdims=True)
    r = (np.mean(n * n, axis=-1, keepdims=True) + EPS) ** -0.5
    n *= r
    return (1 - lambda_init if FACTOR else 1) * n * w, [n, r, w, lambda_init]

def head_norm_backward(dh, cache):
    n, r, w, lambda_init = cache
    dw = (dh * n).sum(axis=0).sum(axis=0).sum(axis=0)
    d = dh * w
    d -= n * np.mean(d * n, axis=-1, keepdims=True)
    d *= r
    if NORM == "layer":
        d -= d.mean(axis=-1, keepdims=True)
    if FACTOR:
        d *= 1 - lambda_init
        dw *= 1 - lambda_init
    return d, dw
''',
    },
    "ex09": {
        "least squares, loops": '''
def steady_state(e, K):
    n = e.shape[0]
    if K.ndim != 2 or K.shape[0] != n or K.shape[1] != n:
        raise ValueError(f"K has the shape {K.shape}, expected {(n, n)}")
    if min(v.real for v in np.linalg.eigvals(np.identity(n) + K)) <= 0:
        raise ValueError("it runs away")
    return np.linalg.lstsq(np.identity(n, K.dtype) + K, e, rcond=None)[0]

def inhibition_matrix(n, strength, width):
    K = np.zeros((n, n))
    for p in range(n):
        for j in range(n):
            u = min((p - j) % n, (j - p) % n) / width
            f = {"exponential": np.exp(-u), "gaussian": np.exp(-u * u / 2)}.get(LAW, 1 / (1 + u * u))
            K[p, j] = strength * f if p != j else 0
    return K

def mach_band(n, low, high, strength, width):
    e = np.array([low] * (n // 2) + [high] * (n - n // 2))
    return steady_state(e, inhibition_matrix(n, strength, width))

def overshoot(r):
    n = r.size
    return np.array(max(r) - r[n // 4 * 3]), np.array(r[n // 4] - min(r))
''',
        "rolled rows": '''
def inhibition_matrix(n, strength, width):
    a = np.minimum(np.arange(n), n - np.arange(n)) / width
    row = {"exponential": np.exp(-a), "gaussian": np.exp(-0.5 * a * a), "lorentzian": 1 / (1 + a * a)}[LAW] * strength
    row[0] = 0
    return np.array([np.roll(row, p) for p in range(n)])
''',
        "the equation in time, e copied": '''
def steady_state(e, K):
    if K.shape != (len(e), len(e)):
        raise ValueError("K does not fit e")
    if np.linalg.eigvals(-np.eye(len(e)) - K).real.max() >= 0:
        raise ValueError("unstable")
    r = e.copy()
    for _ in range(8000):
        r += (e - r - K @ r) * e.dtype.type(0.05)
    return r
''',
    },
    "ex10": {
        "a stack that backward empties": '''
def block_forward(x, p):
    stack = []
    def run(f, x, name):
        y, cache = f(x, p[name])
        stack.append(cache)
        return y
    if NORM == "pre":
        x = x + run(attention_forward, run(rmsnorm_forward, x, "norm1"), "attention")
        x = x + run(mlp_forward, run(rmsnorm_forward, x, "norm2"), "mlp")
    else:
        x = run(rmsnorm_forward, x + run(attention_forward, x, "attention"), "norm1")
        x = run(rmsnorm_forward, x + run(mlp_forward, x, "mlp"), "norm2")
    return x, stack

def block_backward(dx, stack):
    d = {}
    for f, name, norm in ((mlp_backward, "mlp", "norm2"), (attention_backward, "attention", "norm1")):
        if NORM == "pre":
            branch, d[name] = f(dx, stack.pop())
            branch, d[norm] = rmsnorm_backward(branch, stack.pop())
        else:
            dx, d[norm] = rmsnorm_backward(dx, stack.pop())
            branch, d[name] = f(dx, stack.pop())
        dx = dx + branch
    return dx, d
''',
        "closures": '''
def block_forward(x, p):
    def pair(forward, backward, x, name):
        y, cache = forward(x, p[name])
        return y, lambda dy: backward(dy, cache)
    def norm(x, name):
        return pair(rmsnorm_forward, rmsnorm_backward, x, name)
    backs = []
    pairs = ("attention", 1, attention_forward, attention_backward), ("mlp", 2, mlp_forward, mlp_backward)
    for name, i, f, b in pairs:
        if NORM == "pre":
            n, undo_norm = norm(x, f"norm{i}")
            y, undo = pair(f, b, n, name)
            x = x + y
        else:
            y, undo = pair(f, b, x, name)
            x, undo_norm = norm(x + y, f"norm{i}")
        backs.append((name, i, undo, undo_norm))
    return x, backs

def block_backward(dx, backs):
    out = {}
    for name, i, undo, undo_norm in reversed(backs):
        if NORM == "pre":
            dn, out[name] = undo(dx)
            more, out[f"norm{i}"] = undo_norm(dn)
        else:
            dx, out[f"norm{i}"] = undo_norm(dx)
            more, out[name] = undo(dx)
        dx = np.add(dx, more)
    return dx, out
''',
    },
    "ex11": {
        "properties, unit upstreams and a few shapes": '''
def of(z):
    e = np.exp((z - z.max(-1, keepdims=True)) / TEMPERATURE)
    return e / e.sum(-1, keepdims=True)

def check_softmax_pair(forward, backward):
    rng = np.random.default_rng(7)
    try:
        for shape in ((5,), (3, 4), (2, 3, 6), (1, 1, 2, 8)):
            for size in (1, 10000):
                scores, other = size * rng.standard_normal(shape), size * rng.standard_normal(shape)
                kept = scores.copy()
                A, cache = forward(scores)
                forward(other)
                if A.shape != shape or not np.array_equal(kept, scores) or not np.allclose(A, of(kept), atol=1e-4):
                    return False
                dA = rng.standard_normal(shape)
                dA_kept, right = dA.copy(), of(kept)
                d = backward(dA, cache)
                wanted = right * (dA_kept - (right * dA_kept).sum(-1, keepdims=True)) / TEMPERATURE
                if d.shape != shape or not np.array_equal(dA, dA_kept) or not np.allclose(d, wanted, atol=1e-4):
                    return False
    except Exception:
        return False
    return True
''',
        "complex step of its own softmax": '''
def check_softmax_pair(forward, backward):
    def f(z):
        e = np.exp((z - z.real.max(-1, keepdims=True)) / TEMPERATURE)
        return e / e.sum(-1, keepdims=True)
    try:
        for seed, size in ((1, 1.0), (2, 2.0), (3, 5000.0)):
            rng = np.random.default_rng(seed)
            scores, dA = size * rng.standard_normal((3, 3, 3)), rng.standard_normal((3, 3, 3))
            s, u = scores.copy(), dA.copy()
            A, cache = forward(s)
            forward(-scores)
            d = backward(u, cache)
            right = np.zeros_like(scores)
            for at in np.ndindex(scores.shape):
                step = np.zeros(scores.shape, complex)
                step[at] = 1e-30j
                right[at] = (f(scores + step).imag * dA).sum() / 1e-30
            if (s != scores).any() or (u != dA).any() or A.shape != d.shape or A.shape != scores.shape:
                return False
            if not (np.abs(A - f(scores)) < 1e-5).all() or not (np.abs(d - right) < 1e-5).all():
                return False
        return True
    except BaseException:
        return False
''',
        "drawn without a seed": '''
def check_softmax_pair(forward, backward):
    for size in (1, 1, 1, 4000):
        scores, dA = size * np.random.randn(4, 5, 5), np.random.randn(4, 5, 5)
        try:
            a, b = scores.copy(), dA.copy()
            A, cache = forward(a)
            forward(np.random.randn(4, 5, 5))
            d = backward(b, cache)
            e = np.exp((scores - scores.max(-1, keepdims=True)) / TEMPERATURE)
            e = e / e.sum(-1, keepdims=True)
            right = e * (dA - (e * dA).sum(-1, keepdims=True)) / TEMPERATURE
            near = np.abs(A - e).max() < 1e-4 and np.abs(d - right).max() < 1e-4
            ok = np.shape(A) == np.shape(d) == scores.shape and near
            if not (ok and (a == scores).all() and (b == dA).all()):
                return False
        except Exception:
            return False
    return True
''',
    },
    "ex12": {
        "queries in blocks, too": '''
def streamed_attention(q, k, v, width):
    out = np.empty((len(q), v.shape[1]), q.dtype)
    scale = q.shape[1] ** -0.5 if SCALE == "1/sqrt(d)" else 1 / q.shape[1]
    for i in range(0, len(q), 500):
        rows = q[i : i + 500] * scale
        top, total, o = None, 0.0, 0.0
        for j in range(0, len(k), width):
            S = rows @ k[j : j + width].T
            new = S.max(1) if top is None else np.maximum(top, S.max(1))
            fade = 0.0 if top is None else (np.exp if BASE == "e" else np.exp2)(top - new)
            E = (np.exp if BASE == "e" else np.exp2)(S - new[:, None])
            total = total * fade + E.sum(1)
            o = (o.T * fade).T + E @ v[j : j + width] if top is not None else E @ v[j : j + width]
            top = new
        out[i : i + 500] = (o.T / total).T
    return out
''',
        "log-sum-exp of what was seen": '''
def streamed_attention(q, k, v, width):
    unit = 1.0 if BASE == "e" else 0.6931471805599453
    q = q * (unit * float(q.shape[-1]) ** (-0.5 if SCALE == "1/sqrt(d)" else -1.0))
    seen, o = np.full((len(q), 1), -np.inf, q.dtype), np.zeros((len(q), v.shape[1]), q.dtype)
    at = 0
    while at < len(k):
        S = q @ k[at : at + width].T
        m = S.max(1, keepdims=True)
        e = np.exp(S - m)
        total = e.sum(1, keepdims=True)
        tile = m + np.log(total)
        both = np.logaddexp(seen, tile)
        o = np.exp(seen - both) * o + np.exp(tile - both) * (e @ v[at : at + width] / total)
        seen, at = both, at + width
    return o

def gated_streamed(q_exc, k_exc, q_inh, k_inh, v, g, width):
    o = g.reshape(-1, 1) * streamed_attention(q_exc, k_exc, v, width)
    o -= (1 - g).reshape(-1, 1) * streamed_attention(q_inh, k_inh, v, width)
    return o
''',
        "two passes over the tiles": '''
def streamed_attention(q, k, v, width):
    power = np.exp if BASE == "e" else np.exp2
    scale = q.shape[-1] ** (-0.5 if SCALE == "1/sqrt(d)" else -1)
    tiles = [slice(i, i + width) for i in range(0, len(k), width)]
    top = np.full(len(q), -np.inf, q.dtype)
    for t in tiles:
        np.maximum(top, (scale * q @ k[t].T).max(axis=1), out=top)
    total, o = np.zeros_like(top), np.zeros((len(q), v.shape[1]), q.dtype)
    for t in tiles:
        E = power(scale * q @ k[t].T - top[:, None])
        total += E.sum(axis=1)
        o += E @ v[t]
    return o / total[:, None]
''',
    },
    "ex13": {
        "loops and Python's numbers": '''
import math
from itertools import product
from statistics import fmean, stdev

def make_sequences(a, b, start, length):
    rows = []
    for a_n, b_n, x in zip(a.tolist(), b.tolist(), start.tolist()):
        row = [x]
        for _ in range(length - 1):
            row.append((a_n * row[-1] + b_n) % MODULUS)
        rows.append(row)
    return np.array(rows)

def score(logits, x):
    hits, guesses = 0, 0
    for n in range(logits.shape[0]):
        for t in range(2, logits.shape[1]):
            guess = max(range(MODULUS), key=lambda k: logits[n, t, k])
            hits += (guess == x[n, t + 1]) == (SCORE == "accuracy")
            guesses += 1
    return 100.0 * hits / guesses

def of_pairs(first, second):
    return [float(f - s) for f, s in zip(first, second) if not (math.isnan(f) or math.isnan(s))]

def paired_interval(first, second):
    d = of_pairs(first, second)
    half = float(t_quantile(1 - (1 - CONFIDENCE) / 2, len(d) - 1)) * stdev(d) / math.sqrt(len(d))
    return [fmean(d), fmean(d) - half, fmean(d) + half]

def sign_flip_p(first, second):
    d = of_pairs(first, second)
    far = abs(sum(d)) * (1 - 1e-9)
    found = [abs(sum(s * x for s, x in zip(signs, d))) >= far for signs in product((1, -1), repeat=len(d))]
    return sum(found) / len(found)

def verdict(low, high, smallest):
    if SCORE == "error":
        low, high = -high, -low
    if low > -smallest and high < smallest:
        return VERDICTS[2]
    return VERDICTS[0] if low > 0 else VERDICTS[1] if high < 0 else VERDICTS[3]
''',
        "powers of the rule, one hot, a symmetric half of the signs": '''
def make_sequences(a, b, start, length):
    x, factor, term = np.zeros((length, len(start)), dtype=np.int64), np.ones_like(a), np.zeros_like(b)
    for t in range(length):
        x[t] = (factor * start + term) % MODULUS
        factor, term = factor * a % MODULUS, (a * term + b) % MODULUS
    return x.T

def score(logits, x):
    known = np.eye(MODULUS, dtype=bool)[x[:, 3:]]
    top = logits[:, 2:] == logits[:, 2:].max(axis=-1, keepdims=True)
    right = (known & top).any(-1).mean()
    return {"accuracy": right, "error": 1 - right}[SCORE] * 100

def paired_interval(first, second):
    ended = np.isfinite(first) & np.isfinite(second)
    d = (first - second)[ended]
    n, mean = d.size, d.sum() / d.size
    error = np.sqrt(((d - mean) ** 2).sum() / (n * (n - 1)))
    tail = (1 - CONFIDENCE) / 2
    ends = mean + error * np.array([t_quantile(tail, n - 1), t_quantile(1 - tail, n - 1)])
    return mean, *ends

def sign_flip_p(first, second):
    d = np.array([x for x in first - second if x == x])
    sums = d[:1]
    for x in d[1:]:
        sums = np.add.outer(sums, (x, -x)).ravel()
    return float((np.abs(sums) + 1e-9 >= abs(d.sum())).sum() / sums.size)

def verdict(low, high, smallest):
    if abs(low) < smallest and abs(high) < smallest:
        return "no difference worth having"
    if low * high <= 0:
        return "cannot tell"
    good = low + high if SCORE == "accuracy" else -(low + high)
    return "better" if good > 0 else "worse"
''',
        "masked arrays and bits": '''
from functools import reduce

def make_sequences(a, b, start, length):
    steps = reduce(lambda x, _: [*x, np.remainder(a * x[-1] + b, MODULUS)], range(length - 1), [start])
    return np.array(steps).swapaxes(0, 1)

def score(logits, x):
    wrong = np.not_equal(np.argmax(logits, axis=2), x[:, 1:])[:, 2:]
    per_cent = 100 * wrong.sum() / wrong.size
    return per_cent if SCORE == "error" else 100 - per_cent

def paired_interval(first, second):
    d = np.ma.masked_invalid(first - second)
    n = d.count()
    half = t_quantile(0.5 + CONFIDENCE / 2, n - 1) * np.sqrt(d.var(ddof=1) / n)
    return float(d.mean()), float(d.mean() - half), float(d.mean() + half)

def sign_flip_p(first, second):
    d = first - second
    d = np.delete(d, np.flatnonzero(np.isnan(d)))
    far = total = 0
    for bits in range(1 << len(d)):
        mean = sum(-x if bits >> i & 1 else x for i, x in enumerate(d)) / len(d)
        far, total = far + (abs(mean) > abs(d.mean()) - 1e-9), total + 1
    return far / total

def verdict(low, high, smallest):
    sides = {np.sign(low), np.sign(high)}
    small = max(-low, high) < smallest
    if small:
        return VERDICTS[-2]
    if len(sides) == 2:
        return VERDICTS[-1]
    return VERDICTS[(sides == {1.0}) != (SCORE == "accuracy")]
''',
    },
}
