"""Filling templates: everything or nothing, and nothing twice."""

from importlib import resources

import pytest

from epmdless.render.template import TemplateError, fill, fill_text


def test_values_take_the_place_of_their_names() -> None:
    filled = fill_text("node @app@-@port@@@host@\n", {"app": "shop", "port": 9001, "host": "b1"}, "test")
    assert filled == "node shop-9001@b1\n"


def test_lines_take_on_the_indentation_of_their_name() -> None:
    filled = fill_text("a:\n  @lines@\nb\n", {"lines": "one\n\n  two\n"}, "test")
    assert filled == "a:\n  one\n\n    two\nb\n"


def test_no_lines_leave_no_line() -> None:
    assert fill_text("a\n    @lines@\nb\n", {"lines": ""}, "test") == "a\nb\n"


def test_a_value_is_not_looked_at_again() -> None:
    filled = fill_text("@app@ @port@\n  @lines@\n", {"app": "@port@", "port": 1, "lines": "@app@"}, "test")
    assert filled == "@port@ 1\n  @app@\n"


def test_a_value_that_is_missing_is_a_mistake() -> None:
    with pytest.raises(TemplateError, match="test: no value for host, port"):
        fill_text("@app@ @port@ @host@", {"app": "shop"}, "test")


@pytest.mark.parametrize("text", ["a: @lines@\n", "@lines@: b\n", "@lines@"])
def test_several_lines_need_a_line_for_themselves(text: str) -> None:
    with pytest.raises(TemplateError, match="several lines"):
        fill_text(text, {"lines": "one\ntwo"}, "test")


def test_what_other_languages_write_is_no_placeholder() -> None:
    text = "ip saddr @hosts4 accept @ FOO@BAR @10.0.0.1 app@host @sha256:ab @ecs-tasks@\n"
    assert fill_text(text, {}, "test") == text


def test_a_template_of_the_package_needs_its_values() -> None:
    with pytest.raises(TemplateError, match=r"compose\.toml: no value for alive, app"):
        fill("compose.toml", {})


def test_every_template_ends_with_one_line_feed() -> None:
    templates = list(resources.files("epmdless.render").joinpath("templates").iterdir())
    assert len(templates) > 20
    for each in templates:
        text = each.read_text()
        assert text.endswith("\n"), each.name
        assert not text.endswith("\n\n"), each.name
        assert "\t" not in text, each.name
