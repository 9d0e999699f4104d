"""What plugins work with; the same for all of them."""

from collections.abc import Callable
from dataclasses import dataclass

from plugin_runtime.views import ExitView
from supervisor.config.configuration import Configuration
from supervisor.config.live import LiveConfiguration
from supervisor.gateways.gateways import Gateways
from supervisor.jobs.plugin_jobs import JobBook
from supervisor.monitoring.resources import Resources
from supervisor.preparation.prefixes import Claims
from supervisor.preparation.preparation import Preparation
from supervisor.preparation.pruning import Pruning
from supervisor.store.repository import Repository
from supervisor.supervision.surroundings import Surroundings
from supervisor.supervision.tree import Tree
from supervisor.templates.pool import TemplatePool


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
