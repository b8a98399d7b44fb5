"""``python -m rnnport`` is the ``rnnport`` program."""

from rnnport.cli.main import main

main()
