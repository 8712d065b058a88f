"""Exercise 10: right and wrong submissions, each the solution with some of its text exchanged."""

# The two sums of the forward and of the backward pass, in the pre-norm and the post-norm block.
SUM_1 = ("        x = x + a\n        n2", '        x, norm1 = rmsnorm_forward(x + a, p["norm1"])\n        m, mlp')
SUM_2 = ("        x = x + m\n    else:", '        x, norm2 = rmsnorm_forward(x + m, p["norm2"])\n    return')
BACK_2 = ("        dx = dx + dx_mlp\n        # x = x + a\n", "        dx = dx + dx_mlp\n        # x, norm1")
BACK_1 = ("        dx = dx + dx_attention\n    else:", "        dx = dx + dx_attention\n    return")
BEGIN = '    if NORM == "pre":\n        n1, norm1'
BEGIN_BACK = "    norm1, attention, norm2, mlp = cache\n    if NORM"
CACHE = "return x, (norm1, attention, norm2, mlp)"
OUT = 'return dx, {"norm1": dnorm1, "attention": dattention, "norm2": dnorm2, "mlp": dmlp}'


def at(places, old, new):
    """The same exchange at both places."""
    return [(place, place.replace(old, new)) for place in places]


STEPS = '''
def step_forward(x, p, norm, forward, name):
    if NORM == "pre":
        n, norm_cache = rmsnorm_forward(x, p[norm])
        y, cache = forward(n, p[name])
        return x + y, (norm_cache, cache)
    y, cache = forward(x, p[name])
    x, norm_cache = rmsnorm_forward(x + y, p[norm])
    return x, (norm_cache, cache)


def step_backward(dx, caches, backward):
    norm_cache, cache = caches
    if NORM == "pre":
        dn, grads = backward(dx, cache)
        branch, dnorm = rmsnorm_backward(dn, norm_cache)
        return dx + branch, dnorm, grads
    dx, dnorm = rmsnorm_backward(dx, norm_cache)
    branch, grads = backward(dx, cache)
    return dx + branch, dnorm, grads


'''

RIGHT = {
    "the solution": [],
    "one step, called twice": [
        ("def block_forward(x, p):", STEPS.strip("\n") + "\n\n\ndef block_forward(x, p):"),
        (BEGIN, '''    x, first = step_forward(x, p, "norm1", attention_forward, "attention")
    x, second = step_forward(x, p, "norm2", mlp_forward, "mlp")
    return x, (first, second)
''' + BEGIN),
        (BEGIN_BACK, '''    first, second = cache
    dx, dnorm2, dmlp = step_backward(dx, second, mlp_backward)
    dx, dnorm1, dattention = step_backward(dx, first, attention_backward)
    return dx, {"mlp": dmlp, "norm2": dnorm2, "attention": dattention, "norm1": dnorm1}
''' + BEGIN_BACK)],
    "the cache as a dict": [
        (CACHE, "return x, dict(n1=norm1, a=attention, n2=norm2, m=mlp)"),
        ("attention, norm2, mlp = cache", 'attention, norm2, mlp = (cache[name] for name in ("n1", "a", "n2", "m"))')],
    "the cache holds x and p, backward runs forward again": [
        (BEGIN, "    start = x\n" + BEGIN), (CACHE, "return x, (norm1, attention, norm2, mlp, start, p)"),
        (BEGIN_BACK, BEGIN_BACK.replace("= cache", "= block_forward(*cache[-2:])[1][:4]"))],
    "added into copies": [
        *at(SUM_1, "x = x + a", "x = x.copy()\n        x += a"),
        *at(BACK_2, "dx = dx + dx_mlp", "dx = dx.copy()\n        dx += dx_mlp")],
    "the dict filled bit by bit": [
        (OUT, 'grads = dict.fromkeys(("norm1", "attention", "norm2", "mlp"))\n'
            '    grads["norm2"], grads["mlp"] = dnorm2, dmlp\n'
            '    grads["norm1"], grads["attention"] = dnorm1, dattention\n    return dx, grads')],
}  # fmt: skip

