"""Forward and backward of a part of a batch, on memory that stands still.

A stage writes down its forward, yields, and writes down its backward; Shard has all forwards done
and then all backwards, last stage first. So each backward stands below the forward that it undoes.
Between them, x is the residual stream and dx its gradient; dy is the gradient of what a norm gives.

The letters of the shapes are as everywhere: B sequences of T tokens, width C, H heads, F, d, e the
width of a value. N = B T tokens have a row each, and R of them logits, V columns of them. A head
has n maps. W_in has P columns, W_up stacks U matrices. A block of queries has t of them and sees S
keys.
"""

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from ..backend import erf
from .program import Program, put
from .tables import TableSum
from .weights import columns, merged_sizes

TILE = 64  # queries of a block, on tiles
LARGE_MAPS = 2**24  # numbers in the maps of a layer from which a GPU has causal queries in blocks
MILD = 40  # scores between -40 and 40: exp neither overflows nor vanishes


class Batch(NamedTuple):
    """What a shard is given, on the host."""

    inputs: np.ndarray  # tokens (B, T), 0 for dropped ones; or patches (B, T, P P channels), likewise
    targets: np.ndarray
    keep: np.ndarray  # (B, T)
    weight: np.ndarray  # of each target in the loss

    def places(self):
        """The position of each token (B, T): how many kept ones lie before it."""
        if self.inputs.ndim > 2:  # patches stay where they are, dropped or not
            return np.arange(self.keep.shape[1])[None]
        return self.keep.cumsum(axis=1, dtype="int32") - self.keep


