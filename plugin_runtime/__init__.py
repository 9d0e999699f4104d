"""The guest: runs inside plugins' environments and owns the contract between the processes of xcore."""

__version__ = "0.1.0"
