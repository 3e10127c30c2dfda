"""Technical facts of recordings, determined by decoding them in a child process."""
