"""Every SQL statement on rounds and their invitations, and the directory as far as choosing respondents reads it."""
