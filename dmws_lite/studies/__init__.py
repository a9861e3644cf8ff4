"""Studies: the same budget for several methods, and a table of what came out."""
