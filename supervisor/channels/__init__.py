"""How others speak to the supervisor: its children over control channels, the operator over the command socket."""
