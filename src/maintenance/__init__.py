"""Maintenance by operators, run as the database's owner: sealing, archiving, reindexing, sweeping, fixity checks."""
