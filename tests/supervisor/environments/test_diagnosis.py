import pytest

from supervisor.environments.diagnosis import Diagnosis, diagnose


@pytest.mark.parametrize(
    ("lines", "transient", "problem"),
    [
        (["HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: /x"], True, "cannot be reached"),
        (["503 Server Error: Service Unavailable for url: u"], True, "cannot be reached"),
        (["All attempts to connect to h failed."], True, "cannot be reached"),
        (["Hash for six (1.17.0) from archive a.whl not found in", "known hashes (was: b)"], True, "differs"),
        (["[Errno 28] No space left on device"], False, "file system is full"),
        (
            ["pyproject.toml changed significantly since poetry.lock was last generated. Run `poetry lock`"],
            False,
            "older than its pyproject.toml",
        ),
        (
            ["Because shop depends on nosuch (*) which doesn't match any versions, version solving failed."],
            False,
            "not",
        ),
        (
            ["Because every version of a depends on b (1)", " and shop depends on b (2), version solving", "failed."],
            False,
            "contradict",
        ),
        (["ChefBuildError", "", "Backend subprocess exited"], False, "no wheel"),
    ],
)
def test_known_signs_are_told_apart(lines, transient, problem):
    """Only what the network did is tried again, and the operator reads what to do."""
    diagnosis = diagnose(["Installing dependencies from lock file", *lines])
    assert diagnosis.transient is transient
    assert problem in diagnosis.problem


def test_unknown_lines_are_no_diagnosis():
    """A guess would send the operator the wrong way."""
    assert diagnose(["something new"]) == Diagnosis()
    assert diagnose([]) == Diagnosis()
