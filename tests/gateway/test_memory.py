"""The tuned process spends nothing on pages that come and go."""

import json
import subprocess
import sys

PROGRAM = """
import gc, json, resource
from gateway import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        bytes(256 * 1024)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

untuned = faults()
memory.tune()
bytes(256 * 1024)
print(json.dumps([untuned, faults(), gc.get_freeze_count(), gc.get_threshold()[0]]))
"""


def tuned():
    return json.loads(subprocess.check_output([sys.executable, "-c", PROGRAM]))


def test_the_buffers_of_a_long_body_fault_no_pages_in():
    """64 page faults for every 256 KiB cost an upload half of its speed."""
    untuned, faults, _, _ = tuned()
    assert faults < 100
    assert faults < untuned / 10


def test_the_garbage_collector_leaves_modules_alone():
    """Going through them took it a fifth of all CPU under load."""
    *_, frozen, threshold = tuned()
    assert frozen > 1000
    assert threshold == 10_000
