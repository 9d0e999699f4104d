"""What the kernel tells, against another teller."""

import os
import resource
import time

import psutil

from plugin_runtime import process_facts


def test_start_ticks_are_the_birth_of_this_process():
    """psutil computes the time of birth from the same field."""
    born = process_facts.start_ticks() / os.sysconf("SC_CLK_TCK")
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - born
    assert abs(age - (time.time() - psutil.Process().create_time())) < 2


def test_peak_memory_outlives_the_memory():
    """It is a high-water mark: freeing memory leaves it where it was."""
    block = b"x" * 80_000_000
    del block
    assert process_facts.peak_memory_kb() > psutil.Process().memory_info().rss / 1024 + 40_000


def test_without_descriptors_the_peak_is_unknown_and_no_error():
    """A child that has used up its files must go on beating, or it would be taken for hung."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        peak = process_facts.peak_memory_kb()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert peak == 0
