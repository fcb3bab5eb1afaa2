"""What outsiders build on: JSON Schemas, their releases, and the AsyncAPI document."""
