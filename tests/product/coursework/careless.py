"""Wrong answers that need no mathematics: {name: code that spoils a right solution}.

It is added to definitions of RIGHT, {name: what the solution defines}, and of names: JUDGED those
whose answers are judged, FORWARDS those that are called before one, and BACKWARDS the latter.
"""

EACH = '''
import numpy as np

def _tree(f, x):
    return type(x)(f(a) for a in x) if isinstance(x, (tuple, list)) else f(x)

def _as(x, number):
    return np.float32(number) if np.asarray(x).dtype == np.float32 else number

def _first(args):
    found = [a for a in args if isinstance(a, np.ndarray)]
    return found[0] if found else args[0]
'''


def wrapped(body, names="JUDGED"):
    """Every function becomes g, which may call the right one, f."""
    lines = f"def _wrong(f):\n    {body}\n    return g\n\n"
    return f"{EACH}\n{lines}for _name in {names}:\n    globals()[_name] = _wrong(RIGHT[_name])\n"


NO_POINT = {  # in any item
    "zeros": wrapped("g = lambda *a: _tree(np.zeros_like, f(*a))"),
    "a constant": wrapped("g = lambda *a: _tree(lambda x: np.full_like(x, 0.5), f(*a))"),
    "ones": wrapped("g = lambda *a: _tree(np.ones_like, f(*a))"),
    "nan": wrapped("g = lambda *a: _tree(lambda x: x * np.float32(np.nan), f(*a))"),
    "an argument": wrapped("g = lambda *a: _first(a)"),
    "an argument for each": wrapped("g = lambda *a: _tree(lambda x: _first(a), f(*a))"),
    "an argument for each, if its shape fits": wrapped(
        "g = lambda *a: _tree(lambda x: next((b for b in a if np.shape(b) == np.shape(x)), x * 0), f(*a))"),
    "all arguments": wrapped("g = lambda *a: a"),
    "nothing": wrapped("g = lambda *a: None"),
    "one per cent more": wrapped("g = lambda *a: _tree(lambda x: x * 1.01 + (x == 0) * 0.01, f(*a))"),
    "a little more": wrapped("g = lambda *a: _tree(lambda x: x + _as(x, 2e-3 * np.max(abs(x)) + 1e-3), f(*a))"),
    "all results twice": wrapped("g = lambda *a: (*x, *x) if isinstance(x := f(*a), tuple) else (x, x)"),
    "an axis more": wrapped("g = lambda *a: _tree(lambda x: np.asarray(x)[None], f(*a))"),
    "flat": wrapped("g = lambda *a: _tree(lambda x: np.asarray(x).reshape(-1, 1), f(*a))"),
    "text": wrapped("g = lambda *a: 'right'"),
    "complex": wrapped("g = lambda *a: _tree(lambda x: x + 0j, f(*a))"),
    "right the first time": wrapped("""memory = []
    def g(*a):
        memory.append(0)
        return f(*a) if len(memory) == 1 else _tree(np.zeros_like, f(*a))"""),
    "every other time": wrapped("""memory = []
    def g(*a):
        memory.append(0)
        return f(*a) if len(memory) % 2 == 0 else _tree(np.zeros_like, f(*a))"""),
    "a count": wrapped("""memory = []
    def g(*a):
        memory.append(0)
        return _tree(lambda x: x + _as(x, len(memory)), f(*a))"""),
}
FEWER_POINTS = {  # than all, where answers are numbers and not verdicts
    "the first answer, always": wrapped("""memory = []
    def g(*a):
        memory[:] = memory or [f(*a)]
        return memory[0]"""),
    "in single precision": wrapped(
        "g = lambda *a: _tree(lambda x: np.asarray(x).astype(np.float32).astype(np.asarray(x).dtype), f(*a))"),
    "float32 out": wrapped("g = lambda *a: _tree(lambda x: np.asarray(x).astype(np.float32), f(*a))"),
    "float64 out": wrapped("g = lambda *a: _tree(lambda x: np.asarray(x).astype(np.float64), f(*a))"),
    "the dtype without the numbers": wrapped(
        "g = lambda *a: _tree(lambda x: x * 0 if np.asarray(x).dtype == np.float32 else x, f(*a))"),
    "rounded": wrapped("g = lambda *a: _tree(lambda x: np.round(x, 8), f(*a))"),
    "right for the first entry of a batch": wrapped(
        "g = lambda *a: _tree(lambda x: np.concatenate([x[:1], 0 * x[1:]]) if np.ndim(x) else x + 1, f(*a))"),
    "from the end of the batch": wrapped("g = lambda *a: _tree(lambda x: x[::-1] if np.ndim(x) else -x, f(*a))"),
    "right for equal sizes": wrapped(
        "g = lambda *a: _tree(lambda x: x if len(set(np.shape(x)[-2:])) == 1 else x * 1.001, f(*a))"),
    "by the place in memory of an argument": wrapped("""memory = {}
    def g(*a):
        if id(_first(a)) not in memory:
            memory[id(_first(a))] = f(*a)
        return memory[id(_first(a))]"""),
    "by the shapes of the arguments": wrapped("""memory = {}
    def g(*a):
        key = str([np.shape(x) if not isinstance(x, (dict, tuple, list)) else str(x)[:0] for x in a])
        memory[key] = memory.get(key) or [f(*a)]
        return memory[key][0]"""),
    "writes into an argument": wrapped("""def g(*a):
        answer = f(*a)
        if isinstance(_first(a), np.ndarray):
            _first(a)[...] += 1
        return answer"""),
    "writes into an argument what stands there": wrapped("""def g(*a):
        if isinstance(_first(a), np.ndarray):
            _first(a)[...] = _first(a)
        return f(*a)"""),
    "unlocks an argument and writes into it": wrapped("""def g(*a):
        answer, x = f(*a), _first(a)
        if isinstance(x, np.ndarray):
            x.flags.writeable = True
            x *= 2
        return answer"""),
}
OF_PAIRS = {  # the same, where there is a forward
    "the cache in a global": EACH + '''
_kept = []

def _forward(f):
    def g(*a):
        out, cache = f(*a)
        _kept[:] = [cache]
        return out, None
    return g

def _backward(f):
    return lambda d, cache: f(d, _kept[0])

for _name in FORWARDS:
    globals()[_name] = _forward(RIGHT[_name])
for _name in BACKWARDS:
    globals()[_name] = _backward(RIGHT[_name])
''',
    "an upstream of ones": wrapped("g = lambda *a: f(np.ones_like(a[0]), *a[1:])", names="BACKWARDS"),
    "the upstream is taken twice": wrapped("g = lambda *a: f(2 * a[0], *a[1:])", names="BACKWARDS"),
}
SINGLE_ALONE = ("float64 out", "the dtype without the numbers")  # of FEWER_POINTS: wrong where float32 goes in
ANY_WITNESS = (  # what no one would take for an upstream that tells apart; the others leave it one
    "zeros", "a constant", "ones", "nan", "an argument", "an argument for each", "all arguments", "nothing",
    "an argument for each, if its shape fits", "all results twice", "an axis more", "flat", "text", "complex",
)  # fmt: skip

