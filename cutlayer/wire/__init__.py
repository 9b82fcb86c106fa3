"""Everything between tensors and bytes: messages, codecs, transports."""

import os

# gRPC reads this when it is imported. Its C core prints lines about a taken port or a failed handshake, which our
# errors report already. To debug gRPC itself, set the variable to DEBUG.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
