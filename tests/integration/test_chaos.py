"""Random faults over everything, as bench/chaos.py inflicts them: it converges, and nothing is lost."""

import os
import subprocess
import sys

import pytest

from tests.source_code import ROOT

pytestmark = [pytest.mark.process, pytest.mark.environment, pytest.mark.slow]

SEED = 30
SECONDS = 45


@pytest.mark.timeout(300)
def test_random_faults_are_survived(environments):
    """Row 30, and 22 to 24 and 40 in passing: no failure that could be kept, no orphan, no double, no write lost."""
    program = (sys.executable, ROOT / "bench" / "chaos.py", "--environments", environments)
    # In a process of its own: it adopts and reaps what a dead supervisor leaves behind.
    done = subprocess.run(
        [*program, "--seed", str(SEED), "--seconds", str(SECONDS)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
