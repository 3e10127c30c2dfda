"""The data layer of Speech to Information: recordings, what was said in them, and who touched it since."""
