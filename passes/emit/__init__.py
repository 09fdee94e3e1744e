"""From instruction templates in loops to a program: expansion, slots, prefetch, addresses, waits and the
source map.

Every step works on columns of a table with a row per instruction; no row is ever an operation of the IR.
"""
