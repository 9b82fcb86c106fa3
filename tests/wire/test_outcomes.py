import re
from pathlib import Path

from cutlayer.errors import ConnectionLost, DeadlineExceeded, DecodeError, Refused, StreamReset, Unreachable, WireError
from cutlayer.wire.outcomes import CODES, LATER, Then, outcome

TABLE = Path(__file__).parents[2] / "proto" / "README.md"
ROW = re.compile(r"^\| (.+?) \| .*\| (yes|no) \| (refused|failed|away) \|$", re.MULTILINE)


def test_the_table_of_the_protocol_says_what_the_code_does():
    said = {}
    for codes, again, then in ROW.findall(TABLE.read_text().partition("## Error codes")[2]):
        said |= dict.fromkeys(re.findall("`([A-Z_]+)`", codes), (again == "yes", Then[then.upper()]))
    assert said == {code: tuple(row) for code, row in CODES.items()}


def test_an_error_without_a_code_and_one_that_nobody_knows():
    assert outcome(StreamReset("reset")) == (True, Then.FAILED)
    assert outcome(ConnectionLost("lost")) == (True, Then.AWAY)
    assert outcome(Unreachable("nobody")) == outcome(DeadlineExceeded("late")) == (False, Then.AWAY)
    assert outcome(DecodeError("garbled")) == outcome(WireError("other")) == (False, Then.FAILED)
    assert outcome(Refused("HTTP_418", "tea")) == CODES["UNKNOWN"]
    assert all(outcome(Refused(code, "later", 5)) == LATER for code in CODES)
