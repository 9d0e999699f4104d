"""The socket of the local side."""

import os
import socket

import pytest

from supervisor.errors import XcoreError
from supervisor.gateways.local_side import bind_local_side


@pytest.fixture
def path(tmp_path):
    return tmp_path / "local.sock"


def test_it_listens_for_its_owner_alone(path):
    """Whatever the umask is; and no child inherits it by chance."""
    former = os.umask(0)
    try:
        with bind_local_side(path) as local, socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert not local.get_inheritable()
            assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(former)


def test_what_a_dead_supervisor_has_left_is_no_obstacle(path):
    """Nobody listens there any more; whoever connects from now on reaches the new one."""
    bind_local_side(path).close()
    with bind_local_side(path) as local, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        local.accept()[0].close()


def test_where_it_cannot_be_the_error_names_the_place(tmp_path):
    """Instead of a start that fails without a word."""
    path = tmp_path / "none" / "local.sock"
    with pytest.raises(XcoreError, match=f"cannot listen on {path}: No such file or directory"):
        bind_local_side(path)
