"""Generated from proto/gameai/weather/v1 by `make proto`."""
