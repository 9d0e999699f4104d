"""What plugins work with; the same for all of them."""

from collections.abc import Callable
from dataclasses import dataclass

from plugin_runtime.views import ExitView
from supervisor.config.configuration import Configuration
from supervisor.config.live import LiveConfiguration
from supervisor.gateways import Gateways
from supervisor.jobs.plugin_jobs import JobBook
from supervisor.prefixes import Claims
from supervisor.preparation import Preparation
from supervisor.pruning import Pruning
from supervisor.resources import Resources
from supervisor.store.repository import Repository
from supervisor.surroundings import Surroundings
from supervisor.template_pool import TemplatePool
from supervisor.tree import Tree


@dataclass(frozen=True)
class PluginServices:
    """Adapters and books."""

    configuration: Configuration
    """As it was at the start."""
    live: LiveConfiguration
    around: Surroundings
    templates: TemplatePool
    pruning: Pruning
    tree: Tree
    preparation: Preparation
    claims: Claims
    gateways: Gateways
    repository: Repository
    resources: Resources
    jobs: JobBook
    recorded: Callable[[ExitView], None]
    """Takes every exit record."""
    changed: Callable[[], None]
    """Called when something that /health shows may be different."""
    released: Callable[[], None]
    """Called when a prefix has become free."""
