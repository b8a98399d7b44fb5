"""JOIN zones that do not know each other: one file a command, values in and values out."""
