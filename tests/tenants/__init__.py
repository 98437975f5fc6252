"""What one user sees of a database."""
