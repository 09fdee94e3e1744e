"""What the operations of each level mean, as numpy functions: for folding, for comparison and for tests."""
