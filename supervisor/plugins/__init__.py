"""Plugins: found, deployed, served, watched over, shown and operated."""
