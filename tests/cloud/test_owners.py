"""Answers belong to a peer: who only knows the name of a session gets none of them, and spoils and blocks none."""

import pytest

from cutlayer.cloud.job import MAX_SESSION, SECRET_LENGTHS, owner
from cutlayer.cloud.service import Service
from cutlayer.cloud.tap import RECORDS, Tap, read
from cutlayer.split_folder import open_split
from cutlayer.wire.message import Kind, Message, infer_request, read_infer_request
from tests.cloud.callers import SECRET, HeldTail, Waiting, request
from tests.cloud.test_batching import busy
from tests.tiny_split import edge_at, images, serving, write_split

SESSION = "its name is in each record of a tap"


@pytest.fixture
def server(tmp_path):
    """A service with a tap, its tail, and the folder of the tap."""
    manifest = write_split(tmp_path / "split")
    tail, tap = HeldTail(open_split(tmp_path / "split").tail(threads=1)), Tap(tmp_path / "tap")
    service = Service(manifest, tail, tap)
    yield service, tail, tmp_path / "tap"
    tail.go_on.set()
    service.drain()
    tap.close()


def asked(service, identity="", value=1.0, n=1, secret=SECRET):
    """The caller of the request with the id 1 of the session, from a connection that has proven this identity."""
    caller = Waiting(object())
    caller.peer = caller.peer._replace(identity=identity)
    parameters = {"secret": secret} if secret is not None else {}
    message = request("1", n, value, session=SESSION, **parameters)
    if secret is None:
        read = read_infer_request(message)
        shown = {name: shown for name, shown in read.parameters.items() if name != "secret"}
        message = infer_request(read._replace(parameters=shown))
    service.submit(message, 0, caller, lend=True)
    return caller


STRANGERS = {
    "no secret": {"secret": None},
    "another secret": {"secret": "the secret of a stranger"},
    "a short one": {"secret": "short"},
    "not a text": {"secret": 7},
    "a key": {"secret": None, "identity": "the key of a stranger"},
    "a key and the secret": {"identity": "the key of a stranger"},
}
HOLDERS = {"a secret": {}, "a key": {"secret": None, "identity": "its key"}, "both": {"identity": "its key"}}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_gets_nothing_spoils_nothing_and_blocks_nothing(server, holder, stranger):
    service, tail, _ = server
    with busy(service, tail):
        # While the stranger's request waits, and the same id stands for another one of its own.
        theirs = asked(service, **stranger, value=2.0, n=2)
        mine = asked(service, **holder)
    answer = bytes(mine.reply().tensors[0])
    assert len(theirs.reply().tensors[0]) == 2 * len(answer)
    computed = sum(map(len, tail.batches))
    assert bytes(asked(service, **holder).reply().tensors[0]) == answer
    assert sum(map(len, tail.batches)) == computed, "the holder's answer is remembered"
    assert bytes(asked(service, **stranger, value=3.0, n=2).reply().tensors[0])
    if stranger.get("secret", SECRET) not in (SECRET, STRANGERS["another secret"]["secret"]) and len(stranger) == 1:
        assert sum(map(len, tail.batches)) == computed + 2, "without an owner nothing is remembered"


def test_a_stranger_keeps_no_record_out_of_the_tap(tmp_path):
    for turn in range(2):
        manifest, tap = write_split(tmp_path / "split"), Tap(tmp_path / "tap")
        service = Service(manifest, open_split(tmp_path / "split").tail(threads=1), tap)
        for stranger in STRANGERS.values():
            asked(service, **stranger, value=2.0).reply()
        if turn:
            # After a restart, which the strangers' records have survived.
            for _ in range(2):
                asked(service).reply()
        service.drain()
        tap.close()
    assert sum(float(smashed.max()) == 1.0 for _, smashed in read(tmp_path / "tap")) == 1
    assert SECRET not in (tmp_path / "tap" / RECORDS).read_text()


def test_what_has_no_session_or_no_proof_has_no_owner():
    assert owner("", "s", SECRET)
    assert owner("key", "s", None)
    assert len({owner(identity, "s", secret) for identity in ("", "key") for secret in (SECRET, SECRET + "1")}) == 4
    assert owner("", "s", None) is owner("", "", SECRET) is owner("key", None, SECRET) is None
    assert owner("", "s" * (MAX_SESSION + 1), SECRET) is None
    for length in (0, SECRET_LENGTHS.start - 1, SECRET_LENGTHS.stop):
        assert owner("", "s", "x" * length) is None
        assert owner("key", "s", "x" * length) == owner("key", "s", None)
    assert owner("", "a", "b" * 16 + "c") != owner("", "ac", "b" * 16)


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_a_device_shows_its_secret_to_the_server_alone(tmp_path, transport, caplog):
    caplog.set_level(0)
    write_split(tmp_path / "split")
    tap = Tap(tmp_path / "tap")
    with serving(tmp_path / "split", transport, tap=tap) as client:
        devices = [edge_at(tmp_path / "split", client) for _ in range(2)]
        for device in devices:
            _, trace = device.infer(images(1), 0)
    tap.close()
    secrets = [str(device._parameters["secret"]) for device in devices]
    assert len(set(secrets)) == 2
    assert {len(secret) for secret in secrets} == {32}
    written = [path.read_bytes().decode("latin-1") for path in (tmp_path / "tap").iterdir()]
    for place in (*written, caplog.text, repr(trace)):
        assert not any(secret in place for secret in secrets)
    owners = {header["owner"] for header, _ in read(tmp_path / "tap")}
    assert owners == {owner("", device.session, secret) for device, secret in zip(devices, secrets, strict=True)}


def test_a_request_of_before_there_were_secrets_is_answered(server):
    service, tail, _ = server
    tail.go_on.set()
    for _ in range(2):
        caller = Waiting()
        message = request("1", session=SESSION)
        parameters = {"protocol": 1, "session": SESSION, "defense": "none"}
        old = infer_request(read_infer_request(message)._replace(parameters=parameters))
        service.submit(Message(Kind.INFER, old.header, old.tensors), 0, caller, lend=True)
        assert caller.inference().id == "1"
    assert len(tail.batches) == 2
