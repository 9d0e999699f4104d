"""How many threads numeric libraries get in what is forked, and where those libraries are."""

import os
from pathlib import Path

import pytest

from plugin_runtime import native_threads
from plugin_runtime.native_threads import let_openblas_have_threads, loaded_openblas

PROCESSORS = 3


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, PROCESSORS),
        ({"OPENBLAS_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "2"}, 2),
        ({"GOTO_NUM_THREADS": "7", "OMP_NUM_THREADS": "2"}, 7),
        ({"OPENBLAS_NUM_THREADS": "5", "GOTO_NUM_THREADS": "7", "OMP_NUM_THREADS": "2"}, 5),
        ({"OPENBLAS_NUM_THREADS": "0", "OMP_NUM_THREADS": "2"}, 2),
        ({"OPENBLAS_NUM_THREADS": "many"}, PROCESSORS),
        ({"OPENBLAS_NUM_THREADS": "-1"}, PROCESSORS),
        ({"OMP_NUM_THREADS": ""}, PROCESSORS),
    ],
)
def test_as_many_threads_as_openblas_itself_would_start(monkeypatch, environment, wanted):
    """By the first of its variables that is a number above zero, else one for each processor we may run on."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(PROCESSORS)))
    monkeypatch.setattr(os, "environ", environment)
    assert native_threads._wanted_threads() == wanted


MAPS = """\
55d0c0000000-55d0c0001000 r--p 00000000 08:01 1 /usr/bin/python3.11
7f0000000000-7f0000001000 r--p 00000000 08:01 2 /env/numpy.libs/libscipy_openblas64_-ff651d7f.so
7f0000001000-7f0000002000 r-xp 00001000 08:01 2 /env/numpy.libs/libscipy_openblas64_-ff651d7f.so
7f0000002000-7f0000003000 r-xp 00000000 08:01 3 /home/a b/libopenblas.so.0
7f0000003000-7f0000004000 r-xp 00000000 08:01 4 /home/openblas/libother.so
7f0000004000-7f0000005000 r-xp 00000000 08:01 5 /usr/lib/libcblas.so.3
7f0000005000-7f0000006000 rw-p 00000000 00:00 0
7f0000006000-7f0000007000 rw-p 00000000 00:00 0 [stack]
"""


def test_each_copy_of_openblas_is_found_once_whatever_its_folder_is_called():
    """numpy and scipy bring one each, under names of their own; a distribution has another."""
    assert native_threads._openblas_in(MAPS) == [
        "/env/numpy.libs/libscipy_openblas64_-ff651d7f.so",
        "/home/a b/libopenblas.so.0",
    ]


def test_without_openblas_nothing_is_done(monkeypatch):
    """Most plugins; nothing is looked for where one thread is wanted, either."""
    assert loaded_openblas() == []
    let_openblas_have_threads([])
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    let_openblas_have_threads(["/there/is/none.so"])


def test_a_library_of_that_name_without_the_function_is_passed_over(monkeypatch):
    """Some are built without threads."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    maps = Path("/proc/self/maps").read_text()
    libc = next(line.split()[-1] for line in maps.splitlines() if "libc.so" in line)
    let_openblas_have_threads([libc])
