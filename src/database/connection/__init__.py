"""Connecting to the database: addresses, engines, sessions and the actor of each transaction."""
