"""What people and programs do with cases, recordings and texts: plain functions, the session first."""
