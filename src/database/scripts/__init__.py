"""Thin entry points: `python -m src.database.scripts.NAME`."""
