"""Every SQL statement of an import: its own record, the difference a file makes, and its writing."""
