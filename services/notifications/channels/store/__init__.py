"""Every SQL statement of the channels."""
