"""What plugins claim by their files alone."""

import json

import pytest

from supervisor.config.source import load
from supervisor.errors import PluginRefusedError
from supervisor.plugins.written_prefixes import claims_of, written_prefixes


def project(root, plugins, overrides=None):
    (root / "config.json").write_text(json.dumps({"plugins": overrides or {}}))
    for name, files in plugins.items():
        for file, text in files.items():
            path = root / "plugins" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return load(root / "config.json", {})


@pytest.mark.parametrize(
    ("files", "prefix"),
    [
        ({"run.py": 'PLUGIN_INFO = {"Api_prefix": "/app/x"}'}, "/app/x"),
        ({"run.py": 'PLUGIN_INFO: dict = {"Api_prefix": "/app/x"}'}, "/app/x"),
        ({"run.py": 'PLUGIN_INFO = {"version": "1"}'}, "/app/shop"),
        ({"run.py": 'PLUGIN_INFO = {"Api_prefix": ""}'}, "/app/shop"),
        ({"run.py": "from . import PLUGIN_INFO", "__init__.py": 'PLUGIN_INFO = {"Api_prefix": "/x"}'}, "/x"),
        ({"run.py": "PLUGIN_INFO = make()"}, None),
        ({"run.py": 'PLUGIN_INFO = {"Api_prefix": PREFIX}'}, None),
        ({"run.py": "PLUGIN_INFO = {**COMMON}"}, None),
        ({"run.py": "this is not Python"}, None),
        ({"run.py": "", "pyproject.toml": '[tool.xcore]\nprefix = "/y"'}, "/y"),
        ({"pyproject.toml": '[tool.xcore]\napp = "main:app"'}, "/shop"),
        ({"pyproject.toml": "[tool.xcore]\nap = 1"}, None),
        ({"pyproject.toml": "\0"}, None),
    ],
)
def test_a_prefix_is_known_where_it_is_written(tmp_path, files, prefix):
    """Or follows from what is; what is computed, or cannot be read, is nobody's guess."""
    assert written_prefixes(project(tmp_path, {"shop": files})) == ({} if prefix is None else {"shop": prefix})


def test_the_operator_has_the_last_word(tmp_path):
    """As when it is served."""
    files = {"run.py": 'PLUGIN_INFO = {"Api_prefix": "/app/x"}'}
    assert written_prefixes(project(tmp_path, {"shop": files}, {"shop": {"prefix": "/z"}})) == {"shop": "/z"}


def test_what_is_no_plugin_claims_nothing(tmp_path):
    """Hidden folders and the like; and there may be no plugin directory yet."""
    assert written_prefixes(project(tmp_path, {})) == {}
    info = {"run.py": "PLUGIN_INFO = {}"}
    assert written_prefixes(project(tmp_path, {".shop": info, "__pycache__": info})) == {}


def test_claims_made_of_them_refuse_a_newcomer():
    """Those that are not to be had are nobody's."""
    claims = claims_of({"admin": "/admin", "shop": "/shop", "twin": "/shop", "odd": "odd"})
    assert dict(claims.prefixes) == {"shop": "/shop"}
    with pytest.raises(PluginRefusedError, match="belongs to plugin 'shop'"):
        claims.claim("new", "/shop/")
