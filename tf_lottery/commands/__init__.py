"""The commands of `tf-lottery`, one module for each.

A module has a function `main(arguments)`, which runs what the module of the
same name in `tf_lottery.commands.parsers` has read.
"""
