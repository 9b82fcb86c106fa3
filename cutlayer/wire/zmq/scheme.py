"""The ZeroMQ transport, as addresses and security options need to know it."""

from cutlayer.wire.scheme import Rule, Scheme

_CLIENTS = "--curve-server is an option of clients; give a server its own --curve-key instead."
_KEYS = "A client with --curve-key must know the server's public key; give --curve-server too."

ZMQ = Scheme(
    "Multi-part ZeroMQ messages over TCP, with CURVE and a list of admitted keys.",
    client="cutlayer.wire.zmq.client:ZmqClient",
    server="cutlayer.wire.zmq.server:ZmqServer",
    package="pyzmq",
    files=("curve_key", "curve_server", "allow"),
    encrypted_by=("curve_key", "curve_server"),
    rules=(
        Rule(True, "curve_server", "", _CLIENTS),
        Rule(True, "allow", "curve_key", "--allow needs --curve-key; without encryption no client can prove its key."),
        Rule(False, "allow", "", "--allow is an option of servers; leave it out at a client."),
        Rule(False, "curve_key", "curve_server", _KEYS),
    ),
)
