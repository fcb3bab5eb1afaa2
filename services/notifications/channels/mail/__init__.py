"""The mail channel: composing, the SMTP conversation, and the loop that sends."""
