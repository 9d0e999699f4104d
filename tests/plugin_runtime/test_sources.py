"""Import from a generation's copy, under the names of the real files."""

import importlib
import importlib.util
import inspect
import pkgutil
import shutil
import sys
import traceback
from pathlib import Path

import pytest

from plugin_runtime import sources
from plugin_runtime.sources import SourceFolders
from tests.fakes.guests import write_files

pytestmark = pytest.mark.usefixtures("restored_imports")

HELLO = {
    "__init__.py": "NAME = 'hello'\n",
    "run.py": """
from plugins.hello import NAME
from . import models
from .models import X
import plugins.hello.deep.er
""",
    "models.py": "X = 1\n\ndef fails():\n    raise ValueError('old line')\n",
    "deep/er.py": "Y = 2\n",
    "data.txt": "old data",
}


@pytest.fixture
def hello(tmp_path) -> SourceFolders:
    """Plugin "hello" with its copy."""
    folder = write_files(tmp_path / "plugins" / "hello", HELLO)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    return SourceFolders(str(folder), str(copy))


def test_code_comes_from_the_copy_and_names_from_the_real_folder(hello):
    """A broken save under a running generation changes nothing for it; its files keep their names."""
    Path(hello.folder, "models.py").write_text("this is not Python")
    sources.install(hello, "hello")
    run = importlib.import_module("plugins.hello.run")
    assert run.models.X == 1
    assert run.__file__ == f"{hello.folder}/run.py"
    assert run.models.fails.__code__.co_filename == f"{hello.folder}/models.py"
    assert list(sys.modules["plugins.hello"].__path__) == [hello.folder]
    assert list(sys.modules["plugins.hello.deep"].__path__) == [f"{hello.folder}/deep"]


def test_a_folder_that_was_searched_before_is_searched_anew_and_no_other_is(hello, tmp_path):
    """What a template knows of its environment's folders it shares with what is forked, while nobody lets go of it."""
    sys.path[:0] = [str(tmp_path), hello.folder]
    assert importlib.util.find_spec("models").origin == f"{hello.folder}/models.py"
    kept = sys.path_importer_cache[str(tmp_path)]
    before = sys.path_importer_cache[hello.folder]
    sources.install(hello, "hello")
    Path(hello.folder, "models.py").write_text("this is not Python")
    assert importlib.util.find_spec("models").loader.get_data(f"{hello.folder}/models.py").startswith(b"X = 1")
    assert sys.path_importer_cache[str(tmp_path)] is kept
    assert sys.path_importer_cache[hello.folder] is not before


def test_tracebacks_show_the_lines_that_ran(hello):
    """The file on disk has other lines by now; a traceback of them would lead its reader astray."""
    Path(hello.folder, "models.py").write_text("a\nnew\nfile\nnew line\n")
    sources.install(hello, "hello")
    models = importlib.import_module("plugins.hello.models")
    with pytest.raises(ValueError) as raised:
        models.fails()
    shown = "".join(traceback.format_exception(raised.value))
    assert "raise ValueError('old line')" in shown
    assert "new line" not in shown
    assert inspect.getsource(models.fails).startswith("def fails")


def test_data_files_are_the_live_ones(hello):
    """Templates and data lie beside the code and may change without a reload."""
    sources.install(hello, "hello")
    run = importlib.import_module("plugins.hello.run")
    Path(hello.folder, "data.txt").write_text("new data")
    assert Path(run.__file__).with_name("data.txt").read_text() == "new data"
    assert pkgutil.get_data("plugins.hello", "data.txt") == b"new data"


def test_a_file_that_is_not_in_the_copy_cannot_be_imported(hello):
    """Late imports never mix generations."""
    sources.install(hello, "hello")
    importlib.import_module("plugins.hello.run")
    Path(hello.folder, "added.py").write_text("Z = 3\n")
    with pytest.raises(ModuleNotFoundError, match="added"):
        importlib.import_module("plugins.hello.added")


