"""Templates: processes with their imports done, from which others are forked."""
