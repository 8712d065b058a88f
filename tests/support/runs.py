"""Runs in folders: begun, broken off, compared."""

from dgsa_np.checkpoint import load_checkpoint
from dgsa_np.gradcheck import same_bits
from dgsa_np.lab import runs
from dgsa_np.lab.settings import settle
from dgsa_np.params import flatten
from dgsa_np.train import train_steps


def flags(given):
    return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def run_whole(folder, given):
    made = settle(given)
    return runs.follow(folder, *made[1:], runs.begin(folder, *made))


def assert_same(one, two):
    """Two folders hold the same run, bit for bit."""
    for name in ("checkpoint", "best"):
        a, b = (flatten(load_checkpoint(folder / f"{name}.npz")) for folder in (one, two))
        assert a.keys() == b.keys()
        assert [k for k in a if not (same_bits(a[k], b[k]) if hasattr(a[k], "dtype") else a[k] == b[k])] == []
    assert (one / "metrics.jsonl").read_text() == (two / "metrics.jsonl").read_text()


def break_at(monkeypatch, n):
    """The process dies after n steps, with nothing saved since the start."""

    def steps(*args):
        for i, result in enumerate(train_steps(*args)):
            if i == n:
                raise SystemExit
            yield result

    monkeypatch.setattr(runs, "train_steps", steps)
