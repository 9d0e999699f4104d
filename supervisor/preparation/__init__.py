"""From foreign code in a folder to what its processes are started with."""
