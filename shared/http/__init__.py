"""What every API process is made of."""
