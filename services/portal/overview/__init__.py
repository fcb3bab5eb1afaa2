"""The organisation's page and its figures, live."""
