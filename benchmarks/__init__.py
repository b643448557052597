"""Every claim about speed, memory or agreement, as a script that prints a ratio."""
