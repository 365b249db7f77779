"""The wire of weather: `v1` is generated from proto/gameai/weather/v1 by `make proto`."""
