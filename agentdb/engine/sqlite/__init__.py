"""SQLite over aiosqlite."""
