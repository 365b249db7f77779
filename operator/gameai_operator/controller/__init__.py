"""What every kind shares on the way from a declared object to its children and its status. Knows no Kubernetes kind."""
