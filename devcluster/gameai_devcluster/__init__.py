"""A real Kubernetes control plane with simulated nodes on one machine, from package registries alone."""
