"""``xcore doctor``: proves with throw-away processes and files that this machine has what xcore needs."""
