"""EDGE: KEDA's external scaler protocol, generated from proto/, and the server of it."""
