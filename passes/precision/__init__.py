"""Precision phase: decides the number format of every tensor."""
