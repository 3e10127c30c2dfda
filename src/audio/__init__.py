"""What a recording's bytes are: decoding in a child process, and the facts that come of it."""
