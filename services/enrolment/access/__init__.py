"""Roles of people and tokens of machines: granted here, announced on the access topic."""
