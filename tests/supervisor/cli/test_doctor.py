"""``xcore doctor`` as a user sees it; what it finds is played here."""

import dataclasses
import json
import re
import tempfile
from errno import ENOSPC
from pathlib import Path

import pytest

from supervisor.doctor import checklist
from supervisor.doctor.check import Examined, Group
from supervisor.doctor.finding import Result
from tests.source_code import ROOT

FINE = Examined("pidfd", "kernel", "ok", "tells of a process's end", "", "")
POOR = Examined("clock", "machine", "warning", "not synchronised", "jobs run late", "install chrony")
ILL = Examined("disk space", "state folder", "missing", "0 MiB free", "nothing is recorded", "make room")


@pytest.fixture
def doctor(xcore, monkeypatch):
    """Run ``xcore doctor`` on a machine of which these things are found."""

    def doctor(*found, options=()):
        asked = []
        monkeypatch.setattr(checklist, "diagnose", lambda config, _environ: asked.append(config) or list(found))
        outcome = xcore("doctor", *options)
        doctor.config = asked[0] if asked else None
        return outcome

    return doctor


def test_a_healthy_machine_is_one_line_per_check(doctor):
    """Exit code 0."""
    outcome = doctor(FINE)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "RESULT  GROUP   CHECK  FOUND",
        "ok      kernel  pidfd  tells of a process's end",
        "",
        "checks: 1, warnings: 0, missing: 0",
    ]


def test_each_problem_says_what_it_means_and_what_to_do(doctor):
    """After the table; nothing is said twice of what is fine."""
    out = doctor(FINE, POOR, ILL).out.partition("\n\n")[2]
    assert out == (
        "warning: clock: not synchronised\n  means: jobs run late\n  do: install chrony\n\n"
        "missing: disk space: 0 MiB free\n  means: nothing is recorded\n  do: make room\n\n"
        "checks: 3, warnings: 1, missing: 1\n"
    )


@pytest.mark.parametrize(("found", "code"), [([FINE], 0), ([FINE, POOR], 0), ([FINE, ILL], 1), ([FINE, POOR, ILL], 1)])
def test_only_what_is_missing_makes_it_fail(doctor, found, code):
    """A warning must not keep a deployment from going on."""
    assert doctor(*found).code == code
    outcome = doctor(*found, options=["--json"])
    document = json.loads(outcome.out)
    assert (outcome.code, outcome.err) == (code, "")
    assert document == {"ok": code == 0, "checks": [dataclasses.asdict(check) for check in found]}


def test_what_was_found_does_no_harm_to_the_terminal(doctor):
    """Names of files and answers of servers are foreign text."""
    nasty = dataclasses.replace(ILL, found="\x1b[2J\nfake")
    assert "\x1b" not in doctor(nasty).out
    assert "\nfake" not in doctor(nasty).out


def test_without_a_project_the_machine_is_examined(doctor, project):
    """Before the first ``xcore init``; a configuration that was named must be there."""
    doctor(FINE)
    assert doctor.config == Path("config.json")
    (project / "config.json").unlink()
    doctor(FINE)
    assert doctor.config is None
    doctor(FINE, options=["--config", "other.json"])
    assert doctor.config == Path("other.json")


def test_without_a_folder_for_temporary_files_it_says_so(xcore, monkeypatch):
    """It keeps its experiments there."""

    def refuse(**_):
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    outcome = xcore("doctor")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("xcore: cannot make a folder for temporary files: No space left on device; make room")


# --- documentation --------------------------------------------------------------------------------------------

REFERENCE = (ROOT / "docs" / "reference" / "cli.md").read_text()
HOW_TO = (ROOT / "docs" / "how-to" / "when-something-does-not-work.md").read_text()


@pytest.fixture
def checks(project, tmp_path):
    """All there are of a project with a configuration."""
    case = checklist.Case(checklist.Project.find(project / "config.json", {}), {}, tmp_path, runner=None)
    return checklist.checks(case)


def test_every_check_is_documented_in_its_order(checks):
    """With what xcore needs it for."""
    rows = re.findall(r"^\| ([\w /]+) \| `([^`]+)` \| .+ \|$", HOW_TO, re.MULTILINE)
    assert rows == [(check.group, check.name) for check in checks]


def test_every_check_has_its_own_name_and_says_what_to_do(checks):
    """Programs find a check by its name. The report is ordered by what the checks are about."""
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    assert list(dict.fromkeys(check.group for check in checks)) == list(Group)
    for check in checks:
        assert check.meaning
        assert check.advice


def test_every_group_and_result_is_documented():
    text = REFERENCE.partition("### `xcore doctor`")[2].partition("\n### ")[0]
    for word in (*Group, *Result):
        assert f"`{word}`" in text, word


def test_every_key_of_a_check_is_documented():
    text = REFERENCE.partition("### `xcore doctor`")[2].partition("\n### ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert documented == ["ok", "checks", *(field.name for field in dataclasses.fields(Examined))]
