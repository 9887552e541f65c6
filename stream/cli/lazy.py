"""A verb whose module is imported only when it is called."""

from __future__ import annotations

from importlib import import_module

import click

from stream.errors import Fatal


class LazyCommand(click.Command):
    """Stands for the command at `target` until it is called.

    Parameters
    ----------
    name
        The verb.
    target
        ``module:attribute`` of the click command.
    short_help
        One line for ``skyburst --help``.
    """

    def __init__(self, name: str, target: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help, help=short_help)
        self.target = target

    def load(self) -> click.Command:
        """The command itself.

        Raises
        ------
        Fatal
            ``verb_broken``: its module cannot be imported.
        """
        module, _, attribute = self.target.partition(":")
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            text = f"the verb {self.name} cannot be loaded ({type(error).__name__}: {error})"
            raise Fatal("verb_broken", text, "install skyburst again, with all its dependencies") from error
        if not isinstance(found, click.Command):
            raise Fatal("verb_broken", f"{self.target} is not a command", "mend the package that brings the verb")
        return found

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        return self.load().make_context(info_name, args, parent, **extra)
