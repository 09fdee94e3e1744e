"""The vocabulary of the compiler: one file a dialect, saying what can be said and when it is well formed."""
