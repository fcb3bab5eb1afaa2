"""The register of people, for whoever may look somebody up."""
