"""What a process is made of, and how it starts."""
