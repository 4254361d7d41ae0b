"""The command line: the commands, how they end, the attribution methods by name, and the demonstration."""

from jaxviz.cli.commands import main as main
