"""Enhance a file, a folder, a stream or what sounds live; nothing here imports torch."""