def test_nothing_is_written_into_the_plugin_folder(hello, monkeypatch):
    """Bytecode is kept beside the copy, and used the next time."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    sources.install(hello, "hello")
    importlib.import_module("plugins.hello.run")
    assert not list(Path(hello.folder).rglob("__pycache__"))
    cached = Path(hello.copy, "__pycache__", f"run.{sys.implementation.cache_tag}.pyc")
    assert sys.modules["plugins.hello.run"].__cached__ == cached.as_posix().replace(hello.copy, hello.folder)
    assert cached.is_file()


def test_init_may_be_missing(hello):
    """A folder with run.py alone is a plugin."""
    Path(hello.copy, "__init__.py").unlink()
    Path(hello.copy, "run.py").write_text("from .models import X\n")
    sources.install(hello, "hello")
    assert importlib.import_module("plugins.hello.run").X == 1


def test_other_plugins_are_not_importable_and_the_message_says_what_to_do(hello):
    """They are other processes, whether their folder is there or not."""
    write_files(Path(hello.folder).parent / "other", {"__init__.py": ""})
    sources.install(hello, "hello")
    with pytest.raises(ModuleNotFoundError, match=r"plugins\.other.*over HTTP"):
        importlib.import_module("plugins.other")


def test_the_folder_itself_is_no_import_root_for_the_seed_contract(hello):
    """Modules of a seed plugin are found by their full name only, as in the founding system."""
    sources.install(hello, "hello")
    assert importlib.util.find_spec("models") is None


def test_a_plugin_may_put_its_own_folder_on_the_path(hello):
    """Old plugins do; what they import so comes from the copy, too."""
    Path(hello.folder, "models.py").write_text("X = 'live'\n")
    sources.install(hello, "hello")
    sys.path.insert(0, hello.folder)
    try:
        assert importlib.import_module("models").X == 1
    finally:
        sys.modules.pop("models", None)


def test_a_folder_reached_through_a_symlink_is_the_same_folder(hello, tmp_path):
    """plugins/hello may be a link; code that resolves its own __file__ still gets the copy."""
    link = tmp_path / "link"
    link.symlink_to(hello.folder)
    folders = SourceFolders(str(link), hello.copy)
    assert folders.copy_of(f"{link}/run.py") == f"{hello.copy}/run.py"
    assert folders.copy_of(f"{hello.folder}/run.py") == f"{hello.copy}/run.py"
    assert folders.copy_of(f"{hello.folder}x/run.py") is None


def test_submodules_can_be_listed(hello):
    """pkgutil finds what is in the copy, for plugins that load their parts by name."""
    sources.install(hello, "hello")
    package = importlib.import_module("plugins.hello")
    names = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert names == {"run", "models"}


def make_app(tmp_path: Path, files: dict[str, str]) -> SourceFolders:
    folder = write_files(tmp_path / "plugins" / "shop", files)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    return SourceFolders(str(folder), str(copy))


def test_an_app_imports_from_its_folder_and_its_src(tmp_path):
    """Both layouts work, and the package plugins.<name> besides."""
    folders = make_app(
        tmp_path, {"main.py": "import shop.api\n", "src/shop/__init__.py": "", "src/shop/api.py": "A = 1\n"}
    )
    sources.install(folders, "shop", sources.import_roots(folders))
    assert importlib.import_module("main").shop.api.A == 1
    assert sys.modules["shop.api"].__file__ == f"{folders.folder}/src/shop/api.py"
    assert importlib.import_module("plugins.shop.main").shop.api.A == 1


def test_an_app_without_src_has_one_import_root(tmp_path):
    """A src folder that is not there is not searched for ever after."""
    folders = make_app(tmp_path, {"main.py": ""})
    assert sources.import_roots(folders) == [folders.folder]


def test_an_app_keeps_a_package_named_plugins(tmp_path):
    """Many applications call their own extensions so."""
    folders = make_app(tmp_path, {"plugins/__init__.py": "", "plugins/mail.py": "M = 1\n"})
    sources.install(folders, "shop", sources.import_roots(folders))
    assert importlib.import_module("plugins.mail").M == 1
