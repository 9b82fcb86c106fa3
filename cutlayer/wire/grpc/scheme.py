"""The two transports over gRPC, as addresses and security options need to know them."""

from dataclasses import replace

from cutlayer.wire.scheme import Rule, Scheme

_PAIR = "--cert and --key belong together; give both the certificate and its private key."

GRPC = Scheme(
    "The Open Inference Protocol over gRPC: HTTP/2, with TLS and a bearer token.",
    client="cutlayer.wire.grpc.client:GrpcClient",
    server="cutlayer.wire.grpc.server:GrpcServer",
    package="grpcio",
    files=("ca", "cert", "key", "token_file"),
    encrypted_by=("ca", "cert", "key"),
    rules=(
        Rule(None, "cert", "key", _PAIR),
        Rule(None, "key", "cert", _PAIR),
        Rule(True, "ca", "cert", "--ca alone does not encrypt a server; give the server's own --cert and --key too."),
        Rule(False, "cert", "ca", "A client with --cert must verify the server's certificate; give --ca too."),
    ),
)

OPEN_INFERENCE = replace(
    GRPC,
    explanation="Client for any server of the Open Inference Protocol, such as Triton, that hosts an exported tail.",
    client="cutlayer.wire.grpc.open_inference:OpenInferenceClient",
    server="",
    takes_model=True,
)
