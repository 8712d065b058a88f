"""Is another implementation of the same attention right? Its outputs and gradients beside ours."""

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from traceback import extract_tb
from typing import NamedTuple

import numpy as np

from .. import check
from ..attention import AttentionConfig, attention_backward, attention_forward, causal_mask
from ..diagnosis import diagnose
from ..gradcheck import relative_error
from ..params import tree_map
from .callers import caller_of
from .layouts import LAYOUTS, from_peer, gradients_to_peer, groups_of
from .slips import explain

BAR = 1e-12  # in double precision, or more where ours too loses digits
# In single: so many times what it costs ours, the worst of so many draws; never looser than this.
SINGLE, DRAWS, LOOSEST = 20, 3, 1e-2
WIDEST = 256  # for which two mistakes at once are looked for: it takes a second or two


class Case(NamedTuple):
    name: str
    x: np.ndarray
    mask: np.ndarray | None
    dy: np.ndarray


class Ours(NamedTuple):
    """Our layer, with the same weights."""

    p: dict
    cfg: AttentionConfig
    layer: int
    like: str
    groups: int

    def run(self, case, rng=None) -> dict:
        """{tensor: array}: the output, and the gradients by the names of theirs.

        rng : in single precision, from numbers that are rounded at random
        """
        numbers = self.p, case.x, case.dy
        if rng is not None:
            numbers = tree_map(lambda a: (a + a * 2**-24 * rng.standard_normal(a.shape)).astype("float32"), numbers)
        p, x, dy = numbers
        y, cache = attention_forward(x, p, self.cfg, mask=case.mask, layer=self.layer)
        dx, grads = attention_backward(dy, cache)
        return {"y": y, "dx": dx} | gradients_to_peer(grads, self.cfg, self.like, self.groups)


class Run(NamedTuple):
    """What yours and ours gave in a case: {tensor: array}."""

    case: Case
    given: dict
    ours: dict


@dataclass
class Report:
    """What conform found.

    errors   : {tensor: {case: largest difference, over the largest entry of ours}}
    bars     : {tensor: {case: the error that is allowed}}
    verdicts : {tensor: what is wrong with it, "" where nothing is}
    mistakes : what the outputs say went wrong: sentences, each of which alone explains all of them
    notes    : what was taken from the module, and what was not judged
    """

    title: str
    errors: dict = field(default_factory=dict)
    bars: dict = field(default_factory=dict)
    verdicts: dict = field(default_factory=dict)
    mistakes: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return bool(self.verdicts) and not any(self.verdicts.values())

    def off(self, name) -> bool:
        """Is an error of this tensor above its bar? nan is."""
        return any(not error <= self.bars[name][case] for case, error in self.errors[name].items())

    def __str__(self):
        cases = list(dict.fromkeys(case for errors in self.errors.values() for case in errors))
        width = max(map(len, self.verdicts), default=0)
        lines = [self.title, f"{'error':{width}s}  {' '.join(f'{case:>9s}' for case in cases)}   allowed"]
        for name, wrong in self.verdicts.items():
            errors, bars = self.errors.get(name, {}), self.bars.get(name, {})
            cells = " ".join(f"{errors[case]:9.1e}" if case in errors else f"{'-':>9s}" for case in cases)
            near = max(bars, key=lambda case: errors[case] / (bars[case] if wrong else 1), default=None)
            allowed = f"{bars[near]:.0e}" if bars else f"{'-':>5s}"
            lines.append(f"{name:{width}s}  {cells}   {allowed}  {f'WRONG: {wrong}' if wrong else 'right'}")
        lines += [f"likely: {text}" for text in self.mistakes] + [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, "It conforms." if self.ok else "It does not conform."])


