"""The command ``xcore``."""
