"""Engines that caption photos: in this process, or on a Ray cluster."""
