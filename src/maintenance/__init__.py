"""What operators do: sealing and retiring the log, and what else keeps a database in order. Run as its owner."""
