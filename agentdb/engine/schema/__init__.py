"""What a schema is made of, described, and migrated by, on either database."""
