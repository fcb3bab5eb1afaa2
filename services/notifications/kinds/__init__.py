"""What people are told, one record for each kind (ADR 0010)."""
