"""The controller of the event bus: it decides who may connect and what they may do, and declares the streams."""
