"""Smaller twins of recurrent files, and the account of what was done to which node."""
