"""Attention phase: decides the form of every attention."""
