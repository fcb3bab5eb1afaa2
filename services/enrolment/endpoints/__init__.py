"""What this service's endpoints and pages take alike."""
