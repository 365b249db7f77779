"""The program beside the brokers of the bus: it decides who may connect and what they may do, and declares the streams."""
