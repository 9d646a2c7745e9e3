"""Pruners for the trainers that people use: one module per library, which imports it; PDC itself imports none."""
