import pytest

from cutlayer.report.kit.columns import WIDTH, columns, shorter, wrap


def test_numbers_stand_to_the_right_and_names_to_the_left():
    assert columns(["cut", "ms"], [["conv1", "9"], ["fc", "12.5"]]) == "cut      ms\nconv1     9\nfc     12.5"


def test_a_rule_is_as_wide_as_the_table():
    lines = columns(["cut", "ms"], [["conv1", "12.5"]], rule=True).splitlines()
    assert lines[1] == "-" * len(lines[2])


def test_the_widest_column_is_shortened_until_the_table_fits():
    lines = columns(["name", "n"], [["a" * 40, "12"]], width=20).splitlines()
    assert lines[1] == "a" * 14 + "..  12"
    assert max(map(len, lines)) == 20


def test_a_title_of_two_words_takes_two_lines_before_a_cell_is_cut_off():
    head, body = ["worst", "sentences read", "tokens read"], [["nearest-activation", "100.0 %", "97.7 %"]]
    assert columns(head, body, width=50, rule=True).splitlines() == [
        "worst               sentences read  tokens read",
        "-" * 47,
        "nearest-activation         100.0 %       97.7 %",
    ]
    assert columns(head, body, width=42, rule=True).splitlines() == [
        "                    sentences",
        "worst                    read  tokens read",
        "-" * 42,
        "nearest-activation    100.0 %       97.7 %",
    ]
    assert max(map(len, columns(head, body, width=24).splitlines())) <= 24


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["ressfl strength=0.3", "ressfl strength=0.35", "ressfl strength=1.0"],
         ["ressfl ..0.3", "ressfl..0.35", "ressfl ..1.0"]),
        (["ressfl bottleneck=a then quantize", "ressfl bottleneck=bc then quantize"], ["ressfl bo..a", "ressfl b..bc"]),
        (["gaussian-noise sigma=2", "none"], ["gaussian-n..", "none"]),
        (["ressfl expert_epochs=40", "ressfl expert_epochs=40 strength=0.3"], ["ressfl e..40", "ress..40 str"]),
        (["x" * 30 + "a", "x" * 30 + "b"], ["xxxx..xxxxxx"] * 2),
    ],
)  # fmt: skip
def test_cells_that_begin_alike_are_shortened_by_what_differs(cells, expected):
    assert [shorter(cells, 12)[cell] for cell in cells] == expected


def test_a_cell_cannot_steer_the_terminal():
    assert columns(["name"], [["\x1b[2J"]]) == "name\n\\x1b[2J"


def test_signs_become_plain():
    assert columns(["a"], [["\N{MINUS SIGN}3\N{NO-BREAK SPACE}µs"]]) == "a\n-3 us"


def test_a_paragraph_keeps_the_width():
    lines = wrap("word " * 100, indent="  ").splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert all(line.startswith("  word") for line in lines[1:])
