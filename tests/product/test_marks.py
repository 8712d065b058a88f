"""Right is right, wrong is wrong, and a mistake has one name: for every seed, in every course.

Submissions are judged in this process, without the sandbox, and so by the thousand. Exercise 12's
large items are judged in one course for every seed and with one seed in every course.
"""

import importlib.util
import subprocess
import sys
import warnings
from functools import cache, lru_cache
from itertools import combinations, tee
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
EXERCISES = HERE.parents[1] / "notebooks" / "exercises"
sys.path.insert(0, str(EXERCISES))

from grading import course as courses  # noqa: E402
from grading import twice  # noqa: E402
from grading.call import answer_of  # noqa: E402
from grading.items import Source, known_mistakes  # noqa: E402
from grading.judge import as_tuple, judge, same  # noqa: E402
from grading.marks import grade  # noqa: E402

sys.path.remove(str(EXERCISES))

SEEDS, COURSES = range(200, 220), range(1, 9)


def data_of(name):
    spec = importlib.util.spec_from_file_location(f"coursework_{name}", HERE / "coursework" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DATA = {exercise: data_of(exercise) for exercise in courses.EXERCISES}
STYLES, CARELESS = data_of("styles").STYLES, data_of("careless")


def tiers(names):
    """Each exercise with (seeds, course): one seed in each course, and all in each."""
    sizes = {"one": SEEDS[:1], "all": SEEDS}
    cases = [(f"{e}-{size}-{c}", e, (sizes[size], c)) for size in sizes for e in names for c in COURSES]
    params = [pytest.param(*case, id=name, marks=pytest.mark.torture) for name, *case in cases]
    return pytest.mark.parametrize(("exercise", "cases"), params)


of_all, of_numbers = tiers(courses.EXERCISES), tiers([e for e in courses.EXERCISES if e != "ex11"])

# ------------------------------------------------------------------------ judging in this process


@cache
def items_of(exercise, course):
    return courses.items(exercise, course)


@lru_cache(maxsize=2)
def asked(exercise, course, seed):
    """{item: arguments}, and the right answers and the mistakes' as they are needed."""
    return {name: courses.arguments(item, seed) for name, item in items_of(exercise, course).items()}, {}, {}


def said(exercise, text, course, seed) -> dict:
    """{item: what is wrong, or None}"""
    return dict(verdicts(exercise, text, course, seed))


def verdicts(exercise, text, course, seed):
    """Yields (item, what is wrong, or None), twice where it is wrong in the second order alone."""
    items, (arguments, *known), space = items_of(exercise, course), asked(exercise, course, seed), {}
    exec(compile(text, "submission.py", "exec"), space)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name, answer in answers(space, items, arguments, course == COURSES[2] or seed == SEEDS[0], text):
            yield name, verdict(items[name], arguments[name], answer, name, *known)


def answers(space, items, arguments, large, text):
    """What twice.answers yields, and if it is asked for, of large items, judged for their memory.

    Those are asked once, unless the text has a memory.
    """
    small = {name: item.call for name, item in items.items() if item.memory == 512}
    yield from twice.answers(space, small, arguments, [name for name in small if items[name].check])
    for name in items.keys() - small if large else ():
        asks = twice.answer if "memory = " in text else answer_of
        yield name, twice.tried(asks, space, items[name].call, arguments[name])


def verdict(item, args, answer, name, right, mistaken):
    if isinstance(answer, Exception):
        return f"{type(answer).__name__}: {answer}"
    if item.check:
        return item.check(answer, args)
    if name not in right:
        right[name] = item.expected(*args)
    mistaken[name], mistakes = tee(mistaken.get(name) or known_mistakes(item, args))
    return judge(answer, right[name], mistakes, item.tolerance)


def exchanged(text, exchanges):
    for old, new in exchanges:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the solution"
        text = text.replace(old, new)
    return text


def each(cases):
    seeds, course = cases
    return [(course, seed) for seed in seeds]


# --------------------------------------------------------------------------------- right and wrong


@of_all
def test_right_answers_of_any_style_have_all_points(exercise, cases):
    for course, seed in each(cases):
        solution = courses.solution(exercise, course)
        texts = {name: exchanged(solution, changes) for name, changes in DATA[exercise].RIGHT.items()}
        texts |= {name: f"{solution}\n{code}" for name, code in STYLES[exercise].items()}
        for name, text in texts.items():
            told = said(exercise, text, course, seed)
            assert not any(told.values()), (name, course, seed, told)


@of_all
def test_a_mistake_costs_points_and_is_named_and_the_seed_plays_no_part(exercise, cases):
    wrong, passed = DATA[exercise].WRONG | getattr(DATA[exercise], "NOT_IN_0", {}), {}
    for course, seed in each(cases):
        for name, (changes, hint) in wrong.items():
            told = said(exercise, exchanged(courses.solution(exercise, course), changes), course, seed)
            assert any(hint in (text or "") for text in told.values()), (name, course, seed, told)
            failed = [item for item, text in told.items() if text]
            assert passed.setdefault((name, course), failed) == failed, (name, course, seed)


def spoiled(exercise, course, code):
    """A right solution, and code that spoils it."""
    calls = [item.call.split() for item in items_of(exercise, course).values()]
    pairs = [call for call in calls if len(call) == 2]
    solution, names = courses.solution(exercise, course), (calls, [p[:1] for p in pairs], pairs)
    lists = [list(dict.fromkeys(call[-1] for call in those)) for those in names]
    return f"{solution}\nRIGHT = {{}}\nexec({solution!r}, RIGHT)\nJUDGED, FORWARDS, BACKWARDS = {lists}\n{code}"


@of_all
def test_who_calculates_nothing_has_no_point(exercise, cases):
    for course, seed in each(cases):
        for name, code in CARELESS.NO_POINT.items():
            told = said(exercise, spoiled(exercise, course, code), course, seed)
            for item, text in told.items():
                still_right = items_of(exercise, course)[item].check and name not in CARELESS.ANY_WITNESS
                assert text or still_right, (name, course, seed, item)


@of_numbers
def test_carelessness_costs_points(exercise, cases):
    items = items_of(exercise, 0).values()
    pairs = any(len(item.call.split()) == 2 for item in items)
    single = any("dtype" in item.name for item in items)
    careless = CARELESS.FEWER_POINTS | (CARELESS.OF_PAIRS if pairs else {})
    careless = {name: code for name, code in careless.items() if single or name not in CARELESS.SINGLE_ALONE}
    for course, seed in each(cases):
        for name, code in careless.items():
            told = verdicts(exercise, spoiled(exercise, course, code), course, seed)
            assert any(text for _, text in told), (name, course, seed)  # the first is enough


@pytest.mark.torture
@pytest.mark.parametrize("name", CARELESS.NUMERIC)
@pytest.mark.parametrize("kind", ["DIFFERENCES", "COMPLEX_STEPS"])
def test_a_numeric_derivative_has_no_point_of_a_backward(name, kind, tmp_path):
    """In the sandbox, which has a limit of time."""
    exercise, course = name[:4], 2
    path = tmp_path / f"{exercise}.py"
    code = f"{getattr(CARELESS, kind)}\n{CARELESS.NUMERIC[name]}"
    path.write_text(spoiled(exercise, course, code), encoding="utf-8")
    calls = {item.name: item.call for item in items_of(exercise, course).values()}
    for mark in grade(exercise, path, 1, course).marks:
        assert not mark.got or "backward" not in calls[mark.item], mark


# -------------------------------------------------------------------------------------- the hints


def fits(a, b, tolerance):
    """Are two answers the same? Most are not, and a few numbers show it."""
    few = [tuple(x.ravel()[:: max(1, x.size // 9)] for x in answer) for answer in (a, b)]
    if [x.shape for x in a] != [x.shape for x in b] or any(map(far, *few)):
        return False
    return same(a, b, tolerance)


def far(x, y):
    with np.errstate(all="ignore"):
        return bool((abs(x - y) > 1e-3 * (abs(x) + abs(y)) + 1e-3).any())


@of_all
def test_two_mistakes_never_give_equal_numbers(exercise, cases):
    for course, seed in each(cases):
        tellable = set()
        for item in items_of(exercise, course).values():
            if not item.mistakes:
                continue
            args = courses.arguments(item, seed)
            right = as_tuple(item.expected(*args))
            made = [(hint, as_tuple(gives)) for hint, gives in known_mistakes(item, args)]
            made = [(hint, gives) for hint, gives in made if not fits(gives, right, item.tolerance)]
            for (hint, a), (other, b) in combinations(made, 2):
                assert hint == other or not fits(a, b, item.tolerance), (item.name, course, seed, hint, other)
            tellable |= {hint for hint, _ in made}
        hints = {hint for item in items_of(exercise, course).values() for hint in (item.mistakes or {}).values()}
        assert hints == tellable, (course, seed, hints - tellable)


def test_results_in_another_order_are_named():
    a, b, c = np.ones(3), np.ones((2, 2)), np.zeros(3)
    assert "result 0 is what result 2 should be, result 2 is what result 0 should be" in judge((c, b, a), (a, b, c))
    assert "another order" not in judge((a, b, b), (a, b, c)) and judge([a, b, c], (a, b, c)) is None


def test_a_mistake_is_named_by_numbers_of_another_shape_too():
    assert judge(np.ones(2), np.ones(3), [("wrong axis", np.ones(2))]).startswith("wrong axis\nshape: ")


def test_of_what_gradcheck_says_facts_are_told_and_no_guesses():
    x = np.arange(1.0, 25).reshape(4, 6)
    few, rows, zero = x.copy(), x * np.linspace(0.9, 1.2, 4)[:, None], 0 * x
    few[1] *= 0
    told = [judge(answer, x) for answer in (few, rows, zero, -x)]
    words = "only 1 of 4 rows are wrong", "a factor of its own", "the result is zero", "the sign is wrong"
    assert all(word in text and "?" not in text for word, text in zip(words, told, strict=True)), told
    for answer in (2.5, -1.0, 0.0):  # of one number there is nothing to say but what it is
        assert judge(answer, 2.0) == f"the result () differs, most at index (): {answer:.6g}, expected 2"


def test_float32_is_asked_for_where_right_is_and_its_numbers_are_compared():
    right = np.linspace(1, 2, 5, dtype=np.float32)
    assert judge(right + np.float32(1e-6), right, tolerance=1e-4) is None
    assert "dtype float64" in judge(right.astype(float), right, tolerance=1e-4)
    assert "differs" in judge(0 * right, right, tolerance=1e-4)


# -------------------------------------------------------------------------------------- the cases


@pytest.mark.parametrize("exercise", ["ex04", "ex05", "ex06", "ex07"])
def test_every_batch_has_entries_and_no_two_lengths_are_the_same_but_where_a_name_says_so(exercise):
    """B, H, T, S, d and e of the heads."""
    shapes = {}
    for item in items_of(exercise, 1).values():
        args = courses.arguments(item, 0)
        if len(args) > 2 and "equal" not in item.name:
            q, k, v = args[0], args[1], args[2 if exercise == "ex04" else 4]
            shapes[item.name] = (*q.shape[:3], *k.shape[2:], v.shape[-1])
            B, H, T, S, d, e = shapes[item.name]
            assert B > 1 and len({T, S, d, e}) == 4, (item.name, shapes[item.name])
    longer = {S > T for _, _, T, S, _, _ in shapes.values()}
    assert longer == {True, False} and len({d for *_, d, _ in shapes.values()}) >= 3, shapes


def test_pairs_to_be_judged_are_written_anew_for_every_seed():
    items = items_of("ex11", 1)
    texts = [{a.text for item in items.values() for a in courses.arguments(item, seed)} for seed in (1, 2)]
    assert not texts[0] & texts[1] and len(texts[0]) >= 80
    for item in items.values():
        right = item.expected(*courses.arguments(item, 1))
        assert 4 <= right.sum() <= len(right) - 4, item.name


def test_points_of_exercise_12_are_for_memory():
    items = items_of("ex12", 1).values()
    large = [item for item in items if item.memory < 512]
    assert 2 * sum(item.points for item in large) > sum(item.points for item in items)
    lengths = [(len(q), len(k)) for q, k, *_ in (courses.arguments(item, 0) for item in large)]
    assert {T < S for T, S in lengths} == {True, False}
    unmapped = 96  # MiB that a submission gains by giving back BLAS and its buffers
    assert all((item.memory + unmapped) * 2**20 < 8 * T * S for (T, S), item in zip(lengths, large, strict=True))


@pytest.mark.parametrize("number", [1, -3.5, 0, 1e308, -1e308, 1e200, 1e-200, 1e-320, 5e-324])
def test_a_constant_is_no_witness_however_large_or_small(number):
    for course in COURSES:
        for item in items_of("ex03", course).values():
            if item.check:
                args = courses.arguments(item, 0)
                assert item.check(np.full(args[0].shape, number), args), (course, item.name)
                integers = np.arange(args[0].size).reshape(args[0].shape)
                assert item.check(integers, args) == item.check(integers / 1, args)


def test_the_quantile_of_exercise_13_is_that_of_student():
    stats, space = pytest.importorskip("scipy.stats"), {}
    exec(courses.solution("ex13"), space)
    for p in (0.025, 0.9, 0.95, 0.975, 0.99, 0.995):
        for df in (1, 2, 5, 9, 18, 30):
            assert space["t_quantile"](p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-6)


def test_the_scores_of_exercise_13_have_sums_without_rounding_and_p_is_not_at_an_end():
    for seed in SEEDS:
        for item in items_of("ex13", 1).values():
            if item.call in ("paired_interval", "interval_of_runs", "sign_flip_p", "p_of_runs"):
                first, second = (np.array(scores, float) for scores in courses.arguments(item, seed))
                d = first - second
                lost = np.isnan(first).sum(), np.isnan(second).sum(), np.isnan(d).sum()
                assert lost[0] == lost[1] and lost[2] == 2 * lost[0] and (lost[0] > 0) == ("failed" in item.name)
                assert sum(d[~np.isnan(d)]) == sum(reversed(d[~np.isnan(d)]))


# ---------------------------------------------------------------------------- twice, in two orders


def answered(text, names, *arguments):
    space = {"np": np}
    exec(text, space)
    return twice.answer(space, names, arguments)


def test_an_answer_is_the_same_when_it_is_asked_for_again():
    x = np.arange(4.0)
    assert np.array_equal(answered("def f(x): return 2 * x", "f", x), 2 * x)
    first = "def f(x, memory=[]):\n    memory.append(2 * x)\n    return memory[0]"
    assert not np.array_equal(answered(first, "f", x), 2 * x)  # it has seen other numbers before
    for wrong in ("memory = []\ndef f(x):\n    memory.append(0)\n    return x + len(memory)",
                  "memory = {}\ndef f(x):\n    return memory.setdefault(id(x), 2 * x)"):  # fmt: skip
        with pytest.raises(twice.AnswerChanged, match="called again, with the same arguments, it returns something"):
            answered(wrong, "f", x)
    with pytest.raises(twice.AnswerChanged, match="raises IndexError"):
        answered("left = [1, 2]\ndef f(x):\n    return left.pop() * x", "f", x)


@pytest.mark.parametrize("line", ["x += 1", "x[0] = x[0]", "x.sort()", "p['w'] *= 2", "p.clear()", "p['w'] = 0",
                                  "x.flags.writeable = True; x += 1", "np.add(x, 1, out=x)", "each.pop()"])  # fmt: skip
def test_arguments_cannot_be_written_to(line):
    with pytest.raises(twice.ArgumentChanged, match="it writes into an argument"):
        answered(f"def f(x, p, each):\n    {line}\n    return x", "f", np.ones(3), {"w": np.ones(2)}, [np.ones(1)])


def test_two_caches_share_nothing():
    right = "def forward(x): return x, (2 * x,)\ndef backward(d, cache): return d * cache[0]"
    shared = "kept = {}\ndef forward(x):\n    kept['x'] = 2 * x\n    return x, kept\n"
    shared += "def backward(d, cache): return d * cache['x']"
    x, d = np.arange(3.0), np.ones(3)
    assert np.array_equal(answered(right, "forward backward", x, d), 2 * x)
    with pytest.raises(twice.AnswerChanged):
        answered(shared, "forward backward", x, d)


def test_items_are_asked_for_in_two_orders():
    space = {}
    exec("last = []\ndef f(x):\n    last.append(x)\n    return x\ndef g(x): return x + len(last)", space)
    x = np.ones(2)
    found = list(twice.answers(space, {"f": "f", "g": "g"}, {"f": (x,), "g": (x,)}))
    assert [name for name, _ in found] == ["f", "g"]  # g looks back at f, which is called no more before it
    exec("def g(x):\n    last.append(x)\n    return x + len(last)", space)
    told = dict(twice.answers(space, {"f": "f", "g": "g"}, {"f": (x,), "g": (x,)}))
    assert isinstance(told["g"], twice.AnswerChanged) and not isinstance(told["f"], Exception)


def test_where_many_answers_are_right_they_may_differ():
    space = {"np": np}
    exec("def f(x): return np.random.default_rng().random(3)", space)
    assert twice.answer(space, "f", (np.ones(3),), free=True).shape == (3,)
    with pytest.raises(twice.AnswerChanged):
        twice.answer(space, "f", (np.ones(3),))


def test_code_that_is_an_argument_is_compiled_for_each_call():
    given = Source("def one(): return 1.0", "one")
    assert answered("def f(g, x): return g() + x", "f", given, np.ones(2)).tolist() == [2, 2]


# -------------------------------------------------------------------------------- course numbers


@pytest.mark.slow
def test_exercise_7_goes_on_with_the_constants_of_6_and_all_others_are_independent():
    drawn = {}
    for course in range(1, 2001):
        assert courses.constants("ex07", course) == courses.constants("ex06", course)
        for exercise in courses.EXERCISES:
            for name, value in courses.constants(exercise, course).items():
                drawn.setdefault((exercise, name), []).append(value)
    assert all(len(set(values)) >= 2 for values in drawn.values())
    for (a, x), (b, y) in combinations([pair for pair in drawn.items() if pair[0][0] != "ex07"], 2):
        both = len(set(x)) * len(set(y))
        counts = [list(zip(x, y, strict=True)).count(pair) for pair in set(zip(x, y, strict=True))]
        assert len(counts) == both and all(abs(n - 2000 / both) < 5 * (2000 / both) ** 0.5 for n in counts), (a, b)


def test_course_0_is_what_stands_in_the_solutions():
    for exercise in courses.EXERCISES:
        text = (EXERCISES / "solutions" / f"{exercise}.py").read_text(encoding="utf-8")
        assert courses.solution(exercise).replace("'", '"') == text.replace("'", '"')


@pytest.mark.parametrize("what", ["student", "release"])
def test_course_0_is_not_handed_out(what, tmp_path):
    command = [sys.executable, str(EXERCISES / "build.py"), what, str(tmp_path / "tree")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "course 0 is the library's own formula" in done.stderr
    assert not (tmp_path / "tree").exists()
