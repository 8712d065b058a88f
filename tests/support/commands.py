"""Commands as a user gives them, and what they say."""

import subprocess


def output(*command):
    """What a command prints; it must end well."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