def conform(yours, like="linear", kind=None, *, n_heads=None, layer=None, weights=None, names=None, call=None,
            precision=None, seed=0, **settings) -> Report:  # fmt: skip
    """Compare an attention layer of yours with ours, on the same random weights.

    yours     : a torch.nn.Module; a JAX function f(weights, x) or f(weights, x, mask); a pair
                (forward, backward) on NumPy arrays: forward(x, weights, mask) -> y, cache and
                backward(dy, cache) -> dx, {name: gradient}; or such a forward alone, -> y, whose
                gradients are not judged. A module is copied, never changed.
    like      : the layout of its weights, a name of LAYOUTS
    kind      : of ours, where the layout has several
    layer     : its depth, from 0; None: lambda_init is taken from the module, or that of layer 0
    weights   : {name: array}, needed where yours is a function: names and shapes are taken from it
    names     : {name in the layout: name in yours}, where they differ
    call      : call(yours, x, mask) -> y, where a module is called in another way. mask is boolean,
                (B, 1, T, T) or None, True = may attend
    precision : "float32" or "float64", in which it is judged; None: as layout and results say
    settings  : of AttentionConfig: rotary, head_norm, gate, gate_on, lambda_init, eps
    raises      LayoutError where names or shapes are not those of the layout

    Shown, not judged: what a query without any key gives.
    """
    check.one_of("conform", "like", like, LAYOUTS)
    check.one_of("conform", "precision", precision, (None, "float32", "float64"))
    caller = caller_of(yours, like, weights, names or {}, call)
    held = caller.read(LAYOUTS[like].read)
    told = [*settings, *(["lambda_init"] if layer is not None else [])]
    found = {name: value for name, value in held.items() if name not in told}
    rng = np.random.default_rng([seed, 26])
    drawn = {name: _drawn(a, rng) for name, a in caller.weights.items()}
    p, cfg = from_peer(drawn, like, kind, n_heads, **found | settings)
    ours = Ours(p, cfg, layer or 0, like, groups_of(drawn, like, cfg))
    report = Report(_title(ours), notes=[f"{name} is {value}, as in the module" for name, value in found.items()])
    if "lambda_init" in held and abs(held["lambda_init"] - cfg.lambda_init_at(ours.layer)) > 1e-9:
        both = f"{held['lambda_init']:.4g} in the module, and {cfg.lambda_init_at(ours.layer):.4g}"
        report.notes.append(f"lambda_init is {both} in layer {ours.layer}: layers count from 0")
    report.notes += _leave_out(drawn, caller.weights, ours)
    runs = _runs(report, caller, drawn, ours, rng)
    dtypes = {run.given["y"].dtype.name for run in runs} - {"float64"}
    report.notes += [f"y is {dtype}, though x is float64" for dtype in dtypes]
    single = precision == "float32" or (precision is None and (LAYOUTS[like].single or bool(dtypes)))
    for run in runs:
        _measure(report, run, [ours.run(run.case, rng) for _ in range(DRAWS)], single)
    others = _others(lambda **changes: from_peer(drawn, like, kind, n_heads, **found | settings | changes))
    _judge(report, runs, ours, others)
    return report


def _others(make):
    """(what is set otherwise, (p, cfg)) for each setting that these weights allow."""
    choices = {"head_norm": (True, False), "gate": ("token", "head"), "gate_on": ("both", "inhibition")}
    for name, value in [(name, value) for name, values in choices.items() for value in values]:
        with suppress(ValueError):
            yield f"{name}={value!r}", make(**{name: value})


def _leave_out(drawn, weights, ours):
    """Set what is no part of the mechanism to what hides it, and say so."""
    known = gradients_to_peer(ours.p, ours.cfg, ours.like, ours.groups)
    for name in (name for name in drawn if name not in known):
        is_bias = name.endswith("bias")
        drawn[name] = np.zeros_like(drawn[name]) if is_bias else weights[name]
        yield f"{name} is {'set to 0' if is_bias else 'left as it is'}: it is no part of the mechanism, and not judged"


def _runs(report, caller, drawn, ours, rng):
    """The cases that are judged; the report says why others are not."""
    runs = []
    for case in _cases(ours.cfg.width, rng):
        if case.mask is not None and not caller.takes_mask:
            report.notes.append(f"case {case.name} is left out: yours takes no mask")
            continue
        try:
            given, raised = caller.run(drawn, case), ""
        except Exception as error:  # whatever yours raises is a finding
            place = extract_tb(error.__traceback__)[-1]
            place = f"{place.filename}, line {place.lineno}"
            given, raised = {}, f"{type(error).__name__}: {error} ({place}); it is called as {caller.how}"
        if case.name == "no key":
            report.notes.append(f"a query without any key gives {raised or _told(given['y'])}, here 0: not judged")
        elif raised:
            report.verdicts[f"case {case.name}"] = raised
        else:
            runs.append(Run(case, given, ours.run(case)))
    if not caller.takes_mask:
        report.notes.append(f"it is called as {caller.how}")
    return runs


def _measure(report, run, rough, single):
    """Errors of a case, and what is allowed.

    rough : what ours gives in single precision, some times; double is 2**29 times as precise
    """
    for name in run.ours if "dx" in run.given else ["y"]:
        right = run.ours[name]
        cost = max(relative_error(draw[name], right) for draw in rough)
        allowed = min(SINGLE * max(cost, 2**-24), LOOSEST)
        bar = allowed if single else max(BAR, allowed * 2**-29)
        report.errors.setdefault(name, {})[run.case.name] = relative_error(run.given.get(name, np.nan), right)
        report.bars.setdefault(name, {})[run.case.name] = bar


