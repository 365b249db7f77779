"""The edge to the API server: the only places that import kopf and the Kubernetes client."""
