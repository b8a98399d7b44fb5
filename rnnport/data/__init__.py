"""READ data: files, built-in sets, splits, windows and metrics; imports polars, never torch."""
