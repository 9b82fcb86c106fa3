"""The only code that knows bytes: messages, codecs, transports."""

import os

# Read when gRPC loads. Its C core prints lines of its own about a taken port or a stranger's handshake, which our
# errors say better; whoever is after gRPC itself sets the variable to DEBUG.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
