"""What holds for every test."""

import signal

# A shell starts what runs in its background with Ctrl-C ignored, and a child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
