"""The engine of a tier that is a service elsewhere: forwards chat completions, holds the key, and keeps to a budget."""
