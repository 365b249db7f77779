"""What is built and read of Kubernetes kinds, one kind a module. Shared by tiers and worlds; pure."""
