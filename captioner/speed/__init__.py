"""Faster ways to run a model: number formats, compiled code, packed weights."""
