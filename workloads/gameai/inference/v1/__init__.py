"""Generated from proto/gameai/inference/v1 by `make proto`."""
