"""The transformations, one file a pass, one folder a phase."""
