"""The page's own modules, run by Node on what a test gives them."""

import base64
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

import cutlayer.live

STATIC = Path(cutlayer.live.__file__).with_name("static")

_FRAME = """
import {{ readFileSync }} from "node:fs";
{imports}
const coded = (key, value) =>
  value instanceof Uint8Array ? {{ $bytes: Buffer.from(value).toString("base64") }} : value;
const decoded = (key, value) =>
  value?.$bytes === undefined ? value : new Uint8Array(Buffer.from(value.$bytes, "base64"));
const given = JSON.parse(readFileSync(0, "utf8"), decoded);
const floats = (bytes) => new Float32Array(bytes.slice().buffer);
const run = async () => {{ {body} }};
process.stdout.write(JSON.stringify(await run(), coded));
"""


def javascript(modules: list[str], body: str, given: object = None) -> object:
    """What the body returns, which sees the modules by their names and the value as ``given``.

    Bytes and arrays go as bytes, which ``floats`` makes a Float32Array; bytes come back as bytes.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: apt-get install nodejs")
    with tempfile.TemporaryDirectory() as folder:
        for module in modules:
            # By its ending, every version of Node takes it for a module.
            shutil.copyfile(STATIC / f"{module}.js", Path(folder) / f"{module}.mjs")
        imports = "\n".join(f'import * as {module} from "./{module}.mjs";' for module in modules)
        main = Path(folder) / "main.mjs"
        main.write_text(_FRAME.format(imports=imports, body=body))
        ran = subprocess.run([node, main], input=json.dumps(given, default=_coded), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout, object_hook=_decoded)


def _coded(value: object) -> object:
    if isinstance(value, np.ndarray):
        value = value.tobytes()
    assert isinstance(value, bytes), value
    return {"$bytes": base64.b64encode(value).decode()}


def _decoded(value: dict) -> object:
    return base64.b64decode(value["$bytes"]) if "$bytes" in value else value
