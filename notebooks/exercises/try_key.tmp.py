"""Development only: RIGHT and WRONG of an exercise against its key, in this process."""
import importlib.util, itertools, re, sys
from pathlib import Path
import numpy as np
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path); m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m); return m
n = f"ex{int(sys.argv[1]):02d}"
text = (HERE / "solutions" / f"{n}.py").read_text()
key, data = load(HERE / "keys" / f"{n}.py", "key"), load(HERE.parents[1] / "tests" / "coursework" / f"{n}.py", "data")
choices = {m[1]: [eval(v) for v in m[2].split(", ")] for m in re.finditer(r"^(\w+) = .*?  # course choice: (.*)$", text, re.M)}
def with_course(text, course):
    for name, value in course.items():
        text = re.sub(rf"^{name} = .*?(  # course choice)", lambda m: f"{name} = {value!r}{m[1]}", text, flags=re.M)
    return text
def compiled(a):
    from grading.items import Source
    if isinstance(a, Source):
        space = {}; exec(a.text, space); return space[a.name]
    return a
def same(a, b, tol):
    a, b = (x if isinstance(x, tuple) else (x,) for x in (a, b))
    if len(a) != len(b): return False
    for x, y in zip(a, b):
        x, y = np.asarray(x), np.asarray(y)
        if x.shape != y.shape: return False
        with np.errstate(all="ignore"):
            if not (np.isnan(x) == np.isnan(y)).all(): return False
            ok = np.isfinite(y)
            if not (abs(np.where(ok, x - y, 0)) <= tol * max(1e-300, abs(np.where(ok, y, 0)).max(initial=0))).all(): return False
    return True
def grade(source, course, seed):
    said, space = [], {}
    for item in key.items(course):
        args = item.make(np.random.default_rng([seed, hash(item.name) % 2**32]))
        live = tuple(compiled(a) for a in args)
        with np.errstate(all="ignore"):
          try:
            space = {}; exec(compile(source, n, "exec"), space)
            names = item.call.split()
            if len(names) == 2:
                out, cache = space[names[0]](*live[:-1]); answer = space[names[1]](live[-1], cache)
            else: answer = space[names[0]](*live)
            if isinstance(answer, list): answer = tuple(answer)
            if answer is None: said.append((item.name, "returned None")); continue
            if item.check:
                told = item.check(tuple(map(np.asarray, answer)) if isinstance(answer, tuple) else np.asarray(answer), args)
                if told: said.append((item.name, told))
                continue
            right = item.expected(*args)
            if same(answer, right, item.tolerance): continue
            shapes = [np.shape(x) for x in (answer if isinstance(answer, tuple) else (answer,))], [np.shape(x) for x in (right if isinstance(right, tuple) else (right,))]
            hint = next((s for s, fs in (item.mistakes or {}).items() for f in (fs if isinstance(fs, tuple) else (fs,)) if same(answer, f(*args), item.tolerance)), None)
            said.append((item.name, hint or (f"shape {shapes[0]} expected {shapes[1]}" if shapes[0] != shapes[1] else "wrong, unrecognised")))
          except Exception as e:
            said.append((item.name, f"{type(e).__name__}: {e}"))
    return said
bad = 0
for values in itertools.product(*choices.values()):
    course = dict(zip(choices, values)); base = with_course(text, course)
    for name, (subs, hint) in [(k, (v, None)) for k, v in data.RIGHT.items()] + list(data.WRONG.items()):
        source = base
        for old, new in subs:
            if source.count(old) != 1: print("NOT ONCE", name, repr(old), source.count(old)); bad += 1
            source = source.replace(old, new)
        told = [t for seed in range(5) for t in [grade(source, course, seed)]]
        if hint is None and any(told): print("RIGHT FAILS", course, name, next(t for t in told if t)[:2]); bad += 1
        if hint is not None:
            if not all(told): print("WRONG PASSES", course, name); bad += 1
            elif not all(any(hint in s for _, s in t) for t in told): print("NO HINT", course, name, [t for t in told if not any(hint in s for _, s in t)][0][:3]); bad += 1
print(n, len(data.RIGHT), "right,", len(data.WRONG), "wrong,", "choices", choices, "points", sum(i.points for i in key.items({k: v[0] for k, v in choices.items()})), "problems:", bad)
