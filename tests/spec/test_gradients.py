"""Every gradient of the project against numeric ones;
the check itself is tested in test_gradcheck.py.
"""

from support.modules import subject

from dgsa_np.attention.mechanisms import MECHANISMS, ON_INHIBITION
from dgsa_np.gradcheck import (
    SAFETY,
    _upstream,
    check_pair,
    same_bits,
)
from dgsa_np.gradcheck_pair import CheckedPair
from dgsa_np.lab import cases


def test_complex_step_over_every_element(case):
    options = {"sizes": case.sizes, "without": case.without, "n_directions": case.n_directions}
    assert {r.method for r in check_pair(case.forward, case.backward, case.args, **options)} == {"complex"}


def test_central_differences_agree_within_their_own_error(piece):
    options = {"without": piece.without, "n_directions": 1, "method": "central"}
    for r in check_pair(piece.forward, piece.backward, piece.args, **options):
        assert r.method == "central" and r.error <= SAFETY * r.doubt, f"{r}"


def test_a_second_call_gives_the_same_bits(case):
    """check_pair lets other people's libraries round anew; ours do not."""
    pair = CheckedPair(case.forward, case.backward, case.args, case.without)
    out, cache = pair.run()
    dout, _ = _upstream(pair, out, 0)
    first, second = (pair.gradients(dout, cache) for _ in range(2))
    assert same_bits(pair.run()[0], out) and all(same_bits(first[path], second[path]) for path in first)


def test_the_catalogue_holds_every_public_pair():
    public = {n for m in subject() for n in vars(m) if n.endswith("_forward") and not n.startswith("_")}
    checked = {c.forward.__name__ for c in cases.all_cases()}
    rows = [*MECHANISMS.values(), *ON_INHIBITION.values()]
    through_attention = {row.control.forward.__name__ for row in rows if row.control}
    assert public - through_attention == checked
