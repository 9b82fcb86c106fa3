"""Everything between tensors and bytes: messages, codecs, transports."""

import os

# gRPC reads this when it is imported. Its C core prints lines about a taken port or a failed handshake, which our
# errors report already. To debug gRPC itself, set the variable to DEBUG.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

# gRPC adds handlers to every fork of its process. They abort some of the children before these do anything, and leave
# the parent waiting. Nothing that is forked here uses gRPC: a child works on a file, or becomes another program.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
