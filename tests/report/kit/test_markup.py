from cutlayer.report.kit.markup import Html, el, page


def test_text_is_escaped_and_markup_is_not():
    assert el("p", "<b>", el("b", "&")) == "<p>&lt;b&gt;<b>&amp;</b></p>"


def test_a_page_loads_nothing_and_has_its_own_rules_last():
    text = page("a <title>", el("main", "content"), ".own { color: red; }")
    assert text.startswith("<!doctype html>\n<html")
    assert "default-src &#x27;none&#x27;" in text
    assert "<title>a &lt;title&gt;</title>" in text
    assert text.index(":root {") < text.index(".own { color: red; }")
    assert "<body><main>content</main></body>" in text
    assert not isinstance(text, Html)
