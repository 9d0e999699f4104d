"""What the kernel tells, against another teller."""

import os
import resource
import threading
import time

import psutil

from plugin_runtime import process_facts
from plugin_runtime.task_protocol import Threads
from plugin_runtime.wire import encode


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


def test_threads_are_told_with_their_ids_in_the_kernel():
    """What htop shows can be found in the list, and the other way round."""
    release = threading.Event()
    helper = threading.Thread(target=release.wait, name="helper", daemon=True)
    helper.start()
    try:
        facts = {thread.name: thread for thread in process_facts.threads()}
    finally:
        release.set()
        helper.join()
    assert facts["MainThread"].native == os.getpid()
    assert (facts["helper"].id, facts["helper"].native) == (helper.ident, helper.native_id)
    assert (facts["helper"].alive, facts["helper"].daemon, facts["MainThread"].daemon) == (True, True, False)


def test_whatever_a_thread_is_called_a_message_can_carry_it():
    """A name that could not be sent would end the thread that answers, and with it the beats."""
    release = threading.Event()
    helper = threading.Thread(target=release.wait, name="\udcff" + "x" * 10_000)
    helper.start()
    try:
        encode(Threads(process_facts.threads()))
        (name,) = (thread.name for thread in process_facts.threads() if thread.id == helper.ident)
    finally:
        release.set()
        helper.join()
    assert name.startswith("\\udcffxx")
    assert len(name) < 300
