"""The manager database; nothing else of ours opens it. Start at store.py."""
