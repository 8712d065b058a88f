"""Wrong use of any command is told in one line, with exit status 2, and leaves nothing behind."""

import pytest
from support.commands import say

from dgsa_np.attention import KINDS
from dgsa_np.backend import DeviceError, resolve_device


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"widht": 3}', "unknown key 'widht', expected a setting; did you mean 'width'?"),
        ('{"width": "3"}', "width is '3', expected int"),
        ('{"width": true}', "width is True, expected int"),
        ('{"rotary": 1}', "rotary is 1, expected bool"),
        ('{"lambda_init": "x"}', "lambda_init is 'x', expected float or null"),
        ('{"lr": NaN}', "lr is nan"),
        ("[1]", "is [1], expected a dict"),
        ("{", "not JSON"),
    ],
)
def test_a_wrong_file_of_settings_is_told(content, words, tmp_path, capsys):
    (tmp_path / "config.json").write_text(content)
    status, _, said = say(["train", "--config", tmp_path / "config.json", "--out", tmp_path / "run"], capsys)
    assert status == 2 and words in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "--wdith", "3"], "unknown argument --wdith; did you mean '--width'?"),
        (
            ["train", "--kind", "dgsaa"],
            f"kind is 'dgsaa', expected one of {', '.join(map(repr, KINDS))}; did you mean 'dgsa'?",
        ),
        (["train", "--width", "30"], "width is 30, expected a multiple of 2 n_heads = 8"),
        (["train", "--epochs", "many"], "invalid int value: 'many'"),
        (["train", "--patch-size", "3"], "image_size is 8, expected a multiple of patch_size = 3"),
        (["train", "--device", "tpu"], "device is 'tpu', expected one of 'auto', 'cpu', 'cuda'"),
        (["train", "--head-norm", "perhaps"], "'perhaps', expected true or false"),
        (["demo", "--seeds", "0"], "expected a whole number of at least 1"),
        (["dmeo"], "invalid choice: 'dmeo'"),
        ([], "required: COMMAND"),
        (["train", "--config", "nowhere.json"], "nowhere.json: cannot be read"),
        (["train", "--resume", "nowhere"], "nowhere: there is no such file"),
        (["train", "--resume", "a", "--out", "b"], "a run goes on in its own folder"),
        (["train", "--task", "lm"], "task is 'lm', expected 'vision': it comes from the data digits"),
        (["train", "--data", "pydoc", "--vocab-size", "7"], "vocab_size is 7"),
        (["train", "--data", "mnist"], "root is None"),
        (["train", "--data", "pydocs"], "did you mean 'pydoc'?"),
        (["train", "--length", "5"], "length given, expected no options with digits"),
        (["train", "--rotary", "true", "--width", "8", "--n-heads", "4"], "an even whole number"),
        (["evaluate"], "required: RUN"),
        (["evaluate", "nowhere"], "there is no such file"),
        (["sample", "nowhere"], "there is no such file"),
        (["sample", "x", "--temperature", "-1"], "expected a number of at least 0"),
        (["sample", "x", "--top-k", "0"], "expected a whole number of at least 1"),
        (["sample", "x", "--length", "0"], "expected a whole number of at least 1"),
        (["sample", "x", "--seed", "-1"], "'-1', expected a whole number of at least 0"),
        (["sample", "x", "--temperature", "warm"], "'warm', expected a number of at least 0"),
        (["train", "--data", "text", "--root", "nowhere.txt"], "nowhere.txt: cannot be read: No such file"),
        (["train", "--data", "rt-polarity", "--root", "nowhere"], "rt-polarity.neg: cannot be read: No such file"),
        (["train", "--data", "mnist", "--root", "nowhere"], "train-images-idx3-ubyte: there is no such file"),
        (["train", "--seed", "-1"], "seed is -1"),
        (["train", "--threads", "0"], "threads is 0"),
        (["train", "--seed", "9" * 400], "seed is 999"),
        (["train", "--width", "9" * 400], "width is 999"),
        (["train", "--gate-on", "inhibit"], "gate_on is 'inhibit', expected one of 'both', 'inhibition'; did you mean"),
        (["train", "--save-every", "-1"], "expected a number of at least 0"),
        (["evaluate", "x", "--checkpoint", "bets"], "invalid choice: 'bets'"),
        (["info", "--task", "lm", "--max-len", "0"], "max_len is 0"),
        (["baselines", "--corruption", "blurr"], "did you mean 'blur'?"),
        (["baselines", "--width", "3"], "unknown argument --width"),
    ],
)
def test_wrong_use_is_told_in_one_line(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, said = say(argv, capsys)
    assert status == 2 and words in said.splitlines()[-1] and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate", "sample"])
def test_a_damaged_run_is_told(command, trained, tmp_path, capsys):
    content = (trained / "text/checkpoint.npz").read_bytes()
    (tmp_path / "checkpoint.npz").write_bytes(content[:-100])
    status, _, said = say([command, tmp_path], capsys)
    assert status == 2 and "checkpoint.npz: damaged, or no checkpoint" in said
    status, _, said = say([command, tmp_path, "--checkpoint", "best"], capsys)
    assert status == 2 and "best.npz: there is no such file" in said


def test_cuda_without_a_gpu_is_told_by_every_command(trained, capsys):
    try:
        resolve_device("cuda")
        pytest.skip("a GPU is here")
    except DeviceError:
        pass
    for command in (["evaluate", trained / "text"], ["sample", trained / "text"], ["train", "--width", "16"]):
        status, _, said = say([*command, "--device", "cuda"], capsys)
        assert status == 2 and said.startswith("dgsa-np: device 'cuda' cannot be used: ")
