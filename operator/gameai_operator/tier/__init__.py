"""ModelTier: from a declared tier to its Deployments, Service and status. Nothing here awaits."""
