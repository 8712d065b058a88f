#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the image: Python with NumPy, rights, a trial.
# AUTOGRADER and PYTHON are there to try it elsewhere.
set -euo pipefail
cd "${AUTOGRADER:-/autograder}/source"

python="${PYTHON:-python3}"
if ! "$python" -c 'import numpy; assert int(numpy.__version__.split(".")[0]) >= 2' 2> /dev/null; then
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install --yes python3 python3-venv
    python3 -m venv python
    python="$PWD/python/bin/python"
    "$python" -m pip install --no-cache-dir --requirement requirements.txt
fi

chmod -R go-rwx .  # keys and solutions are for who grades, and for nobody else
cd notebooks/exercises
PYTHONPATH=../.. "$python" -m grading.autograder  # has the solution all points? Else there is no image
