"""Every SQL statement of a verification. It reads the services' tables, and writes to temporary tables of its own."""
