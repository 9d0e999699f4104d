"""Background tasks: the modules of the task directory, each with its service in a process of its own."""
