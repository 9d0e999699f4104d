"""What ``xcore init`` writes: a configuration, a plugin and a task, the smallest that there is something to see of."""

from supervisor.cli.scaffold import NewPlugin, PluginTemplate, rendered

PLUGIN = NewPlugin("hello", PluginTemplate.ROUTER)
TASK = "first.py"


def project_files(*, plugin: bool, task: bool) -> dict[str, str]:
    """Text of each file by its path in the project, with a first plugin and a first task where they are wanted."""
    files = rendered("project", {})
    module = files.pop(TASK)
    if plugin:
        files.update({f"plugins/{PLUGIN.name}/{path}": text for path, text in PLUGIN.files().items()})
    if task:
        files[f"backgroundtask/{TASK}"] = module
    return files
