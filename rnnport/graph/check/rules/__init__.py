"""The rules, one or one tight family to a file; ``table.py`` lists them all."""
