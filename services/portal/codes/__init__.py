"""What the codes mean, for people."""
