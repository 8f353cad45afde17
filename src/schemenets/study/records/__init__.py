"""Records: where results come from, and the files that describe all others."""
