"""The wire of inference: `v1` is generated from proto/gameai/inference/v1 by `make proto`."""
