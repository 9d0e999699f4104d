"""Watching folders: what the kernel tells of them, and what a look at them finds."""
