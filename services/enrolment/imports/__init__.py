"""HR exports: a CSV file is understood, compared with who is known, and applied in one transaction."""