class Shard:
    """The memory of so many sequences, and the program that works on it."""

    def __init__(self, xp, cfg, batch, length, keep, dtype, tiled):
        self.xp, self.cfg, self.keep, self.dtype, self.tiled = xp, cfg, keep, dtype, tiled
        self.causal, N = cfg.task == "lm", batch * length
        sizes = merged_sizes(cfg) | {"B": batch, "T": length, "N": N, "V": cfg.n_out, "n": cfg.mechanism.maps}
        sizes |= {"R": N if self.causal else batch, "e": cfg.width // cfg.n_heads, "d/2": sizes["d"] // 2}
        sizes |= {"Q": sizes["n"] * cfg.n_heads * sizes["d"], "n*H*e": sizes["n"] * cfg.width}
        # blocks save passes over maps, and cost calls, each of which a GPU makes slowly
        split = xp is np or batch * sizes["H"] * sizes["n"] * length**2 >= LARGE_MAPS
        self.query_blocks = query_blocks(length, self.causal, tiled, split)
        self.sizes = sizes | {"t": max(stop - start for start, stop, _ in self.query_blocks), "S": length}
        self.program, self.buffers, self.feeds, self.tables = Program(xp), {}, [], []
        self.into, self.do = self.program.into, self.program.do
        self.x, self.dx, self.dy, self.room = (self.new("N C") for _ in range(4))
        self.ones = xp.ones((N * cfg.n_heads, 1), dtype)
        self.later = xp.asarray(np.where(np.tri(self.sizes["t"]), 0, -math.inf).astype(dtype))
        self.limit = self.feed("B 1 1 T", lambda batch: np.where(batch.keep, 0, -math.inf)) if keep else None
        if cfg.rotary:
            one = "1" if cfg.task == "vision" else "B"  # patches have the same positions in all images
            angles = 10000.0 ** (-np.arange(0, sizes["d"], 2) / sizes["d"])
            self.cos = self.feed(f"{one} 1 T d/2", lambda batch: np.cos(batch.places()[..., None] * angles))
            self.sin = self.feed(f"{one} 1 T d/2", lambda batch: np.sin(batch.places()[..., None] * angles))

    def new(self, letters, dtype=None, **sizes):
        """A buffer, by the letters of its shape."""
        return self.xp.zeros([(self.sizes | sizes)[letter] for letter in letters.split()], dtype or self.dtype)

    def shared(self, name, letters, **sizes):
        """A part of a buffer that all layers share; it has room for the largest such part."""
        shape = [(self.sizes | sizes)[letter] for letter in letters.split()]
        if name not in self.buffers:
            self.buffers[name] = self.new(letters).reshape(-1)
        return self.buffers[name][: math.prod(shape)].reshape(shape)

    def feed(self, letters, of, dtype=None):
        """A buffer into which load puts what the function makes of a batch."""
        self.feeds.append((self.new(letters, dtype), of))
        return self.feeds[-1][0]

    def load(self, batch):
        for buffer, of in self.feeds:
            put(buffer, of(batch).reshape(buffer.shape))
        for table, of in self.tables:
            table.load(of(batch).reshape(-1))

    # ----------------------------------------------------------------------------- the program

    def write(self, p, blocks, head, g):
        """Write the program down.

        p, blocks, head : the parameters of the embedding, the folded matrices of blocks and head
        g               : where the gradients of all these go
        """
        vision, y, dy = self.cfg.task == "vision", (n := self.new("N C")), self.dy
        stages = [(self.embed_patches if vision else self.embed_tokens)(p, g["embed"])]
        stages.append((self.add_places if self.keep and not vision else self.add_positions)(p, g["embed"]))
        for W, dW in zip(blocks, g["blocks"], strict=True):
            stages += self.block(W, dW)
        stages.append(self.norm(n))
        if not self.causal:
            y, dy = self.new("B C"), self.new("B C")
            stages.append(self.mean_pool(n, y, dy))
        stages.append(self.classify(y, dy, head, g["head"], g["loss"]))
        for stage in stages:
            next(stage)
        self.into(self.dx).copy(0)
        for stage in reversed(stages):
            next(stage, None)

    def block(self, W, g):
        """The stages of a block."""
        n1, n2, h = (self.new("N C") for _ in range(3))
        Y, dY, w = self.new("N P"), self.shared("dY", "N P"), self.new("n B H T 1")
        w.fill(1)
        (q, k, v, z), (dq, dk, dv, dz) = self.parts(Y), self.parts(dY)
        yield from (self.norm(n1), self.project(n1, Y, dY, W, g))
        if self.cfg.rotary:
            yield from (self.turn(q, dq), self.turn(k, dk))
        yield self.weigh(z, dz, w, W, g)
        yield self.attend(q, k, v, dq, dk, dv, w, h)
        if self.cfg.has_head_norm:
            yield self.head_norm(h)
        yield from (self.merge(h, W, g), self.norm(n2), self.feed_forward(n2, W, g))

    def parts(self, Y):
        """Views (B, T, ..) of Y (N, P): queries, keys, values of all heads, and logits of gates."""
        stops = {name[2]: cut.stop for name, cut in columns(self.cfg).items()}
        rows = Y.reshape(self.sizes["B"], self.sizes["T"], -1)
        return self.xp.split(rows, [stops[letter] for letter in "qkv"], axis=2)

    def heads(self, x, d):
        """A view (n, B, H, S, d) of x (B, S, n H d)."""
        B, S, H = *x.shape[:2], self.sizes["H"]
        return x.reshape(B, S, -1, H, self.sizes[d]).transpose(2, 0, 3, 1, 4)

    def column_sums(self, x, out):
        """out_j = sum_i x_ij; first those of each sequence, so that float32 keeps its digits."""
        x = x.reshape(self.sizes["B"], -1, x.shape[-1])
        sums = self.xp.zeros((len(x), 1, x.shape[2]), self.dtype)
        self.into(sums).matmul(self.ones[: x.shape[1]].T, x)
        self.into(out[None]).matmul(self.ones[: len(x)].T, sums[:, 0])

    # ----------------------------------------------------------------------------------- embedding

    def embed_patches(self, p, g):
        """x = patches W + b"""
        tiles = self.feed("N P*P*channels", lambda batch: batch.inputs)
        self.into(self.x).matmul(tiles, p["W"]).add(self.x, p["b"])
        yield
        self.into(g["W"]).matmul(tiles.T, self.dx)
        self.column_sums(self.dx, g["b"])

    def embed_tokens(self, p, g):
        """x = table[tokens]"""
        tokens = self.feed("N", lambda batch: batch.inputs, "int64")
        table = TableSum(self.program, p["tokens"], self.dx)
        self.tables.append((table, lambda batch: batch.inputs))
        self.into(self.x).take(p["tokens"], tokens)
        yield
        table.write(g["tokens"])

    def add_positions(self, p, g):
        """x <- x + positions"""
        T, C = self.sizes["T"], self.sizes["C"]
        rows = self.x.reshape(-1, T, C)
        self.into(rows).add(rows, p["positions"][:T])
        yield
        self.column_sums(self.dx.reshape(-1, T * C), g["positions"][:T].reshape(-1))

    def add_places(self, p, g):
        """x <- x + positions[places], where the places do not just count up."""
        places = self.feed("N", Batch.places, "int64")
        table = TableSum(self.program, p["positions"], self.dx)
        self.tables.append((table, Batch.places))
        self.into(self.room).take(p["positions"], places)
        self.into(self.x).add(self.x, self.room)
        yield
        table.write(g["positions"])

    # --------------------------------------------------------------------------------------- norms

    def norm(self, n):
        """n = x r,   r = (mean(x^2) + eps)^(-1/2), without the gain.      [eq:rmsnorm, standard]"""
        r = self.normalise(self.x, n)
        yield
        self.through_norm(self.dy, n, r)
        self.into(self.dx).add(self.dx, self.dy)

    def head_norm(self, h):
        """The same for each head, in place."""
        h, dh = (a.reshape(-1, self.sizes["e"]) for a in (h, self.dy))
        r = self.normalise(h, h)
        yield
        self.through_norm(dh, h, r)

    def normalise(self, x, n):
        room, r = self.room.reshape(x.shape), self.xp.zeros((len(x), 1), self.dtype)
        self.into(room).multiply(x, x)
        self.into(r).matmul(room, self.mean(x)).add(r, self.cfg.eps).sqrt(r).divide(1, r)
        self.into(n).multiply(x, r)
        return r

    def through_norm(self, dn, n, r):
        """dn <- r (dn - n mean(dn n)), the gradient of x.         [eq:rmsnorm-backward, derived]"""
        room, m = self.room.reshape(n.shape), self.xp.zeros_like(r)
        self.into(room).multiply(dn, n)
        self.into(m).matmul(room, self.mean(n))
        self.into(room).multiply(n, m)
        self.into(dn).subtract(dn, room).multiply(dn, r)

    def mean(self, x):
        """The vector whose product with x has the means of its rows."""
        return self.xp.full((x.shape[1], 1), 1 / x.shape[1], self.dtype)

    # ----------------------------------------------------------------------------------- attention

    def project(self, n, Y, dY, W, g):
        """[q, k, v, z] = n W_in"""
        self.into(Y).matmul(n, W["W_in"])
        yield
        self.into(g["W_in"]).matmul(n.T, dY)
        self.into(self.dy).matmul(dY, W["W_in"].T)

    def turn(self, x, dx):
        """Turn pairs of columns by angles that grow with the positions.   [eq:rotary, published]"""
        x, dx = self.heads(x, "d"), self.heads(dx, "d")
        a, b = (self.shared(name, "n B H T d/2", n=len(x)) for name in ("even", "odd"))

        def write(x, add, subtract):
            even, odd = x[..., 0::2], x[..., 1::2]
            self.into(a).multiply(even, self.sin)
            self.into(b).multiply(odd, self.sin)
            getattr(self.into(even).multiply(even, self.cos), subtract)(even, b)
            getattr(self.into(odd).multiply(odd, self.cos), add)(odd, a)

        write(x, "add", "subtract")
        yield
        write(dx, "subtract", "add")

    def weigh(self, z, dz, w, W, g):
        """The weights w of the maps: (1, -lam); of gates g = sigmoid(z + b), (g, g - 1) or (1, -g).

        The backward takes r, which attend has left: the gradient of w.
        """
        into, r, (gate, shut) = self.into, self.shared("r", "n B H T 1"), (self.new("B H T 1") for _ in range(2))
        both, lam = self.cfg.kind == "dgsa" and self.cfg.gate_on == "both", self.cfg.kind == "diff_v1"
        if lam:
            into(w[1]).multiply(W["lam"], -1)
        elif z.size:
            into(shut).add(self.heads(z, "1")[0], W["b_gate"][:, None, None])
            self.sigmoid(shut, gate)
            into(shut).exp(shut).add(shut, 1).divide(1, shut)  # 1 - g, which keeps its digits as sigmoid(-z)
            into(w[0]).copy(gate if both else 1)
            into(w[1]).negative(shut if both else gate)
        yield
        if lam:
            self.column_sums(r[1].reshape(-1, 1), g["lam"][0])
            into(g["lam"]).negative(g["lam"])
        elif z.size:
            # dg = r_0 + r_1, or -r_1;   dz = g (1 - g) dg
            dgate, dlogit = r[0], self.heads(dz, "1")[0]
            if both:
                into(dgate).add(r[0], r[1])
            else:
                into(dgate).negative(r[1])
            into(dlogit).multiply(gate, shut).multiply(dlogit, dgate)
            self.column_sums(dz, g["b_gate"])

    def sigmoid(self, z, out):
        self.into(out).negative(z).exp(out).add(out, 1).divide(1, out)

    def attend(self, q, k, v, dq, dk, dv, w, h):
        """o = F v,   F = sum_i c_i E_i,   E_i = exp(q_i k_i^T),   c_i = w_i / rowsum(E_i)

        E is not divided by its sums: they go into c, one factor per row. In the backward

            dF = do v^T,   r_i = rowsum(E_i * dF) / rowsum(E_i),   X_i = E_i * (dF - r_i)
            dq_i = c_i (X_i k_i),   dk_i = X_i^T (c_i q_i),   dv = F^T do,   dw_i = r_i

        q holds the 1 / sqrt(d). Queries go in blocks: causal ones see no keys behind them. On tiles
        no map is kept for the backward, which makes those of a block once more.
        """
        into, r, c, cq = self.into, self.shared("r", "n B H T 1"), self.new("n B H T 1"), self.shared("cq", "B T Q")
        Q, K, V, dQ, cQ = (self.heads(a, d) for a, d in zip((q, k, v, dq, cq), "ddedd", strict=True))
        o, do = (self.heads(a.reshape(v.shape), "e")[0] for a in (h, self.dy))
        blocks = [self.block_of_queries(*cut) for cut in self.query_blocks]
        for b in blocks:
            self.make_maps(b, Q, K, w, c)
            into(o[..., b.t, :]).matmul(b.F, V[0, ..., : b.S, :])
        yield
        each = self.shared("c", "B T Q")
        into(self.heads(each, "d")).copy(c)
        into(cq).multiply(q, each)
        for b in reversed(blocks):  # the last one first: it sees all keys, and the others add to it
            if self.tiled:
                self.make_maps(b, Q, K, w, c)
            r_t, first = r[..., b.t, :], b is blocks[-1]
            into(b.dF).matmul(do[..., b.t, :], V[0, ..., : b.S, :].mT)
            into(b.room).multiply(b.E, b.dF)
            into(b.rows.reshape(-1, 1)).matmul(b.room.reshape(-1, b.S), self.ones[: b.S])
            into(r_t).multiply(b.rows, b.inverse)
            into(b.room).subtract(b.dF, r_t).multiply(b.room, b.E)
            into(dQ[..., b.t, :]).matmul(b.room, K[..., : b.S, :])
            self.add_product(b.room.mT, cQ[..., b.t, :], dk[:, : b.S], "d", first)
            self.add_product(b.F.mT[None], do[None, ..., b.t, :], dv[:, : b.S], "e", first)
        into(dq).multiply(dq, each)

    def block_of_queries(self, start, stop, S):
        """Memory for the maps of the queries from start to stop, which see S keys."""
        sizes, b = {"t": stop - start, "S": S}, SimpleNamespace(t=slice(start, stop), S=S)
        b.room, b.dF = self.shared("room", "n B H t S", **sizes), self.shared("dF", "B H t S", **sizes)
        b.rows, b.inverse = self.shared("rows", "n B H t 1", **sizes), self.new("n B H t 1", **sizes)
        if self.tiled:
            b.E, b.F = self.shared("E", "n B H t S", **sizes), self.shared("F", "B H t S", **sizes)
        else:
            b.E, b.F = self.new("n B H t S", **sizes), self.new("B H t S", **sizes)
        b.limits = [(b.E, self.limit[..., :S])] if self.keep else []
        b.limits += [(b.E[..., start:], self.later[: stop - start, : stop - start])] if self.causal else []
        return b

    def make_maps(self, b, Q, K, w, c):
        self.into(b.E).matmul(Q[..., b.t, :], K[..., : b.S, :].mT)
        self.do(exponentials, self.xp, b.E, b.rows, b.limits)
        self.into(b.inverse.reshape(-1, 1)).matmul(b.E.reshape(-1, b.S), self.ones[: b.S])
        self.into(b.rows).equal(b.inverse, 0)  # a query that sees no key
        self.into(b.inverse).add(b.inverse, b.rows).divide(1, b.inverse)
        self.into(c[..., b.t, :]).multiply(w[..., b.t, :], b.inverse)
        self.into(b.room).multiply(b.E, c[..., b.t, :])
        self.add_maps(b.room, b.F)

    def add_maps(self, maps, out):
        if len(maps) == 1:
            self.into(out).copy(maps[0])
        else:
            self.into(out).add(maps[0], maps[1])

    def add_product(self, a, b, out, d, first):
        """The heads of out (B, S, ..) = a b, or out + a b if not the first; maps may share keys."""
        width = self.sizes["H"] * self.sizes[d]
        if first and out.shape[2] == len(a) * width:
            self.into(self.heads(out, d)).matmul(a, b)
            return
        part = self.shared("part", "B S n*H*e", S=out.shape[1], **{"n*H*e": len(a) * width})
        self.into(self.heads(part, d)).matmul(a, b)
        for start in range(0, part.shape[2], width):
            part_i, at = part[..., start : start + width], start % out.shape[2]
            out_i = out[..., at : at + width]
            if first and start == 0:
                self.into(out_i).copy(part_i)
            else:
                self.into(out_i).add(out_i, part_i)

    def merge(self, h, W, g):
        """x <- x + h W_o"""
        y = self.room
        self.into(y).matmul(h, W["W_o"])
        self.into(self.x).add(self.x, y)
        yield
        self.into(g["W_o"]).matmul(h.T, self.dx)
        self.into(self.dy).matmul(self.dx, W["W_o"].T)

    # -------------------------------------------------------------------------------- feed-forward

    def feed_forward(self, n, W, g):
        """x <- x + f W_down,   f = silu(a) u,   [a, u] = n W_up;   or f = gelu(a),   a = n W_up."""
        into, a, f = self.into, self.new("U N F"), self.new("N F")
        df, dn = self.shared("df", "N F"), self.shared("dn", "U N C")
        into(a).matmul(n, W["W_up"])
        activation = self.swiglu(a[0], a[1], f, df) if self.cfg.ffn == "swiglu" else self.gelu(a[0], f, df)
        next(activation)
        into(self.room).matmul(f, W["W_down"])
        into(self.x).add(self.x, self.room)
        yield
        into(g["W_down"]).matmul(f.T, self.dx)
        into(df).matmul(self.dx, W["W_down"].T)
        next(activation, None)
        into(g["W_up"]).matmul(n.T, a)
        into(dn).matmul(a, W["W_up"].mT)
        self.add_maps(dn, self.dy)

    def swiglu(self, a, u, f, df):
        """f = s u,   s = silu(a) = a sigma(a); in the backward a and u become da and du."""
        into, sigma, s = self.into, self.new("N F"), self.new("N F")
        self.sigmoid(a, sigma)
        into(s).multiply(a, sigma)
        into(f).multiply(s, u)
        yield
        # ds/da = sigma (1 + a - s)
        into(a).subtract(a, s).add(a, 1).multiply(a, sigma).multiply(a, u).multiply(a, df)
        into(u).multiply(df, s)

    def gelu(self, a, f, df):
        """f = a Phi(a),   Phi(a) = (1 + erf(a / sqrt(2))) / 2; in the backward a becomes da."""
        into, Phi, s = self.into, self.new("N F"), self.shared("s", "N F")
        into(Phi).multiply(a, math.sqrt(0.5))
        self.do(erf, Phi, out=Phi)
        into(Phi).add(Phi, 1).multiply(Phi, 0.5)
        into(f).multiply(a, Phi)
        yield
        # df/da = Phi + a exp(-a^2 / 2) / sqrt(2 pi)
        into(s).multiply(a, a).multiply(s, -0.5).exp(s).multiply(s, 1 / math.sqrt(2 * math.pi)).multiply(s, a)
        into(a).add(s, Phi).multiply(a, df)

    # -------------------------------------------------------------------------- logits and the loss

    def classify(self, y, dy, head, g, loss):
        """The loss, sum_i weight_i (log sum_j exp(z_ij) - z_i,target),   z = y W + b.

        In the backward dz = weight (softmax(z) - one-hot targets).
        """
        into, z, (top, sums, picked) = self.into, self.new("R V"), (self.new("R 1") for _ in range(3))
        weight = self.feed("R 1", lambda batch: batch.weight)
        places = self.feed("R", lambda batch: np.arange(len(z)) * z.shape[1] + batch.targets.reshape(-1), "int64")
        flat = z.reshape(-1, 1)
        into(z).matmul(y, head["W"]).add(z, head["b"])
        self.do(z.max, axis=-1, keepdims=True, out=top)
        into(z).subtract(z, top)
        into(picked).take(flat, places)
        into(z).exp(z)
        into(sums).matmul(z, self.xp.ones((z.shape[1], 1), self.dtype))
        into(top).log(sums).subtract(top, picked)
        into(loss).matmul(weight.T, top)
        yield
        into(sums).divide(weight, sums)
        into(z).multiply(z, sums)
        into(picked).take(flat, places).subtract(picked, weight)
        self.do(flat.__setitem__, places, picked)
        self.column_sums(z, g["b"])
        into(g["W"]).matmul(y.T, z)
        into(dy).matmul(z, head["W"].T)

    def mean_pool(self, n, y, dy):
        """y = the mean of n over the kept tokens; dy becomes the gradient of n."""
        pool = self.feed("B 1 T", lambda batch: batch.keep / np.maximum(batch.keep.sum(axis=1, keepdims=True), 1))
        rows = [a.reshape(len(pool), -1, n.shape[1]) for a in (n, self.dy)]
        self.into(y[:, None]).matmul(pool, rows[0])
        yield
        self.into(rows[1]).matmul(pool.mT, dy[:, None])


def exponentials(xp, E, top, limits):
    """E <- exp(E - shift), and 0 where a key is not seen. The sums divide the shift out again."""
    # Mild scores need no shift. A GPU always shifts: its answer would have to be waited for.
    mild = xp is np and E.min() > -MILD and E.max() < MILD
    for part, limit in limits:
        part += limit
    if not mild:
        E.max(axis=-1, keepdims=True, out=top)
        xp.maximum(top, np.finfo(E.dtype).min, out=top)
        E -= top
    xp.exp(E, out=E)


def query_blocks(T, causal, tiled, split=True):
    """(first query, end, keys that are seen) of each block of queries; no later keys if causal."""
    parts = -(-T // TILE) if tiled else min(4, max(1, T // 32)) if causal and split else 1
    return [(start, stop, stop if causal else T) for start, stop in pairwise(T * i // parts for i in range(parts + 1))]
