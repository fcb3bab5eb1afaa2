"""A small OIDC issuer for the embedded stack and compose's dev profile: people are picked from a list, no passwords.

It refuses to start in production, where the organisation's own identity provider belongs.
"""
