"""What the operator and the workloads agree on. Neither imports the other."""
