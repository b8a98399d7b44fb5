"""IS IT THE SAME? Cases, comparison and report; imports numpy."""
