"""The door: takes requests, sends plugin prefixes to their workers, and serves the admin interface."""
