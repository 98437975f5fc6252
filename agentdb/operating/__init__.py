"""What is done to a database as a whole: digests of its tables, backups, restoring."""