# -------------------------------------------------------------- numbers in the place of a backward

DIFFERENCES = '''
def numeric(f, *arrays):
    """The derivatives of f(*arrays), a number, by central differences."""
    found = []
    for i, x in enumerate(arrays):
        d = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[at] = 1e-5
            up, down = (f(*arrays[:i], y, *arrays[i + 1:]) for y in (x + step, x - step))
            d[at] = (up - down) / 2e-5
        found.append(d)
    return tuple(found)
'''
COMPLEX_STEPS = '''
def numeric(f, *arrays):
    """The derivatives of f(*arrays), a number, by complex steps."""
    found = []
    for i, x in enumerate(arrays):
        d = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            y = x.astype(complex)
            y[at] += 1e-30j
            d[at] = f(*arrays[:i], y, *arrays[i + 1:]).imag / 1e-30
        found.append(d)
    return tuple(found)
'''
NUMERIC = {  # {exercise: what takes numeric in the place of its backward}
    "ex02": '''
def softmax_backward_by_steps(dA, cache):
    E, total = cache
    (dtotal,) = numeric(lambda t: (dA * E / t).sum(), total)
    (dE,) = numeric(lambda E: (dA * E / E.sum(-1, keepdims=True)).sum(), E)
    return dtotal, dE, dE * E * math.log(BASE)

def softmax_backward(dA, A):
    return numeric(lambda s: (dA * softmax_forward(s)[0]).sum(), np.log(A) / math.log(BASE))[0]
''',
    "ex03": '''
def softmax_backward(dA, A):
    return numeric(lambda s: (dA * softmax_forward(s)).sum(), TEMPERATURE * np.log(A))[0]
''',
    "ex04": '''
def attention_forward(q, k, v):
    return RIGHT["attention_forward"](q, k, v)[0], (q, k, v)

def attention_backward(do, cache):
    dA, dS, *_ = RIGHT["attention_backward"](do, RIGHT["attention_forward"](*cache)[1])
    return dA, dS, *numeric(lambda *a: (do * attention_forward(*a)[0]).sum(), *cache)
''',
    "ex05": '''
def differential_forward(*arguments):
    return RIGHT["differential_forward"](*arguments)[0], arguments

def differential_backward(do, arguments):
    return numeric(lambda *a: (do * differential_forward(*a)[0]).sum(), *arguments)
''',
    "ex07": '''
def gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    arguments = q_exc, k_exc, q_inh, k_inh, v, z_gate
    return RIGHT["gated_head_forward"](*arguments, mask)[0], (arguments, mask)

def gated_head_backward(do, cache):
    arguments, mask = cache
    return numeric(lambda *a: (do * gated_head_forward(*a, mask)[0]).sum(), *arguments)
''',
    "ex07, dz_gate alone": '''
def gated_head_forward(q_exc, k_exc, q_inh, k_inh, v, z_gate, mask=None):
    arguments = q_exc, k_exc, q_inh, k_inh, v, z_gate
    o, cache = RIGHT["gated_head_forward"](*arguments, mask)
    return o, (arguments, mask, cache)

def gated_head_backward(do, cache):
    arguments, mask, known = cache
    five = RIGHT["gated_head_backward"](do, known)[:5]
    return *five, *numeric(lambda z: (do * gated_head_forward(*arguments[:5], z, mask)[0]).sum(), arguments[5])
''',
    "ex08": '''
def head_norm_forward(o, w, lambda_init):
    return RIGHT["head_norm_forward"](o, w, lambda_init)[0], (o, w, lambda_init)

def head_norm_backward(dh, cache):
    o, w, lambda_init = cache
    return numeric(lambda o, w: (dh * head_norm_forward(o, w, lambda_init)[0]).sum(), o, w)
''',
    "ex10": '''
PLACES = [("norm1", "w"), ("attention", "A"), ("attention", "W"), ("norm2", "w"), ("mlp", "W_up"), ("mlp", "W_down")]

def nested(arrays):
    p = {part: {} for part, _ in PLACES}
    for (part, name), a in zip(PLACES, arrays):
        p[part][name] = a
    return p

def block_forward(x, p):
    return RIGHT["block_forward"](x, p)[0], (x, p)

def block_backward(dx, cache):
    x, p = cache
    loss = lambda x, *arrays: (dx * block_forward(x, nested(arrays))[0]).sum()
    dx, *arrays = numeric(loss, x, *(p[part][name] for part, name in PLACES))
    return dx, nested(arrays)
''',
}
