"""One script for every claim about speed, memory or agreement; each prints ratios."""
