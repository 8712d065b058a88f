"""Commands as a user gives them, and what they say."""

import re
import subprocess

from dgsa_np.lab.cli import main


def output(*command, **options):
    """What a command prints; it must end well."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


SMALL = ["--width", "16", "--n-heads", "2", "--depth", "1", "--epochs", "1", "--device", "cpu"]


def flags(name, sources):
    return (
        SMALL
        + {
            "digits": ["--batch-size", "256"],
            "text": ["--data", "text", "--root", str(sources / "text.txt"), "--length", "16"],
            "rt-polarity": ["--data", "rt-polarity", "--root", str(sources), "--length", "10"],
        }[name]
    )


def say(argv, capsys):
    """Exit status, what was said, and what was said on the error stream."""
    capsys.readouterr()
    try:
        status = main([str(a) for a in argv])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def assert_parts_add_up(said):
    """The parameters of the parts are those of the model."""
    total = int(re.search(r"([\d,]+) parameters", said)[1].replace(",", ""))
    parts = [int(n.replace(",", "")) for n in re.findall(r"^ {11}[\w ]+? {2,}([\d,]+)  ", said, re.MULTILINE)]
    assert len(parts) == 7 and sum(parts) == total
