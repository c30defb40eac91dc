"""Crash safety: the record of each change, its undoing, and the lease that keeps other runs away."""
