"""READ data: files, built-in sets, splits, windows and metrics; numpy and pyarrow, never torch."""