WRONG = {  # name: (exchanges, a part of the hint that must be told)
    "no residual": (at(SUM_1, "x + a", "a") + at(SUM_2, "x + m", "m"), "the residual is missing"),
    "no first residual": (at(SUM_1, "x + a", "a"), "residual of the first step"),
    "no second residual": (at(SUM_2, "x + m", "m"), "residual of the second step"),
    "the other norm": ([("# Yours.\n", 'NORM = {"pre": "post", "post": "pre"}[NORM]\n')], "the norms stand where"),
    "one gain": ([('n2, norm2 = rmsnorm_forward(x, p["norm2"])', 'n2, norm2 = rmsnorm_forward(x, p["norm1"])'),
        (SUM_2[1], SUM_2[1].replace('p["norm2"]', 'p["norm1"]'))], "norm1's gain"),
    "parallel": ([(BEGIN, "    start = x\n" + BEGIN),
        ('rmsnorm_forward(x, p["norm2"])', 'rmsnorm_forward(start, p["norm2"])'),
        ('mlp_forward(x, p["mlp"])', 'mlp_forward(start, p["mlp"])')], "the block's x"),
    "dx not joined": (at(BACK_2, "dx + dx_mlp", "dx_mlp") + at(BACK_1, "dx + dx_a", "dx_a"),
        "gradient of the residual is missing: x"),
    "dx not joined at attention": (at(BACK_1, "dx + dx_a", "dx_a"), "missing in the attention step"),
    "dx not joined at the mlp": (at(BACK_2, "dx + dx_mlp", "dx_mlp"), "missing in the mlp step"),
    "an old upstream": ([(BEGIN_BACK, BEGIN_BACK.replace("    if", "    start = dx\n    if")),
        ("dn1, dattention = attention_backward(dx,", "dn1, dattention = attention_backward(start,"),
        ("dx_mlp, dmlp = mlp_backward(dx, mlp)", "dx_mlp, dmlp = mlp_backward(start, mlp)"),
        ("        dx, dnorm1 = rmsnorm", "        start = dx\n        dx, dnorm1 = rmsnorm"),
        ("dx_attention, dattention = attention_backward(dx,", "dx_attention, dattention = attention_backward(start,")],
        "too old"),
    "twice": (at(BACK_2, "dx + dx_mlp", "2 * dx + dx_mlp") + at(BACK_1, "dx + dx_a", "2 * dx + dx_a"), "added twice"),
    "norms not undone": ([
        ("dx_mlp, dnorm2 = rmsnorm_backward(dn2,", "dx_mlp, (_, dnorm2) = dn2, rmsnorm_backward(dn2,"),
        ("dx_attention, dnorm1 = rmsnorm_backward(dn1,", "dx_attention, (_, dnorm1) = dn1, rmsnorm_backward(dn1,"),
        ("        dx, dnorm2 = rmsnorm_backward(dx,", "        _, dnorm2 = rmsnorm_backward(dx,"),
        ("        dx, dnorm1 = rmsnorm_backward(dx,", "        _, dnorm1 = rmsnorm_backward(dx,")], "not undone"),
    "caches swapped": ([(BEGIN_BACK, BEGIN_BACK.replace("norm1, attention, norm2,", "norm2, attention, norm1,"))],
        "caches of the two norms"),
    "gradients swapped": ([
        (OUT, 'return dx, {"norm1": dnorm2, "attention": dattention, "norm2": dnorm1, "mlp": dmlp}')],
        "norm1 and norm2 are swapped"),
    "x changed": ([(SUM_1[0], SUM_1[0].replace("x = x + a", "x += a")),
        (SUM_1[1], "        x += a\n" + SUM_1[1].replace("x + a", "x"))], "writes into an argument"),
    "a key is missing": ([(OUT, OUT.replace('"norm2": dnorm2, ', ""))], "KeyError"),
    "float64 out": (at(BACK_2, "dx + dx_mlp", "np.zeros(dx.shape) + dx + dx_mlp"), "dtype"),
    "not implemented": ([(BEGIN_BACK, "    raise NotImplementedError('ex10: block_backward')\n" + BEGIN_BACK)],
        "NotImplementedError"),
    "no cache": ([(CACHE, "return x")], "Error"),
}  # fmt: skip
