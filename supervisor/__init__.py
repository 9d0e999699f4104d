"""The host: owns configuration, database, process table and listening socket; serves no HTTP itself."""
