"""What programs read from the API of a cluster: objects by LIST and watch, and the public keys of tokens."""
