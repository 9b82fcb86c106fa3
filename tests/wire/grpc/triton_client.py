"""The public client of the protocol against our server, in a process without any of our modules.

    python tests/wire/grpc/triton_client.py HOST:PORT MODEL VERSION smashed.npy [CA KEY CERT]

It prints the answers as JSON, and uses TLS when the files are given.
"""

import json
import sys
from queue import Queue

import numpy as np
import tritonclient.grpc as triton


def main(address, model, version, path, *tls):
    keys = dict(zip(("root_certificates", "private_key", "certificate_chain"), tls, strict=False))
    client = triton.InferenceServerClient(address, ssl=bool(tls), **keys)
    smashed = np.load(path)
    report = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "models": {name: client.is_model_ready(name) for name in (model, "another")},
        "server": client.get_server_metadata(as_json=True),
        "model": client.get_model_metadata(model, as_json=True),
        "logits": client.infer(model, [tensor(smashed)], request_id="once").as_numpy("logits").tolist(),
        "versioned": client.infer(model, [tensor(smashed)], version).get_response().model_version,
        "twice": [
            parameters(client.infer(model, [tensor(smashed)], parameters={"session": "s"}, request_id="1"))
            for _ in range(2)
        ],
        "errors": [error(client, *wrong) for wrong in wrongs(model, smashed)],
        "streamed": streamed(client, model, smashed),
    }
    client.close()
    print(json.dumps(report))


def tensor(array, datatype="FP32"):
    infer_input = triton.InferInput("smashed", array.shape, datatype)
    infer_input.set_data_from_numpy(array)
    return infer_input


def parameters(result):
    return sorted(result.get_response().parameters)


def wrongs(model, smashed):
    yield "another", [tensor(smashed)]
    yield model, [tensor(smashed[:, :1].copy())]
    yield model, [tensor(smashed.astype(np.float64), "FP64")]


def error(client, *arguments):
    try:
        client.infer(*arguments)
    except triton.InferenceServerException as exception:
        return [exception.status(), exception.message()]
    return None


def streamed(client, model, smashed):
    """Send three requests at once, the second of which is wrong; return the answers by id, and the error."""
    results = Queue()
    client.start_stream(lambda result, error: results.put((result, error)))
    for request_id, array in (("a", smashed), ("b", smashed[:, :1].copy()), ("c", smashed + 1)):
        client.async_stream_infer(model, [tensor(array)], request_id=request_id)
    pairs = [results.get(timeout=20) for _ in range(3)]
    client.stop_stream()
    return {
        "answers": {result.get_response().id: result.as_numpy("logits").tolist() for result, _ in pairs if result},
        "errors": [problem.message() for _, problem in pairs if problem],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
