"""Generated from proto/gameai/v1 by `make proto`."""
