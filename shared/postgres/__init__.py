"""The database: pools, the unit of work, its failures, migrations."""
