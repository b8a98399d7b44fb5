"""``python -m rnnport`` is the ``rnnport`` program."""

from rnnport.cli.entry import main

main()
