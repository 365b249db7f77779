"""Where tiers and worlds come from: a cluster's API, or a file."""
