"""Bringing the database to what the code says: comparing the catalog with the code, and applying what differs."""
