"""The engine: what every kind shares on the way from a declared object to its children and its status."""
