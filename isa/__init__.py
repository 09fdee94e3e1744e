"""The machine: instruction records, machine files, encoding, assembler and program file. Knows no IR."""
