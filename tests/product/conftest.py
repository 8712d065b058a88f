"""What the tests of commands share."""

import pytest
from support.commands import flags

from dgsa_np.lab.cli import main


@pytest.fixture(scope="session")
def trained(sources, tmp_path_factory):
    """{data set: a run folder}"""
    root = tmp_path_factory.mktemp("runs")
    for name in ("digits", "text", "rt-polarity"):
        assert main(["train", *flags(name, sources), "--out", str(root / name)]) == 0
    return root
