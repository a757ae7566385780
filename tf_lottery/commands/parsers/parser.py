"""Parsers whose help shows defaults and whose errors are one line."""

import argparse
import textwrap

from tf_lottery.commands.parsers import readers


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that says what may have been meant."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=_Formatter, **kwargs)

    def error(self, message):
        self.exit(2, f"error: {message}\n")

    def parse_known_args(self, args=None, namespace=None):
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unrecognized(unknown))
        # Those of the command, which is parsed before `tf-lottery` is.
        if "flags" not in namespace:
            namespace.flags = {
                action.dest: action.option_strings[-1]
                for action in self._actions if action.option_strings
            }
        return namespace, unknown

    def _check_value(self, action, value):
        # Commands only: flags have readers, which say the same.
        if action.choices is not None and value not in action.choices:
            what = action.metavar.lower()
            message = readers.unknown(what, value, action.choices)
            raise argparse.ArgumentError(None, message)

    def _unrecognized(self, words):
        word = next((w for w in words if w.startswith("-")), words[0])
        flags = [f for a in self._actions for f in a.option_strings]
        hint = readers.did_you_mean(word.partition("=")[0], flags)
        return (
            f"unrecognized argument: {word}.{hint} All of them: "
            f"{self.prog} --help"
        )


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds defaults that say something, and breaks no name at a hyphen."""

    def _get_help_string(self, action):
        if action.default in (None, False, (), [], argparse.SUPPRESS):
            return action.help
        return super()._get_help_string(action)

    def _split_lines(self, text, width):
        return textwrap.wrap(text, width, break_on_hyphens=False)

    def _fill_text(self, text, width, indent):
        return textwrap.fill(text, width, break_on_hyphens=False)
