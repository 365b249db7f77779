"""The gameai operator: three kinds of YAML become living game worlds."""
