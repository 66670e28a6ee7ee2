"""The rendered files that README shows: what `epmdless render` writes, word for word.

As a program (`python -m tests.readme_files`) it puts them in anew.
"""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from epmdless.cli.render import render

README = Path(__file__).parent.parent / "README.md"

SHOWN = re.compile(
    r"(<summary><code>epmdless render (?P<words>[^<]*)</code></summary>\n\n)```(?P<kind>\w+)\n.*?^```$",
    re.MULTILINE | re.DOTALL,
)


def rendered(words: str) -> str:
    """What the command writes."""
    done = CliRunner().invoke(render, shlex.split(words), prog_name="epmdless render")
    assert done.exit_code == 0, done.output
    return done.stdout


def renewed(text: str) -> str:
    """The text with each rendered file as it is now."""
    return SHOWN.sub(lambda shown: f"{shown[1]}```{shown['kind']}\n{rendered(shown['words'])}```", text)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text()))
