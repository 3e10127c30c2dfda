"""How the database is reached: addresses, the engine, sessions and the actor of each transaction."""
