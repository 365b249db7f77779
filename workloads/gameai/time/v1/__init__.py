"""Generated from proto/gameai/time/v1 by `make proto`."""
