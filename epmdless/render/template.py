"""Templates: text with ``@placeholders@``, each of which is filled, or nothing comes out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

Values = dict[str, str | int]
"""What fills a template, by placeholder."""

_PLACEHOLDER = re.compile(r"@([a-z_]+)@")
_ALONE = re.compile(r"^( *)@([a-z_]+)@\n", re.MULTILINE)
"""A placeholder that has a line for itself: it may stand for any number of lines, also for none."""


class TemplateError(Exception):
    """A template and its values do not fit together: a mistake of ours, which no value can cause."""


def fill(template: str, values: Mapping[str, str | int]) -> str:
    """Fill a template of this package.

    A value of several lines, or of none, needs a line for itself, and takes on its indentation. What is
    filled in is never looked at again: a value that holds a placeholder's text stays as it is.

    :param template: the file's name in ``templates``.
    :param values: all the template asks for, already checked.
    :raises TemplateError: a placeholder has no value.
    """
    text = resources.files(__package__).joinpath("templates", template).read_text(encoding="utf-8")
    return fill_text(text, values, template)


def fill_text(text: str, values: Mapping[str, str | int], source: str) -> str:
    """Fill a text; as :func:`fill`.

    :param source: what the text is, for the error.
    """
    missing = set(_PLACEHOLDER.findall(text)) - values.keys()
    if missing:
        raise TemplateError(f"{source}: no value for {', '.join(sorted(missing))}")
    return "".join(_filled(line, values, source) for line in text.splitlines(keepends=True))


def _filled(line: str, values: Mapping[str, str | int], source: str) -> str:
    alone = _ALONE.fullmatch(line)
    if alone:
        return "".join(f"{alone[1]}{each}\n" if each else "\n" for each in str(values[alone[2]]).splitlines())
    filled = _PLACEHOLDER.sub(lambda match: str(values[match[1]]), line)
    if filled.count("\n") != line.count("\n"):
        raise TemplateError(f"{source}: several lines where one belongs: {line.strip()}")
    return filled
