"""From tile operations to instruction templates in the same loops, with engines and byte addresses."""
