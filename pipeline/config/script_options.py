"""The options that a script has besides those of training."""

import argparse
import sys
from typing import NoReturn

from pipeline.config import help_page
from pipeline.runtime.errors import UserError


class ScriptOptions(argparse.ArgumentParser):
    """Reads the options of one script; the words that it leaves are for the parser of training (`parse_known_args`)."""

    def __init__(self) -> None:
        super().__init__(
            prog=sys.argv[0],
            usage=argparse.SUPPRESS,
            add_help=False,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=help_page.COLUMN, width=119),
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(message)

    def help_section(self, title: str) -> str:
        """The options under a title, for `--help`."""
        return f"{title}\n" + self.format_help().partition(":\n")[2].rstrip()