def _judge(report, runs, ours, others):
    """Verdicts, and what is likely to be wrong."""
    wrong = [name for name in report.errors if report.off(name)]
    report.verdicts |= dict.fromkeys(report.errors, "") | dict.fromkeys(wrong, "off")
    if "y" in wrong:
        report.mistakes = _mistakes(report, runs, ours, others)
    for name in wrong if "y" not in wrong else ():
        report.verdicts[name] = _diagnosis(report, name, runs, ours.cfg)
    if any("dx" not in run.given for run in runs):
        report.notes.append("gradients are not given, and not judged")


def _diagnosis(report, name, runs, cfg):
    """What is wrong with a gradient, in the case where it is most wrong."""
    errors, bars = report.errors[name], report.bars[name]
    _, given, ours = max(runs, key=lambda run: errors[run.case.name] / bars[run.case.name])
    if name not in given:
        return "no gradient of it is given"
    others = {other: a for other, a in ours.items() if other not in ("y", name)}
    return diagnose(ours[name], given[name].astype("float64"), cfg.sizes, name=name, others=others).message


def _mistakes(report, runs, ours, others):
    """Sentences, each of which explains all outputs."""
    for case, given, _ in runs:
        if given["y"].shape != case.x.shape:
            return [f"y is {given['y'].shape}, expected {case.x.shape}, as x"]
    bar = max(1e-9, *report.bars["y"].values())
    outputs = [(given["y"], (case.x, ours.p, ours.cfg, case.mask, ours.layer)) for case, given, _ in runs]
    same, worst = lambda a, b: relative_error(a, b) <= bar, max(report.errors["y"].values())
    pairs = int(worst > 1e-4 and ours.cfg.width <= WIDEST)
    slips = [*explain(same, outputs, 1)]
    for what, (p, cfg) in others if not slips else ():
        if all(same(run.given["y"], ours._replace(p=p, cfg=cfg).run(run.case)["y"]) for run in runs):
            return [f"another setting: with {what} all outputs are right"]
    slips = slips or [*islice(explain(same, outputs, 2), pairs)]
    if slips:
        return [" and ".join(slip.message for slip in together) for together in slips]
    if worst < 1e-4:
        return ["something is computed in single precision: precision='float32' judges it by that"]
    times = np.vdot(runs[0].ours["y"], runs[0].given["y"]) / np.vdot(runs[0].ours["y"], runs[0].ours["y"])
    if abs(times - 1) > 0.1 and all(relative_error(run.given["y"], times * run.ours["y"]) < 0.05 for run in runs):
        return [f"y is about {times:.3g} times what it should be, everywhere"]
    finite = all(np.isfinite(y).all() for y, _ in outputs)
    return [f"none of the mistakes that are known{', nor any two' * pairs}{'' if finite else '; y has nan or inf'}"]


def _cases(C, rng):
    """Tokens, masks and upstream gradients; no two sizes are the same."""
    keep = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 0, 0]], bool)
    blind = np.ones((2, 1, 3, 3), bool)
    blind[1, :, 1] = False
    masks = {
        "none": (5, None),
        "causal": (6, np.array(np.broadcast_to(causal_mask(6), (2, 1, 6, 6)))),
        "padding": (7, np.array(np.broadcast_to(keep[:, None, None], (2, 1, 7, 7)))),
        "no key": (3, blind),
    }
    for name, (T, mask) in masks.items():
        yield Case(name, rng.standard_normal((2, T, C)), mask, rng.standard_normal((2, T, C)))


def _drawn(a, rng):
    """Random weights that hide nothing: gains are not 1, biases and gates not 0."""
    if a.ndim > 1:
        return rng.standard_normal(a.shape) / a.shape[-1] ** 0.5
    constant = a.flat[0] if a.size and (a == a.flat[0]).all() else 0
    return constant + 0.3 * rng.standard_normal(a.shape)


def _title(ours):
    cfg = ours.cfg
    shared = f", {ours.groups} of keys and values" if ours.groups != cfg.n_heads else ""
    return f"{LAYOUTS[ours.like].source}: {cfg.kind}, width {cfg.width}, {cfg.n_heads} heads{shared}"


def _told(y):
    row = y[1, 1:2] if y.ndim > 1 and len(y) > 1 else y
    return "nan" if np.isnan(row).any() else "some numbers" if row.any() else "0"
