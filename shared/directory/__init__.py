"""Every service's own copy of people, units, roles and sign-ins, and the unit tree."""
