"""`dgsa-np sample`: text by seed, by temperature, in bytes; and what it refuses."""

import pytest
from support.commands import flags, say


def test_sample_repeats_itself_for_a_seed(trained, capsys):
    argv = ["sample", trained / "text", "--prompt", "a q", "--length", "30"]
    one, two, other = (say([*argv, "--seed", seed], capsys) for seed in (1, 1, 2))
    assert one == two != other
    assert one[0] == 0 and one[1].startswith("a q") and len(one[1]) == 3 + 30 + 1


def test_sample_without_chance_does_not_ask_the_seed(trained, capsys):
    argv = ["sample", trained / "text", "--prompt", "a q", "--length", "30"]
    options = (["--temperature", "0"], ["--temperature", "0", "--seed", "5"], ["--top-k", "1", "--seed", "6"])
    one, two, three = (say([*argv, *o], capsys) for o in options)
    assert one[0] == 0 and one == two == three
    assert say([*argv, *options[0], "--checkpoint", "best"], capsys) == one  # of one epoch, the last is the best
    assert say(["sample", trained / "text/best.npz", *argv[2:], *options[0]], capsys) == one


@pytest.mark.parametrize(
    ("name", "prompt", "words"),
    [
        ("text", "Qé", "lacks ['Q', 'é']"),
        ("text", "", "there is nothing to go on from"),
        ("digits", "a", "its model has task 'vision'"),
        ("rt-polarity", "a", "its model has task 'text'"),
    ],
)
def test_sample_refuses(name, prompt, words, trained, capsys):
    status, _, said = say(["sample", trained / name, "--prompt", prompt], capsys)
    assert status == 2 and words in said


def test_sample_in_bytes(sources, tmp_path, capsys):
    argv = ["train", *flags("text", sources), "--unit", "bytes", "--out", tmp_path / "run"]
    assert say(argv, capsys)[0] == 0
    status, said, _ = say(["sample", tmp_path / "run", "--prompt", "é", "--length", "9", "--top-k", "3"], capsys)
    assert status == 0 and said.startswith("é")
