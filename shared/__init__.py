"""What every service stands on; nothing enters until two services need it."""
