"""What a plugin runs in: one environment per plugin and dependency content, built by Poetry and never changed."""

from supervisor.environments.environment import Environment, Interpreter

__all__ = ["Environment", "Interpreter"]
