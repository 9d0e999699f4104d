from pathlib import Path

from supervisor.environments import poetry_program
from supervisor.environments.package_index import PackageSource

VENV = Path("/srv/envs/shop/0123")
CACHE = Path("/srv/envs/.cache")


def variables(environment, source=None):
    return poetry_program.variables(environment, VENV, CACHE, source or PackageSource())


def test_poetry_installs_into_the_venv_and_sees_nothing_of_the_user():
    """The user's Poetry configuration, keyring and active venv must not decide what a plugin gets."""
    result = variables({"PATH": "/usr/bin", "VIRTUAL_ENV": "/home/me/venv", "POETRY_VIRTUALENVS_CREATE": "false"})
    assert result["VIRTUAL_ENV"] == str(VENV)
    assert result["PATH"] == f"{VENV}/bin:/usr/bin"
    assert "POETRY_VIRTUALENVS_CREATE" not in result
    assert result["POETRY_CONFIG_DIR"].startswith(str(CACHE))


def test_our_secrets_stay_out_of_installers():
    """A setup.py is foreign code."""
    ours = {"DATA_URL": "postgresql://u:p@h/d", "XCORE_TOKEN": "t", "XCORE__SUPERVISOR__X": "1", "PYTHONPATH": "/x"}
    assert not variables(ours).keys() & ours.keys()


def test_proxies_certificates_and_source_credentials_go_along():
    """Without them nothing can be downloaded."""
    theirs = {"HTTPS_PROXY": "http://proxy:3128", "SSL_CERT_FILE": "/c.pem", "POETRY_HTTP_BASIC_HOUSE_PASSWORD": "p"}
    assert theirs.items() <= variables(theirs).items()


def test_the_mirror_reaches_the_plugin_of_poetry_that_uses_it():
    """The lock and the plugin's own files stay as they are."""
    assert variables({}, PackageSource("https://pip.example/simple"))["POETRY_PYPI_MIRROR_URL"]
    assert "POETRY_PYPI_MIRROR_URL" not in variables({"POETRY_PYPI_MIRROR_URL": "https://stray.example"})


def test_only_the_main_group_is_installed_and_never_the_plugin_itself():
    """A plugin's code is its generation's, not an installed package."""
    arguments = poetry_program.install_command()
    assert arguments[arguments.index("install") :][:4] == ["install", "--only", "main", "--no-root"]
