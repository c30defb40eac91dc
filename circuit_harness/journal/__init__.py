"""What makes a crash harmless: the record of each change, its undoing, and the lease that keeps others away."""
