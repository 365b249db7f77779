"""GameWorld: from a declared world to its services, configuration and status. Nothing here awaits."""
