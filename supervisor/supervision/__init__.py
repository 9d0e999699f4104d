"""The engine of supervision: a pure core that decides about each child, and the shell that does what it decides."""
