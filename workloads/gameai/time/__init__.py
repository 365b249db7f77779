"""The wire of time: `v1` is generated from proto/gameai/time/v1 by `make proto`."""
